//! Plans as resolved, and what is refused.

use super::*;

fn graph() -> Graph {
    let network = r#"{"input": [64], "loss": "softmax_cross_entropy",
        "layers": [{"dense": {"units": 64}}, "relu", {"dense": {"units": 10}}]}"#;
    Graph::new(&serde_json::from_str(network).unwrap()).unwrap()
}

fn resolve(json: &str) -> Result<Plan, Error> {
    Plan::resolve(&graph(), &serde_json::from_str(json).expect(json))
}

/// Of the hidden layer and of the last one.
fn values(plan: &Plan) -> [ValuePlan; 2] {
    [2, 3].map(|value| plan.values[&ValueId(value)])
}

#[test]
fn what_is_left_out_has_the_defaults_of_its_role() {
    let plan = resolve("{}").unwrap();
    let [hidden, last] = &plan.layers[..] else { panic!() };
    let [hidden_value, logits] = values(&plan);
    let shown = |plan: &TensorPlan| plan.to_string();
    assert_eq!(shown(&plan.input), "UQ1.7, nearest-even, saturate");
    assert_eq!(shown(&hidden.weights), "Q1.7, nearest-even, saturate");
    assert_eq!(shown(&hidden.master), "Q1.15, stochastic, saturate");
    assert_eq!(shown(&hidden.bias), "Q1.15, stochastic, saturate");
    assert_eq!(shown(&hidden_value.stored), "UQ8 history of 16, nearest-even, saturate");
    assert_eq!(shown(&logits.stored), "Q8 history of 16, nearest-even, saturate");
    assert_eq!(shown(&logits.gradient), "Q2.6, stochastic, saturate");
    assert_eq!(shown(&hidden_value.gradient), "Q8 history of 16, stochastic, saturate");
    assert_eq!(shown(&last.weight_gradients), "Q16 history of 16, nearest-even, saturate");
    let accumulator = last.accumulator(Pass::Forward, 16).unwrap();
    assert_eq!((accumulator.bits(), accumulator.frac()), (32, None));
    assert_eq!((accumulator.rounding, accumulator.overflow), (Rounding::Floor, Overflow::Wrap));
    assert_eq!(last.accumulator(Pass::Forward, 17).unwrap().bits(), 48);
}

#[test]
fn overrides_replace_what_they_state_and_nothing_else() {
    let plan = resolve(
        r#"{"weights": {"bits": 10, "scale": "initial", "spare": 1, "rounding": "floor"},
            "layers": {"1": {"weights": {"bits": 6}, "error": "Q3.9"}}}"#,
    )
    .unwrap();
    assert_eq!(plan.layers[0].weights.to_string(), "Q0.10, floor, saturate");
    assert_eq!(plan.layers[1].weights.to_string(), "Q0.6, floor, saturate");
    assert_eq!(plan.layers[1].master.to_string(), "Q0.16, stochastic, saturate");
    assert_eq!(values(&plan)[1].gradient.to_string(), "Q3.9, stochastic, saturate");
    let plan = resolve(r#"{"master": {"spare": 0, "rounding": "floor"}}"#).unwrap();
    assert_eq!(plan.layers[0].master.to_string(), "Q-1.17, floor, saturate");
    assert_eq!(plan.layers[0].bias.to_string(), "Q1.15, floor, saturate");
}

/// One product before all of them, a layer before the plan of all layers; and of the two ways to say where
/// the lowest bit stands, that of the most special.
#[test]
fn accumulators_of_one_product_override_those_of_all() {
    let plan = resolve(
        r#"{"accumulator": {"bits": 30, "frac": 20, "rounding": "nearest-even",
                            "forward": {"bits": 20, "drop": 5}, "weight_gradient": {"overflow": "saturate"}},
            "layers": {"1": {"accumulator": {"bits": 25, "forward": {"drop": 7}}}}}"#,
    )
    .unwrap();
    let resolved = |layer: usize, pass| {
        let found = plan.layers[layer].accumulator(pass, 16).unwrap();
        assert_eq!(found.rounding, Rounding::NearestEven);
        (found.bits(), found.frac(), found.dropped(), found.overflow == Overflow::Saturate)
    };
    assert_eq!(resolved(0, Pass::Forward), (20, None, Some(5), false));
    assert_eq!(resolved(0, Pass::InputGradient), (30, Some(20), None, false));
    assert_eq!(resolved(0, Pass::WeightGradient), (30, Some(20), None, true));
    assert_eq!(resolved(1, Pass::Forward), (25, None, Some(7), false));
    assert_eq!(resolved(1, Pass::WeightGradient), (25, Some(20), None, true));
}

#[test]
fn an_object_of_bits_and_fraction_bits_is_signed_unless_it_says_otherwise() {
    let input = |json: &str| resolve(json).unwrap().input.to_string();
    let hidden = |json: &str| values(&resolve(json).unwrap())[0].stored.to_string();
    let whole = r#"{"input": {"bits": 8, "frac": 6}, "activations": {"bits": 6, "frac": 3}}"#;
    assert_eq!(input(whole), "Q2.6, nearest-even, saturate");
    assert_eq!(hidden(whole), "Q3.3, nearest-even, saturate");
    let unsigned = r#"{"input": {"bits": 8, "frac": 6, "signed": false}}"#;
    assert_eq!(input(unsigned), "UQ2.6, nearest-even, saturate");
    // What states less than a format has the sign of its role, or of what it overrides.
    assert_eq!(input(r#"{"input": {"bits": 6}}"#), "UQ1.5, nearest-even, saturate");
    assert_eq!(input(r#"{"input": {"frac": 6}}"#), "UQ2.6, nearest-even, saturate");
    assert_eq!(
        hidden(r#"{"activations": {"bits": 6}}"#),
        "UQ6 history of 16, nearest-even, saturate"
    );
    let lower = r#"{"input": "UQ1.7", "layers": {"0": {"input": {"bits": 5, "frac": 4}}}}"#;
    assert_eq!(input(lower), "UQ1.4, nearest-even, saturate");
}

#[test]
fn an_overflow_rate_starts_where_it_is_told_or_at_the_default_of_its_role() {
    let plan = resolve(
        r#"{"gradients": {"bits": 10, "scale": "overflow-rate", "max_overflow_rate": 0.0001,
                          "every_batches": 100, "frac": 6},
            "error": {"bits": 10, "scale": "overflow-rate", "max_overflow_rate": 0.5,
                      "every_batches": 1},
            "logits": {"scale": "overflow-rate", "max_overflow_rate": 0.5, "every_batches": 1},
            "layers": {"0": {"gradients": {"bits": 8}}}}"#,
    );
    let [hidden, last] = values(&plan.unwrap());
    assert_eq!(hidden.gradient.format_name(), "Q8 overflow-rate 0.0001 of 100");
    let fracs = [hidden.gradient, last.gradient, last.stored].map(|plan| plan.format.frac());
    assert_eq!(fracs, [4, 8, 7]);
}

#[test]
fn a_residual_has_the_range_of_an_ulp_of_the_weights_and_frees_the_rounding_of_biases() {
    let plan = resolve(
        r#"{"weights": "Q1.7", "bias": {"rounding": "floor"},
            "residual": {"bits": 10}, "layers": {"1": {"residual": "Q-6.14"}}}"#,
    );
    let plan = plan.unwrap();
    let shown = |layer: usize| plan.layers[layer].residual.unwrap().to_string();
    assert_eq!(shown(0), "Q-6.16, stochastic, saturate"); // ±2^-7
    assert_eq!(shown(1), "Q-6.14, stochastic, saturate");
    assert_eq!(plan.layers[0].bias.to_string(), "Q1.15, floor, saturate");
    assert_eq!(resolve("{}").unwrap().layers[0].residual, None);
}

#[test]
fn a_width_alone_keeps_the_range_in_either_spelling() {
    for weights in [r#""Q2.6""#, r#"{"bits": 8, "frac": 6}"#] {
        let plan = resolve(&format!(
            r#"{{"weights": {weights}, "layers": {{"1": {{"weights": {{"bits": 6}}}}}}}}"#
        ));
        let plan = plan.unwrap();
        assert_eq!(plan.layers[1].weights.to_string(), "Q2.4, nearest-even, saturate");
        assert_eq!(plan.layers[1].master.to_string(), "Q2.14, stochastic, saturate");
    }
}

#[test]
fn absurd_widths_are_refused_for_every_role() {
    for role in [
        "input",
        "weights",
        "master",
        "bias",
        "activations",
        "logits",
        "targets",
        "error",
        "gradients",
        "weight_gradients",
        "momentum",
    ] {
        for bits in [0u32, 33, 2_147_483_640, 2_147_483_647, u32::MAX] {
            let message =
                resolve(&format!(r#"{{"{role}": {{"bits": {bits}}}}}"#)).unwrap_err().to_string();
            let expected = format!("precision.{role}: a format of {bits} bits");
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused_at_their_path() {
    let message = |json: &str| resolve(json).unwrap_err().to_string();
    let cases = [
        (r#"{"weights": {"bits": 40}}"#, "precision.weights: a format of 40 bits"),
        (r#"{"error": {"bits": 8, "frac": 90}}"#, "precision.error: 90 fraction bits"),
        (r#"{"logits": {"scale": "static"}}"#, "precision.logits: a static scale needs \"frac\""),
        (r#"{"master": {"scale": "history"}}"#, "precision.master: scale \"history\""),
        (r#"{"weights": {"window": 3}}"#, "\"window\" goes with the scale \"history\""),
        (r#"{"logits": {"window": 0}}"#, "a window of 0 steps"),
        (r#"{"logits": {"frac": 3, "scale": "dynamic"}}"#, "\"frac\" is given"),
        (r#"{"logits": {"scale": "block"}}"#, "no matrix product reads logits along"),
        (r#"{"weight_gradients": {"scale": "block"}}"#, "reads weight_gradients along"),
        (r#"{"targets": {"scale": "block"}}"#, "no matrix product reads targets"),
        (r#"{"bias": {"scale": "block"}}"#, "precision.bias: scale \"block\""),
        (r#"{"weights": {"block": 32}}"#, "\"block\" goes with the scale \"block\""),
        (r#"{"input": {"scale": "block", "block": 0}}"#, "a block of 0 elements"),
        (r#"{"weights": {"scale": "block", "frac": 7}}"#, "\"frac\" is given"),
        (
            r#"{"error": {"scale": "overflow-rate"}}"#,
            "precision.error: the scale \"overflow-rate\" needs",
        ),
        (
            r#"{"error": {"scale": "overflow-rate", "max_overflow_rate": 0.1}}"#,
            "needs \"max_overflow_rate\" and \"every_batches\"",
        ),
        (
            r#"{"error": {"scale": "overflow-rate", "max_overflow_rate": 1, "every_batches": 9}}"#,
            "an overflow rate of 1: expected more than 0 and less than 1",
        ),
        (
            r#"{"error": {"scale": "overflow-rate", "max_overflow_rate": 0.1, "every_batches": 0}}"#,
            "a decision every 0 batches: expected 1 to 1048576",
        ),
        (
            r#"{"error": {"every_batches": 9}}"#,
            "go with the scale \"overflow-rate\", not \"static\"",
        ),
        (
            r#"{"master": {"scale": "overflow-rate", "max_overflow_rate": 0.1, "every_batches": 9}}"#,
            "precision.master: scale \"overflow-rate\"",
        ),
        (r#"{"bias": {"rounding": "floor"}}"#, "precision.bias: biases are rounded"),
        (r#"{"rate": {"bits": 17}}"#, "precision.rate: a mantissa of 17 bits"),
        (r#"{"layers": {"2": {}}}"#, "precision.layers.2: the network has 2 layers"),
        (r#"{"layers": {"1": {"layers": {"0": {}}}}}"#, "precision.layers.1.layers"),
        (
            r#"{"layers": {"1": {"bias": {"bits": 1}}}}"#,
            "precision.layers.1.bias: a format of 1 bits",
        ),
    ];
    for (json, expected) in cases {
        assert!(message(json).contains(expected), "{json}: {}", message(json));
    }
    for (json, expected) in [
        (r#"{"master": {}, "residual": {}}"#, "precision.residual: it takes the place"),
        (r#"{"weights": {"scale": "history"}, "residual": {}}"#, "precision.residual: what"),
        (r#"{"residual": {"scale": "dynamic"}}"#, "precision.residual: scale \"dynamic\""),
        (r#"{"residual": {"spare": 1}}"#, "precision.residual: scale \"initial\""),
        (r#"{"residual": {"bits": 1}}"#, "precision.residual: a format of 1 bits"),
        (r#"{"layers": {"0": {"residual": {"scale": "static"}}}}"#, "layers.0.residual: a static"),
    ] {
        assert!(message(json).contains(expected), "{json}: {}", message(json));
    }
    for (json, expected) in [
        (r#"{"drop": 3, "frac": 9}"#, "precision.accumulator: \"frac\" is 9 and \"drop\" 3"),
        (
            r#"{"forward": {"input_gradient": {}}}"#,
            "precision.accumulator.forward: settings of one",
        ),
    ] {
        let json = format!(r#"{{"accumulator": {json}}}"#);
        assert!(message(&json).contains(expected), "{json}: {}", message(&json));
    }
    let plan = resolve(r#"{"accumulator": {"weight_gradient": {"drop": 16}}}"#).unwrap();
    assert_eq!(plan.layers[1].accumulator(Pass::Forward, 16).unwrap().dropped(), Some(0));
    assert_eq!(plan.layers[1].accumulator(Pass::WeightGradient, 17).unwrap().dropped(), Some(16));
    let message = plan.layers[1].accumulator(Pass::WeightGradient, 16).unwrap_err().to_string();
    let expected = "precision.accumulator.weight_gradient: 16 of the 16 bits of a product dropped: expected \
                    at most 15";
    assert_eq!(message, expected);
    let plan = resolve(r#"{"accumulator": {"bits": 65}}"#).unwrap();
    let message = plan.layers[0].accumulator(Pass::Forward, 16).unwrap_err().to_string();
    assert_eq!(message, "precision.accumulator: an accumulator of 65 bits: expected 2 to 64");
}

#[test]
fn a_problem_is_told_where_its_setting_is_stated_last() {
    let message = |json: &str| resolve(json).unwrap_err().to_string();
    for (json, expected) in [
        (
            r#"{"weights": {"bits": 40}, "layers": {"0": {"weights": {"rounding": "floor"}}}}"#,
            "precision.weights: a format of 40 bits",
        ),
        (
            r#"{"weights": {"rounding": "floor"}, "layers": {"0": {"weights": {"bits": 40}}}}"#,
            "precision.layers.0.weights: a format of 40 bits",
        ),
        (
            r#"{"master": {"scale": "history"}, "layers": {"0": {"master": {"bits": 12}}}}"#,
            "precision.master: scale \"history\"",
        ),
        (
            r#"{"master": {"bits": 12}, "layers": {"1": {"master": {"scale": "history"}}}}"#,
            "precision.layers.1.master: scale \"history\"",
        ),
    ] {
        assert!(message(json).starts_with(expected), "{json}: {}", message(json));
    }
    let plan = resolve(
        r#"{"gradients": {"scale": "block"},
            "layers": {"0": {"gradients": {"bits": 6}}, "1": {"gradients": {"block": 8}}}}"#,
    );
    let path =
        |layer: usize| plan.as_ref().unwrap().path(EntryName::Number(layer), Role::Gradients);
    assert_eq!([path(0), path(1)], ["precision.gradients", "precision.layers.1.gradients"]);
}

#[test]
fn a_problem_of_an_accumulator_is_told_where_that_is_stated_last() {
    let plan = resolve(
        r#"{"accumulator": {"bits": 20, "forward": {"drop": 3}},
            "layers": {"0": {"accumulator": {"rounding": "floor", "weight_gradient": {"chunk": 4}}}}}"#,
    );
    let plan = plan.unwrap();
    let place = |layer: usize, pass: Pass, of: AccumulatorPart| {
        let error = plan.layers[layer].accumulator_problem(pass, of, "x".to_owned()).to_string();
        error.trim_end_matches(": x").to_owned()
    };
    use AccumulatorPart::{Bits, Chunk, Lowest, Range};
    for layer in [0, 1] {
        assert_eq!(place(layer, Pass::Forward, Bits), "precision.accumulator");
        assert_eq!(place(layer, Pass::Forward, Lowest), "precision.accumulator.forward");
        assert_eq!(place(layer, Pass::Forward, Range), "precision.accumulator.forward");
        assert_eq!(place(layer, Pass::WeightGradient, Range), "precision.accumulator");
    }
    let chunk = place(0, Pass::WeightGradient, Chunk);
    assert_eq!(chunk, "precision.layers.0.accumulator.weight_gradient");
    assert_eq!(place(1, Pass::WeightGradient, Chunk), "precision.accumulator");
}
