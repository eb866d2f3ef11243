//! The number that stores and checkpoints state is tied to results: where these change, it must.

use serde_json::json;
use systoliq_keyed_random::Key;
use systoliq_run::{EngineKind, SEMANTICS};

use crate::support::{prepared, train};

/// What three short trainings find in fixed point, as a hash of their codes' statistics, evaluations,
/// counts of what ran, cycles and energy. Golden's floating point, which depends on the CPU, is left out.
fn results() -> u64 {
    let momentum = [("training.momentum", "0.9"), ("training.rate", "0.05")];
    let memory = [
        ("accelerator.array.dataflow", "auto"),
        ("accelerator.array.overlap", "pipelined"),
        ("accelerator.scratchpad", r#"{"a_bytes": 4096, "b_bytes": 4096, "c_bytes": 4096}"#),
        (
            "accelerator.dram",
            r#"{"kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 4, "latency_cycles": 50}"#,
        ),
    ];
    let texts = [("digits-mlp", &momentum[..]), ("digits-mxint8", &[]), ("digits-mlp", &memory)]
        .map(|(name, overrides)| {
            let short = [("training.epochs", "2")];
            let prepared = prepared(name, &[&short, overrides].concat());
            let record = train(&prepared, 1, EngineKind::Fast, false);
            json!({
                "fixed": record.fixed,
                "tensors": record.tensors,
                "timeline": record.timeline,
                "spent": record.spent,
                "widths": record.widths_for_weights,
            })
            .to_string()
        });
    texts.iter().fold(Key::new(0), |key, text| key.with_name(text)).value()
}

#[test]
fn the_number_of_the_semantics_is_tied_to_results() {
    // As computed by the program whose results have this number.
    assert_eq!(
        format!("{SEMANTICS}: {:016x}", results()),
        "2: 07a2028a8e396e65",
        "results of experiments have changed: raise `SEMANTICS` in crates/run/src/lib.rs, so that stores and \
         checkpoints of other programs are refused, and pin the pair on the left here"
    );
}
