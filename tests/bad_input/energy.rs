//! Energy profiles, nodes and clocks that cannot be.

use serde_json::{Value, json};

use super::Case;

/// The default profile, which each case spoils.
const HOROWITZ45: &str = include_str!("../../models/energy/horowitz45.json");

/// Training and a table by a profile with something else at a JSON pointer, or nothing.
fn profile(pointer: &str, new: Option<Value>, says: &[&str]) -> [Case; 2] {
    let mut json: Value = serde_json::from_str(HOROWITZ45).expect("the default profile");
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
    let parent = json.pointer_mut(parent).expect("the parent exists");
    match new {
        Some(new) => parent[name] = new,
        None => drop(parent.as_object_mut().expect("an object").remove(name)),
    }
    let text = json.to_string();
    let table = Case::command(&["energy-table", "--profile", "p.json"], says);
    [
        Case::set(&["accelerator.energy=p.json"], says).file("p.json", &text),
        table.file("p.json", &text),
    ]
}

/// Everything of energy.
pub(crate) fn energy() -> Vec<Case> {
    let profiles = [
        profile("/wire", None, &["p.json:1:", "missing field `wire`"]),
        profile("/dram/hbm2", None, &["p.json:1:", "dram", "missing field `hbm2`"]),
        profile("/leakage", Some(json!({})), &["p.json:1:", "leakage", "missing field"]),
        profile("/relu/source", None, &["p.json:1:", "relu", "missing field `source`"]),
        profile("/relu/certainty", None, &["p.json:1:", "relu", "missing field `certainty`"]),
        profile("/relu/source", Some(json!(" ")), &["relu: empty source"]),
        profile(
            "/name",
            Some(json!("")),
            &["name: empty, expected what tables and panels are to call"],
        ),
        profile("/name", Some(json!(" ")), &["name: empty"]),
        profile(
            "/register/clock/value",
            Some(json!(-1)),
            &["p.json", "register.clock: -1, expected a finite number, at least 0"],
        ),
        profile(
            "/relu/value",
            Some(json!(1e308)),
            &["relu: 1e308, expected a finite number, at least 0 and at most 1e9"],
        ),
        profile("/clock/value", Some(json!(0)), &["clock: 0, expected 1 to 10000"]),
        profile("/relu/unit", Some(json!("furlong")), &["relu.unit: unknown variant `furlong`"]),
        profile("/relu/unit", Some(json!("pJ")), &["relu: unit pJ, expected pJ/bit"]),
        profile("/certain", Some(json!(1)), &["unknown field `certain`"]),
        profile("/kappa/value", Some(json!(7)), &["kappa: 7 lies outside its range 0.256 to"]),
    ];
    let others = vec![
        Case::set(
            &["accelerator.node_nm=5"],
            &["accelerator.node_nm: scaled to 5 nm, expected 7 to 130 nm"],
        ),
        Case::set(
            &["accelerator.energy=eyeriss-rel", "accelerator.node_nm=22"],
            &["accelerator.node_nm: ", "eyeriss-rel", "65 nm"],
        ),
        Case::set(
            &["accelerator.energy=tpuv4i-7", "accelerator.node_nm=22"],
            &["accelerator.node_nm: tpuv4i-7 is of 7 nm, expected a profile of 45 nm"],
        ),
        Case::set(&["accelerator.clock_mhz=0"], &["accelerator.clock_mhz: 0 MHz: expected 1 to"]),
        Case::set(
            &["accelerator.activity=toggles", "accelerator.toggles=off"],
            &["accelerator.activity: \"toggles\" needs bits that flip to be counted"],
        ),
        Case::set(
            &["accelerator.scratchpad={\"a_bytes\":1024,\"b_bytes\":2147483648,\"c_bytes\":1024}"],
            &["scratchpad of 2147483648 bytes, accepted are 1024 to 1073741824 bytes"],
        ),
        Case::set(
            &[
                "accelerator.scratchpad.buffer_bytes=65536",
                "accelerator.scratchpad.stash_bytes=4096",
            ],
            &[
                "accelerator.scratchpad.stash_bytes: a stash of 4096 bytes beside a buffer of 65536: expected one",
            ],
        ),
        Case::set(
            &["accelerator.scratchpad.buffer_bytes=512"],
            &["accelerator.scratchpad.buffer_bytes: scratchpad of 512 bytes, accepted are 1024 to"],
        ),
        Case::set(
            &["accelerator.update=fused", "precision.weight_gradients.scale=dynamic"],
            &[
                "accelerator.update: \"fused\", and dw1 has scale \"dynamic\", which waits for more than a tile: \
                 expected \"separate\", or precision.weight_gradients with scale \"history\", \"overflow-rate\" or \
                 \"static\"",
            ],
        ),
        Case::set(
            &["accelerator.update=fused", "precision.layers.0.weight_gradients.scale=dynamic"],
            &["dw0 has scale \"dynamic\"", "or precision.layers.0.weight_gradients with scale"],
        ),
        Case::set(&["accelerator.update=together"], &["accelerator.update", "separate"]),
        Case::command(
            &["energy-table", "--scratchpad-bytes", "1000"],
            &["scratchpad of 1000 bytes, accepted are 1024 to 1073741824 bytes"],
        ),
        Case::command(
            &["energy-table", "--profile", "free"],
            &["--profile free: expected one of horowitz45, nangate45"],
        ),
        Case::command(
            &["energy-table", "--node", "200"],
            &["--node: scaled to 200 nm, expected 7 to 130 nm"],
        ),
        Case::command(&["energy-table", "--pitch", "nan"], &["--pitch NaN: expected 0 to 1000000"]),
        Case::command(
            &["gemm", "--m", "1", "--n", "1", "--k", "1", "--counts", "no/x.csv"],
            &["cannot write no/x.csv: no such folder"],
        ),
    ];
    profiles.into_iter().flatten().chain(others).collect()
}
