//! The table of macros at several nodes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::super::error::Error;
use super::super::figure::check_source;
use super::super::interpolate::{enclosing, log_interpolate};
use super::super::node::{NODE_MAX_NM, NODE_MIN_NM, Scaling, sram_from_45_to_7};
use super::{Cell, CellMacros, SramTable};
use crate::Certainty;

/// SRAM macros at several nodes.
///
/// Between two nodes the logarithm of every entry is linear in the logarithm of the node.
#[derive(Clone, Debug, PartialEq)]
pub struct SramTables {
    /// With the same sizes, widths and cells, by ascending node.
    nodes: Vec<SramTable>,
}

/// The tables as their JSON has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "every key is required, some are for the reader alone")]
struct TablesFile {
    name: String,
    what: String,
    source: String,
    certainty: Certainty,
    temperature_k: f64,
    size_bytes: Vec<u64>,
    width_bits: Vec<u64>,
    nodes: Vec<NodeFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    node_nm: f64,
    cells: CellsFile,
}

/// Every node has the same cells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CellsFile {
    #[serde(rename = "lop")]
    low_operating_power: ColumnsFile,
    #[serde(rename = "hp")]
    high_performance: ColumnsFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnsFile {
    read_pj_env: Vec<Vec<Option<f64>>>,
    write_pj_env: Vec<Vec<Option<f64>>>,
    leak_mw: Vec<f64>,
    area_mm2: Vec<f64>,
}

impl SramTables {
    /// The embedded tables: `models/energy/sram_cacti.json`, and what follows from it at 7 and at
    /// 130 nm.
    ///
    /// The file has 22, 32, 45, 65 and 90 nm: CACTI 7 (HewlettPackard/cacti commit 1ffd8df) at
    /// 350 K, plain RAM with one read-write port, 1 KB to 2 MB by 8 to 1024 bits,
    /// low-operating-power and high-performance cells.
    ///
    /// At 7 nm a macro costs what it costs at 45 nm, times the ratio of caches of its size that
    /// were published at both nodes (8 KB 0.75, 32 KB 0.425, 1 MB 0.14; Horowitz, ISSCC 2014, and
    /// Jouppi et al., ISCA 2021), or as much as a larger one where that is less. At 130 nm it costs
    /// what it costs at 90 nm, times the ratio of logic (Stillmaker & Baas, Integration 58, 2017).
    /// Areas go with those of logic, from the same tables; leakage per area is that of 22 and of
    /// 90 nm, which is an assumption.
    pub fn cacti() -> &'static Self {
        static TABLES: LazyLock<SramTables> = LazyLock::new(|| {
            SramTables::parse(include_str!("../../../../models/energy/sram_cacti.json"))
                .and_then(SramTables::extended)
                .expect("the embedded tables are valid")
        });
        &TABLES
    }

    /// Reads tables from the text of a JSON file.
    ///
    /// An entry of `null`, a macro that does not exist, is as the next larger one of its width.
    ///
    /// # Errors
    ///
    /// Where the text is not JSON of the schema, nodes, sizes or widths do not ascend, an array has
    /// not one entry per size and width, an energy is not positive or less than that of a smaller
    /// or narrower macro, or so is a leakage or an area.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let file: TablesFile = serde_json::from_str(json)?;
        check_source("source", &file.source)?;
        for (axis, found) in [("size_bytes", &file.size_bytes), ("width_bits", &file.width_bits)] {
            let ascends = found.windows(2).all(|pair| pair[0] < pair[1]);
            if found.len() < 2 || found[0] == 0 || !ascends {
                return Err(Error::Axis { axis, found: found.clone() });
            }
        }
        let node_nm: Vec<f64> = file.nodes.iter().map(|node| node.node_nm).collect();
        let ascends = node_nm.windows(2).all(|pair| pair[0] < pair[1]);
        if node_nm.is_empty() || node_nm[0] <= 0.0 || !ascends {
            return Err(Error::Nodes { found: node_nm });
        }
        let mut nodes = vec![];
        for NodeFile { node_nm, cells } in file.nodes {
            let mut table = SramTable {
                node_nm,
                sizes: file.size_bytes.clone(),
                widths: file.width_bits.clone(),
                cells: BTreeMap::new(),
                source: file.source.clone(),
            };
            for (cell, columns) in [
                (Cell::LowOperatingPower, cells.low_operating_power),
                (Cell::HighPerformance, cells.high_performance),
            ] {
                let columns = table.columns(cell, columns)?;
                table.cells.insert(cell, columns);
            }
            nodes.push(table);
        }
        Ok(Self { nodes })
    }

    /// The table at `node_nm`.
    ///
    /// # Errors
    ///
    /// [`Error::SramNode`] outside the nodes.
    pub fn at(&self, node_nm: f64) -> Result<SramTable, Error> {
        let nodes: Vec<f64> = self.nodes.iter().map(SramTable::node_nm).collect();
        let (low, high) = (nodes[0], nodes[nodes.len() - 1]);
        if !(low..=high).contains(&node_nm) {
            return Err(Error::SramNode { found: node_nm, low, high });
        }
        let (below, above) = enclosing(&nodes, node_nm);
        let (below, above) = (&self.nodes[below], &self.nodes[above]);
        let mut table = below.clone();
        table.node_nm = node_nm;
        for (cell, columns) in &mut table.cells {
            columns.combine(&above.cells[cell], |low, high| {
                log_interpolate(node_nm, (below.node_nm, low), (above.node_nm, high))
            });
        }
        Ok(table)
    }

    /// With 7 and 130 nm, from 45 and from 22 and 90 nm.
    fn extended(mut self) -> Result<Self, Error> {
        let (area_22, area_90) = (Scaling::to(22.0).area(), Scaling::to(90.0).area());
        let (seven, largest) = (Scaling::to(NODE_MIN_NM), Scaling::to(NODE_MAX_NM));
        let leaks = self.at(22.0)?;
        let mut smallest = self.at(45.0)?;
        smallest.node_nm = NODE_MIN_NM;
        for (cell, columns) in &mut smallest.cells {
            for grid in &mut columns.access_pj {
                for (row, &bytes) in grid.iter_mut().zip(&smallest.sizes) {
                    row.iter_mut().for_each(|energy| *energy *= sram_from_45_to_7(bytes));
                }
                let_larger_stand_in(grid);
            }
            columns.area_mm2.iter_mut().for_each(|area| *area *= seven.area());
            let leak = leaks.cells[cell].leak_mw.iter().map(|leak| leak * (seven.area() / area_22));
            columns.leak_mw = leak.collect();
        }
        let mut oldest = self.at(90.0)?;
        oldest.node_nm = NODE_MAX_NM;
        let energy = largest.other() / Scaling::to(90.0).other();
        let area = largest.area() / area_90;
        for columns in oldest.cells.values_mut() {
            columns.access_pj.iter_mut().flatten().flatten().for_each(|pj| *pj *= energy);
            columns.leak_mw.iter_mut().for_each(|leak| *leak *= area);
            columns.area_mm2.iter_mut().for_each(|mm2| *mm2 *= area);
        }
        self.nodes.insert(0, smallest);
        self.nodes.push(oldest);
        Ok(self)
    }
}

/// Lowers every entry to the least of those of larger macros.
fn let_larger_stand_in(grid: &mut [Vec<f64>]) {
    for size in (1..grid.len()).rev() {
        let (smaller, larger) = grid.split_at_mut(size);
        for (entry, &least) in smaller[size - 1].iter_mut().zip(&larger[0]) {
            *entry = entry.min(least);
        }
    }
}

impl CellMacros {
    /// Replaces every number by what `with` makes of it and of its like in `other`.
    fn combine(&mut self, other: &Self, with: impl Fn(f64, f64) -> f64) {
        let ours = self.access_pj.iter_mut().flatten().flatten();
        let ours = ours.chain(&mut self.leak_mw).chain(&mut self.area_mm2);
        let theirs = other.access_pj.iter().flatten().flatten();
        let theirs = theirs.chain(&other.leak_mw).chain(&other.area_mm2);
        ours.zip(theirs).for_each(|(our, &their)| *our = with(*our, their));
    }
}

impl SramTable {
    /// Checks the columns of one cell and fills their gaps.
    fn columns(&self, cell: Cell, file: ColumnsFile) -> Result<CellMacros, Error> {
        let path = |column: &str| format!("{} nm {}.{column}", self.node_nm, cell.name());
        for (column, found) in [("leak_mw", &file.leak_mw), ("area_mm2", &file.area_mm2)] {
            let sizes = self.sizes.len();
            let rises = found.windows(2).all(|pair| pair[0] <= pair[1]);
            let positive = found.iter().all(|number| number.is_finite() && *number > 0.0);
            if found.len() != sizes || !positive || !rises {
                return Err(Error::Column { path: path(column), found: found.clone(), sizes });
            }
        }
        let read = self.grid(path("read_pj_env"), file.read_pj_env)?;
        let write = self.grid(path("write_pj_env"), file.write_pj_env)?;
        let access_pj = [read, write];
        Ok(CellMacros { access_pj, leak_mw: file.leak_mw, area_mm2: file.area_mm2 })
    }

    /// Checks one array of the file and fills its gaps.
    fn grid(&self, path: String, rows: Vec<Vec<Option<f64>>>) -> Result<Vec<Vec<f64>>, Error> {
        let (sizes, widths) = (self.sizes.len(), self.widths.len());
        if rows.len() != sizes || rows.iter().any(|row| row.len() != widths) {
            let columns = rows.iter().map(Vec::len).collect();
            return Err(Error::Shape { path, rows: rows.len(), columns, sizes, widths });
        }
        let mut grid = vec![vec![0.0; widths]; sizes];
        for size in (0..sizes).rev() {
            for width in 0..widths {
                let larger = grid.get(size + 1).map(|row: &Vec<f64>| row[width]);
                grid[size][width] = rows[size][width].or(larger).unwrap_or(f64::NAN);
            }
        }
        for size in 0..sizes {
            for width in 0..widths {
                let smaller = if size > 0 { grid[size - 1][width] } else { 0.0 };
                let narrower = if width > 0 { grid[size][width - 1] } else { 0.0 };
                let (energy, least) = (grid[size][width], smaller.max(narrower));
                if !(energy.is_finite() && energy > 0.0 && energy >= least) {
                    let (bytes, bits) = (self.sizes[size], self.widths[width]);
                    let found = rows[size][width];
                    return Err(Error::Entry { path, bytes, bits, found, least });
                }
            }
        }
        Ok(grid)
    }
}
