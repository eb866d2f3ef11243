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
        let banked = table.banked(cell, access, bytes, bits as u32).unwrap();
        assert!(banked.energy <= found, "{banked:?}");
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

#[test]
fn energy_grows_with_size_and_with_width() {
    let table = SramTable::cacti45();
    let sizes: Vec<u64> =
        (0..=66).map(|step| (1024.0 * 2_f64.powf(f64::from(step) / 6.0)).round() as u64).collect();
    let widths = [1, 4, 7, 8, 9, 16, 24, 40, 48, 64, 96, 127, 200, 256, 777, 1024, 1025, 3000];
    for cell in [Cell::LowOperatingPower, Cell::HighPerformance] {
        for access in [Access::Read, Access::Write] {
            let pj = |bytes, bits| table.banked(cell, access, bytes, bits).unwrap().energy;
            for size in sizes.windows(2) {
                for width in widths.windows(2) {
                    let (bytes, bits, here) = (size[0], width[0], pj(size[0], width[0]));
                    let case = format!("{cell:?} {access:?} {bytes} bytes {bits} bits");
                    assert!(here <= pj(size[1], bits), "{case}, larger");
                    assert!(here <= pj(bytes, width[1]), "{case}, wider");
                }
            }
        }
    }
}

#[test]
fn sizes_outside_the_table_and_impossible_rows_are_refused_with_the_range() {
    let table = SramTable::cacti45();
    let refusal = |bytes, bits| {
        let access = table.banked(Cell::LowOperatingPower, Access::Read, bytes, bits);
        access.unwrap_err().to_string()
    };
    let sizes = "accepted are 1024 to 1073741824 bytes";
    assert_eq!(refusal(1023, 8), format!("scratchpad of 1023 bytes, {sizes}"));
    assert_eq!(refusal(1_073_741_825, 8), format!("scratchpad of 1073741825 bytes, {sizes}"));
    let rows = "in a scratchpad of 1024 bytes, accepted are 1 to 8192 bits";
    assert_eq!(refusal(1024, 0), format!("row of 0 bits {rows}"));
    assert_eq!(refusal(1024, 8193), format!("row of 8193 bits {rows}"));
    assert!(table.banked(Cell::LowOperatingPower, Access::Read, 1024, 8192).is_ok());
}

#[test]
fn reads_and_writes_apart_stay_close_to_the_best_common_banking() {
    let table = SramTable::cacti45();
    let cell = Cell::LowOperatingPower;
    let (mut excesses, mut worst) = (vec![], 0.0_f64);
    for &bytes in &table.sizes {
        for bits in (3..=12).map(|log| 1_u64 << log) {
            let common = (0..=9)
                .map(|k| 1_u64 << k)
                .filter(|banks| bits / banks >= 8 && bits / banks <= 1024)
                .map(|banks| {
                    let bank = |access| {
                        let bank_bytes = (bytes / banks).max(1024);
                        table.macro_access(cell, access, bank_bytes, bits / banks) * banks
                    };
                    (bank(Access::Read) + bank(Access::Write)).0
                })
                .fold(f64::INFINITY, f64::min);
            let apart = [Access::Read, Access::Write]
                .map(|access| table.banked(cell, access, bytes, bits as u32).unwrap().energy.0);
            let excess = common / (apart[0] + apart[1]) - 1.0;
            assert!(excess >= -1e-12, "{bytes} bytes {bits} bits: {excess}");
            worst = worst.max(excess);
            excesses.push(excess);
        }
    }
    let mean = excesses.iter().sum::<f64>() / excesses.len() as f64;
    assert!((0.024..0.026).contains(&mean) && (0.13..0.135).contains(&worst), "{mean} {worst}");
}

#[test]
fn tables_that_contradict_themselves_are_refused() {
    for (old, new, message) in [
        (
            "0.11413, ",
            "0.2, ",
            "22 nm itrs-lop.read_pj_env at 1024 bytes × 16 bits: Some(0.13065), expected at least 0.2 pJ",
        ),
        (
            "null, null],",
            "null],",
            "22 nm itrs-lop.read_pj_env: 12 rows of [7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8] entries, expected 12 rows of 8",
        ),
        ("[1024, 2048,", "[2048, 1024,", "size_bytes: [2048, 1024, 4096"),
        ("\"node_nm\": 22", "\"node_nm\": 40", "node_nm: [40.0, 32.0, 45.0"),
        ("\"leak_mw\": [", "\"leak_mw\": [9.0, ", "22 nm itrs-lop.leak_mw: [9.0, 0.22147"),
        ("\"area_mm2\": [", "\"area_mm2\": [-1.0, ", "22 nm itrs-lop.area_mm2: [-1.0"),
        ("\"certainty\"", "\"sure\"", "unknown field `sure`"),
        ("read_pj_env", "reads", "unknown field `reads`"),
        ("itrs-hp", "itrs-hot", "unknown field `itrs-hot`"),
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
    let price = |access, bytes, bits| table.banked(cell, access, bytes, bits).unwrap().energy.0;
    let near = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 0.005, "{found}, expected {expected}");
    };
    let large = 24 << 20;
    near(price(Access::Read, large, 64), 122.0);
    near(price(Access::Write, large, 64), 159.0);
    near(price(Access::Read, large, 1024), 536.0);
    near(price(Access::Write, large, 1024), 462.0);
    near(table.leakage(cell, large).unwrap().0, 334.0);
    let of = |bytes| table.area_um2(cell, bytes).unwrap();
    near(of(large), 12.0 * of(2 << 20));
    for (at, bytes) in [(1 << 20, 2 << 20), (2 << 20, 4 << 20), (2 << 20, 3 << 20)] {
        assert!(price(Access::Read, at, 64) < price(Access::Read, bytes, 64));
        assert!(of(at) < of(bytes));
    }
    assert!(table.banked(cell, Access::Read, 2 << 30, 64).is_err());
}
