//! Random words: the test vectors of docs/numerics.md, and streams that never meet.

use std::collections::BTreeMap;

use systoliq_keyed_random::Key;
use systoliq_nn::initial_weights;
use systoliq_program::{EntryName, Operation, Program, Role, Step, Store, TensorDecl, Work};

use std::sync::Arc;

use crate::support::prepared;

/// Asserts that docs/numerics.md says each of these.
#[track_caller]
fn said(lines: &[String]) {
    let document = include_str!("../docs/numerics.md");
    let missing: Vec<_> = lines.iter().filter(|line| !document.contains(line.as_str())).collect();
    assert!(missing.is_empty(), "docs/numerics.md does not say {missing:#?}");
}

/// Words of a key from 0 on, each between `marks` and with blanks between.
fn words(key: Key, count: u64, between: &str) -> String {
    (0..count).map(|i| format!("`{:#010x}`", key.word(i))).collect::<Vec<_>>().join(between)
}

#[test]
fn the_words_in_the_document_are_drawn() {
    let root = Key::new(1);
    let step = root.with_name("train").with(0);
    let error = step.with_name("1/forward/error");
    let sums = step.with_name("0/forward/accumulator");
    let order = root.with_name("batch order").with(0);
    let numbers: Vec<String> = order.permutation(5).iter().map(u32::to_string).collect();
    let key = |key: Key| format!("`{:#018x}`", key.value());
    said(&[
        format!("| `new(1)` | {} |", key(root)),
        format!("| its words 0, 1, 2, 3 | {} |", words(root, 4, " ")),
        format!("| its word 5 · 2³² + 9 | `{:#010x}` |", root.word(5 << 32 | 9)),
        format!("| `new(1).with_name(\"train\").with(0)` | {} |", key(step)),
        format!("`, and its words 0, 1, 2 | {}; {} |", key(error), words(error, 3, " ")),
        format!("product 3 of output 5 | `{:#010x}` |", sums.with(3).word(5)),
        format!("and its permutation of 5 | {}; {} |", key(order), numbers.join(", ")),
    ]);
}

#[test]
fn the_first_initial_weights_in_the_document_are_those_of_the_digits() {
    let prepared = prepared("digits-mlp", &[]);
    let key = Key::new(1).with_name("initial weights").with(0);
    let weights = initial_weights(&prepared.graph, 1);
    let reals: Vec<f64> = weights[0].iter().take(3).copied().collect();
    let store = Store::new(&prepared.program, &weights, 1);
    let codes = |role| {
        let id = prepared.program.find(role, EntryName::Number(0)).expect("a tensor");
        let codes = store.tensor(id).expect("a written tensor").to_codes();
        codes[..3].iter().map(|code| signed(&code.to_string())).collect::<Vec<_>>().join(", ")
    };
    let multiples = reals.iter().map(|real| signed(&(real * 2f64.powi(24)).to_string()));
    let decimals = reals.iter().map(|real| signed(&format!("{real:.8}")));
    let list = |texts: &mut dyn Iterator<Item = String>| texts.collect::<Vec<_>>().join(", ");
    let [multiples, decimals] = [list(&mut { multiples }), list(&mut { decimals })];
    said(&[
        words(key, 3, ", "),
        format!("the weights {multiples} · 2⁻²⁴ = {decimals};"),
        format!("rounded stochastically, {};", codes(Role::Master)),
        format!("`Q1.7` weights {}.", codes(Role::Weights)),
    ]);
}

/// A number with a true minus sign.
fn signed(number: &str) -> String {
    number.replace('-', "−")
}

/// Programs with every kind of conversion that there is.
fn programs() -> Vec<Arc<Program>> {
    let deep = r#"[{"dense": {"units": 9}}, "relu", {"dense": {"units": 7, "bias": false}}, "relu",
        {"dense": {"units": 5}}, "relu", {"dense": {"units": 10}}]"#;
    let momentum = ("training.momentum", "0.9");
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("digits-mlp", &[("network.layers", deep)]),
        ("digits-mlp", &[("network.layers", deep), momentum]),
        ("digits-mlp", &[("precision.master", "null"), ("precision.residual.bits", "8"), momentum]),
        ("digits-mxint8", &[]),
        (
            "lms",
            &[("network.layers", r#"[{"dense": {"units": 3}}, "relu", {"dense": {"units": 1}}]"#)],
        ),
        ("binary-classifier", &[momentum, ("training.weight_decay", "0.01")]),
    ];
    cases.iter().map(|(name, overrides)| prepared(name, overrides).program).collect()
}

/// The names of all streams of one step, and of how many additions each is a family, if it is one.
fn ids(program: &Program, batch: usize) -> Vec<(String, Option<u64>)> {
    let mut ids = vec![(program.tensor(program.input).load_id(), None)];
    ids.extend(program.targets.map(|targets| (program.tensor(targets).load_id(), None)));
    for (at, write, command) in program.all_writes() {
        ids.push((program.output_id(write.command, write.tensor).to_owned(), None));
        let additions = match (&command.operation, program.work(at, batch)) {
            (Operation::Product(_), Work::Gemm(shape)) => Some(shape.k as u64 + 1),
            (Operation::Reduce(_), _) => Some(batch as u64),
            _ => None,
        };
        let sums = program.accumulator_id(write.command);
        ids.extend(additions.map(|count| (sums.to_owned(), Some(count))));
    }
    let entered = [Role::Master, Role::Weights, Role::Bias, Role::Residual];
    for decl in program.tensors.iter().filter(|decl| entered.contains(&decl.role)) {
        ids.push((format!("{}/teaching/{}", decl.entry, decl.role), None));
        ids.push((format!("{}/initial/{}", decl.entry, decl.role), None));
    }
    ids
}

#[test]
fn no_two_streams_of_random_words_meet() {
    let seed = 1;
    let root = Key::new(seed);
    let steps = (0..3).flat_map(|n| {
        let evaluation = |part| Step::evaluation(seed, part, n / 2, n % 2);
        [
            Step::training(seed, n),
            Step::probe(seed, n),
            evaluation("validation"),
            evaluation("test"),
            evaluation("fitness"),
        ]
    });
    let steps: Vec<Step> = steps.collect();
    for program in programs() {
        let mut drawn: BTreeMap<u64, String> = BTreeMap::new();
        let mut draw = |key: Key, what: String| {
            let met = drawn.insert(key.value(), what.clone());
            assert_eq!(met, None, "the words of {what}");
        };
        for number in 0..4 {
            draw(root.with_name("initial weights").with(number), format!("weights {number}"));
            draw(root.with_name("batch order").with(number), format!("order {number}"));
        }
        let ids = ids(&program, 32);
        assert!(ids.len() > 10, "{ids:?}");
        let initial = root.with_name("initial");
        let keys = steps.iter().enumerate().map(|(at, step)| {
            let of = move |id: &str| step.key(id);
            (format!("step {at}"), Box::new(of) as Box<dyn Fn(&str) -> Key>)
        });
        let at_first = ("initial".to_owned(), Box::new(move |id: &str| initial.with_name(id)) as _);
        for (step, key) in keys.chain([at_first]) {
            for (id, additions) in &ids {
                draw(key(id), format!("{id} in {step}"));
                for k in 0..additions.unwrap_or(0) {
                    draw(key(id).with(k), format!("addition {k} of {id} in {step}"));
                }
            }
        }
        // Keys of one high half draw from one sequence, from their low halves on.
        let elements = |decl: &TensorDecl| decl.rows.count(32) as u64 * decl.cols as u64;
        let largest = program.tensors.iter().map(elements).max().expect("tensors");
        let keys: Vec<u64> = drawn.keys().copied().collect();
        for alike in keys.chunk_by(|one, next| one >> 32 == next >> 32) {
            let around = alike[0].wrapping_add(1 << 32);
            for pair in [alike, &[around]].concat().windows(2) {
                let whose = pair.iter().map(|key| drawn.get(key)).collect::<Vec<_>>();
                assert!(pair[1].wrapping_sub(pair[0]) >= largest, "{pair:?}, {largest}: {whose:?}");
            }
        }
    }
}
