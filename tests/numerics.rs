//! The test vectors of docs/numerics.md, as the code computes them.

use systoliq_keyed_random::Key;
use systoliq_nn::initial_weights;
use systoliq_program::{Machine, Role};

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
    let weights: Vec<_> = (0..2).map(|layer| initial_weights(&prepared.graph, layer, 1)).collect();
    let reals: Vec<f64> = weights[0].iter().take(3).copied().collect();
    let machine = Machine::new(&prepared.program, &weights, 1);
    let codes = |role| {
        let id = prepared.program.find(role, 0).expect("a tensor");
        let codes = machine.tensor(id).expect("a written tensor").to_codes();
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
