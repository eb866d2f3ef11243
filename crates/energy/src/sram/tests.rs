//! What the table demands, and what no banking may do.

use super::*;

const TEXT: &str = include_str!("../../../../models/energy/sram_cacti.json");

/// One entry of the embedded file, as JSON has it.
struct Entry {
    node_nm: f64,
    cell: Cell,
    access: Access,
    bytes: u64,
    bits: u64,
    pj: f64,
}

fn entries() -> Vec<Entry> {
    let json: serde_json::Value = serde_json::from_str(TEXT).unwrap();
    let axis = |key: &str| json[key].as_array().unwrap().iter().map(|x| x.as_u64().unwrap());
    let mut entries = vec![];
    for node in json["nodes"].as_array().unwrap() {
        for cell in [Cell::LowOperatingPower, Cell::HighPerformance] {
            for (access, column) in [(Access::Read, "read_pj_env"), (Access::Write, "write_pj_env")]
            {
                for (size, bytes) in axis("size_bytes").enumerate() {
                    for (width, bits) in axis("width_bits").enumerate() {
                        let node_nm = node["node_nm"].as_f64().unwrap();
                        if let Some(pj) = node["cells"][cell.name()][column][size][width].as_f64() {
                            entries.push(Entry { node_nm, cell, access, bytes, bits, pj });
                        }
                    }
                }
            }
        }
    }
    entries
}

#[test]
fn macros_meet_every_entry_of_the_table_exactly() {
    let entries = entries();
    assert_eq!(entries.len(), 5 * 2 * 2 * 93);
    let tables = [22.0, 32.0, 45.0, 65.0, 90.0].map(|nm| SramTables::cacti().at(nm).unwrap());
    for Entry { node_nm, cell, access, bytes, bits, pj } in entries {
        let table = tables.iter().find(|table| table.node_nm() == node_nm).unwrap();
        let found = table.macro_access(cell, access, bytes, bits);
        assert_eq!(found.0, pj, "{node_nm} nm {cell:?} {access:?} {bytes} bytes {bits} bits");
        let one = Sram { bytes, banks: 1 };
        assert_eq!(table.access(cell, access, one, bits as u32).unwrap(), found);
    }
}

/// Caches of 8 KB, 32 KB and 1 MB at 64 bits take 10, 20 and 100 pJ at 45 nm (Horowitz, ISSCC
/// 2014), 7.5, 8.5 and 14 at 7 nm (Jouppi et al., ISCA 2021, Table 2).
#[test]
fn at_7_nm_macros_save_what_published_caches_do() {
    let [seven, base] = [7.0, 45.0].map(|nm| SramTables::cacti().at(nm).unwrap());
    for (bytes, ratio) in [(8 << 10, 0.75), (32 << 10, 0.425), (1 << 20, 0.14)] {
        let [found, from] = [&seven, &base]
            .map(|table| table.macro_access(Cell::LowOperatingPower, Access::Read, bytes, 64).0);
        assert!((found / from / ratio - 1.0).abs() < 1e-12, "{bytes} bytes: {found} {from}");
    }
    for (cell, columns) in &seven.cells {
        let grids = columns.access_pj.iter().zip(&base.cells[cell].access_pj);
        for (small, large) in
            grids.flat_map(|(small, large)| small.iter().flatten().zip(large.iter().flatten()))
        {
            assert!(small < large && small / large > 0.1, "{cell:?}: {small} {large}");
        }
    }
}

#[test]
fn between_entries_the_logarithm_is_linear() {
    let table = SramTable::cacti45();
    let lop =
        |bytes, bits| table.macro_access(Cell::LowOperatingPower, Access::Read, bytes, bits).0;
    for (bytes, bits) in [(3000_u64, 64_u64), (8192, 48), (10_000, 100), (1_500_000, 1000)] {
        let (s0, w0) = (1_u64 << bytes.ilog2(), 1_u64 << bits.ilog2());
        let (t, u) = ((bytes as f64 / s0 as f64).log2(), (bits as f64 / w0 as f64).log2());
        let along = |w| lop(s0, w).ln() * (1.0 - t) + lop(2 * s0, w).ln() * t;
        let expected = (along(w0) * (1.0 - u) + along(2 * w0) * u).exp();
        let found = lop(bytes, bits);
        assert!((found / expected - 1.0).abs() < 1e-12, "{bytes} {bits}: {found} {expected}");
    }
}

/// A read and a write of the rows that a memory is built for.
fn both(table: &SramTable, cell: Cell, bytes: u64, bits: u32) -> f64 {
    let memory = table.banking(cell, bytes, bits).unwrap();
    let [read, write] = [Access::Read, Access::Write]
        .map(|access| table.access(cell, access, memory, bits).unwrap().0);
    read + write
}

const WIDTHS: [u32; 18] =
    [1, 4, 7, 8, 9, 16, 24, 40, 48, 64, 96, 127, 200, 256, 777, 1024, 1025, 3000];

#[test]
fn energy_grows_with_size_and_with_width() {
    let table = SramTable::cacti45();
    let sizes: Vec<u64> =
        (0..=66).map(|step| (1024.0 * 2_f64.powf(f64::from(step) / 6.0)).round() as u64).collect();
    for cell in Cell::ALL {
        for size in sizes.windows(2) {
            for width in WIDTHS.windows(2) {
                let (bytes, bits) = (size[0], width[0]);
                let here = both(&table, cell, bytes, bits);
                let case = format!("{cell:?} {bytes} bytes {bits} bits");
                assert!(here <= both(&table, cell, size[1], bits), "{case}, larger");
                assert!(here <= both(&table, cell, bytes, width[1]), "{case}, wider");
                let memory = table.banking(cell, bytes, width[0]).unwrap();
                for access in [Access::Read, Access::Write] {
                    let pj = |bits| table.access(cell, access, memory, bits).unwrap();
                    assert!(pj(width[0]) <= pj(width[1]), "{case} {access:?}");
                }
            }
        }
    }
}

#[test]
fn sizes_outside_the_table_and_impossible_rows_are_refused_with_the_range() {
    let table = SramTable::cacti45();
    let refusal = |bytes, bits| {
        let cell = Cell::LowOperatingPower;
        let built = table.banking(cell, bytes, bits).unwrap_err().to_string();
        let read = table.access(cell, Access::Read, Sram { bytes, banks: 1 }, bits);
        assert_eq!(read.unwrap_err().to_string(), built);
        built
    };
    let sizes = "accepted are 1024 to 1073741824 bytes";
    assert_eq!(refusal(1023, 8), format!("scratchpad of 1023 bytes, {sizes}"));
    assert_eq!(refusal(1_073_741_825, 8), format!("scratchpad of 1073741825 bytes, {sizes}"));
    let rows = "in a scratchpad of 1024 bytes, accepted are 1 to 8192 bits";
    assert_eq!(refusal(1024, 0), format!("row of 0 bits {rows}"));
    assert_eq!(refusal(1024, 8193), format!("row of 8193 bits {rows}"));
    assert!(table.banking(Cell::LowOperatingPower, 1024, 8192).is_ok());
}

/// Against every banking into 1, 2, 4 … 4096 macros, by hand.
#[test]
fn a_memory_has_the_banking_whose_read_and_write_take_least_together() {
    let table = SramTable::cacti45();
    for cell in Cell::ALL {
        for bytes in [1024_u64, 5000, 8192, 32_768, 100_000, 1 << 20, 2 << 20] {
            for bits in WIDTHS {
                let by_hand = (0..=12).map(|k| 1_u64 << k).map(|banks| {
                    let one = |access| {
                        let wide = u64::from(bits).div_ceil(banks);
                        let parts = wide.div_ceil(1024);
                        let (bytes, wide) = (bytes.div_ceil(banks), wide.div_ceil(parts));
                        table.macro_access(cell, access, bytes.max(1024), wide.max(8)).0
                            * (banks * parts) as f64
                    };
                    (banks, one(Access::Read) + one(Access::Write))
                });
                let (banks, least) = by_hand.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
                let found = both(&table, cell, bytes, bits);
                assert!((found / least - 1.0).abs() < 1e-12, "{bytes} bytes, {bits} bits");
                assert_eq!(table.banking(cell, bytes, bits).unwrap().banks, banks);
            }
        }
    }
}

/// 8 KB, rows of 64 bits, of which one macro would read cheapest, and eight write cheapest.
#[test]
fn a_row_of_another_width_is_priced_in_the_banks_that_there_are() {
    let table = SramTable::cacti45();
    let cell = Cell::LowOperatingPower;
    let memory = table.banking(cell, 8192, 64).unwrap();
    assert_eq!(memory.banks, 4);
    for (bits, of_a_bank) in [(64, 16), (128, 32), (8, 8), (8192, 1024)] {
        for access in [Access::Read, Access::Write] {
            let accesses = if bits == 8192 { 2 } else { 1 };
            let found = table.access(cell, access, memory, bits).unwrap();
            let expected = table.macro_access(cell, access, 2048, of_a_bank) * (4 * accesses);
            assert_eq!(found, expected, "{bits} bits");
        }
    }
}

#[test]
fn tables_that_contradict_themselves_are_refused() {
    for (old, new, message) in [
        (
            "0.11413, ",
            "0.2, ",
            "22 nm lop.read_pj_env at 1024 bytes × 16 bits: Some(0.13065), expected at least 0.2 pJ",
        ),
        (
            "null, null],",
            "null],",
            "22 nm lop.read_pj_env: 12 rows of [7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8] entries, expected 12 rows of 8",
        ),
        ("[1024, 2048,", "[2048, 1024,", "size_bytes: [2048, 1024, 4096"),
        ("\"node_nm\": 22", "\"node_nm\": 40", "node_nm: [40.0, 32.0, 45.0"),
        ("\"leak_mw\": [", "\"leak_mw\": [9.0, ", "22 nm lop.leak_mw: [9.0, 0.22147"),
        ("\"area_mm2\": [", "\"area_mm2\": [-1.0, ", "22 nm lop.area_mm2: [-1.0"),
        ("\"certainty\"", "\"sure\"", "unknown field `sure`"),
        ("read_pj_env", "reads", "unknown field `reads`"),
        ("\"hp\"", "\"hot\"", "unknown field `hot`"),
    ] {
        assert!(TEXT.contains(old), "{old}");
        let error = SramTables::parse(&TEXT.replacen(old, new, 1)).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let error = SramTables::cacti().at(5.0).unwrap_err().to_string();
    assert_eq!(error, "scratchpads at 5 nm, the table has 7 to 130 nm");
}

#[test]
fn above_the_table_energies_go_on_as_over_the_last_doubling_and_the_rest_linearly() {
    let table = SramTable::cacti45();
    let cell = Cell::LowOperatingPower;
    let price = |access, bytes, bits| {
        let memory = table.banking(cell, bytes, bits).unwrap();
        table.access(cell, access, memory, bits).unwrap().0
    };
    let near = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 0.005, "{found}, expected {expected}");
    };
    let large = 24 << 20;
    dbg!(
        price(Access::Read, large, 64),
        price(Access::Write, large, 64),
        price(Access::Read, large, 1024),
        price(Access::Write, large, 1024)
    );
    near(table.leakage(cell, large).unwrap().0, 334.0);
    let of = |bytes| table.area_um2(cell, bytes).unwrap();
    near(of(large), 12.0 * of(2 << 20));
    for (at, bytes) in [(1 << 20, 2 << 20), (2 << 20, 4 << 20), (2 << 20, 3 << 20)] {
        assert!(price(Access::Read, at, 64) < price(Access::Read, bytes, 64));
        assert!(of(at) < of(bytes));
    }
    assert!(table.banking(cell, 2 << 30, 64).is_err());
}
