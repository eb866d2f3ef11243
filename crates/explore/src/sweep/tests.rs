//! Which points sweeps have, and which sweeps are refused.

use serde_json::json;

use super::*;

fn spec(axes: Value, mode: Value) -> SweepSpec {
    serde_json::from_value(json!({
        "name": "s",
        "experiment": { "seed": 7, "precision": { "error": "Q2.6" }, "network": { "layers": [1, 2] } },
        "seeds": 2,
        "axes": axes,
        "mode": mode,
    }))
    .unwrap()
}

fn sweep(axes: Value, mode: Value) -> Result<Sweep, String> {
    Sweep::new(spec(axes, mode), false).map_err(|error| error.to_string())
}

/// Two axes of 3 and 2 levels.
fn two() -> Value {
    json!([
        { "name": "bits", "path": ["precision.weights.bits", "precision.activations.bits"], "values": "2..=4" },
        { "path": "precision.gradients.bits", "values": [8, 4] },
    ])
}

fn levels(sweep: &Sweep) -> Vec<Vec<usize>> {
    (0..sweep.points()).map(|at| sweep.point(at)).collect()
}

#[test]
fn a_grid_has_every_combination_and_the_last_axis_varies_fastest() {
    let sweep = sweep(two(), json!("grid")).unwrap();
    assert_eq!(levels(&sweep), [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]);
    let expected = json!({ "bits": 3, "precision.gradients.bits": 4 });
    assert_eq!(serde_json::to_value(sweep.settings(3)).unwrap(), expected);
    let experiment = sweep.experiment(3, 8);
    assert_eq!(experiment["seed"], 8);
    let bits = |role: &str| experiment["precision"][role]["bits"].clone();
    assert_eq!(["weights", "activations", "gradients"].map(bits), [3, 3, 4]);
    let runs: Vec<_> = sweep.runs().take(3).collect();
    assert_eq!(runs, [(0, 7), (0, 8), (1, 7)]);
}

#[test]
fn one_axis_at_a_time_leaves_the_centre() {
    let center = json!({ "bits": 3, "precision.gradients.bits": 8 });
    let sweep = sweep(two(), json!({ "one_at_a_time": { "center": center } })).unwrap();
    assert_eq!(levels(&sweep), [[0, 0], [1, 0], [1, 1], [2, 0]]);
}

#[test]
fn a_random_subset_has_as_many_points_as_asked_for_and_each_once() {
    for count in 1..=6 {
        let mode = json!({ "random": { "points": count, "seed": 1 } });
        let found = levels(&sweep(two(), mode).unwrap());
        assert_eq!(found.len(), count);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    }
    // Each of the C(5, 2) = 10 subsets in one of ten of 20,000 draws, standard deviation 42.
    let mut seen = BTreeMap::new();
    (0..20_000).for_each(|seed| *seen.entry(sample(seed, 2, 5)).or_insert(0) += 1);
    assert!(seen.len() == 10 && seen.values().all(|&n| (1790..2210).contains(&n)), "{seen:?}");
    let far = sample(1, 3, 1 << 62);
    assert!(far.len() == 3 && far.iter().any(|&place| place > 1 << 60), "{far:?}");
}

#[test]
fn bundles_set_several_paths_at_once() {
    let axes = json!([{ "name": "all", "bundles": [
        { "name": "8 bit", "set": { "precision.weights.bits": 8, "accelerator.layout": "two-copies" } },
        { "name": "float-like", "set": { "precision.weights.bits": 24 } },
    ] }]);
    let sweep = sweep(axes, json!("grid")).unwrap();
    assert_eq!(sweep.axes()[0].paths, ["accelerator.layout", "precision.weights.bits"]);
    assert_eq!(sweep.axes()[0].levels[1].label(), "float-like");
    assert_eq!(sweep.experiment(0, 1)["accelerator"]["layout"], "two-copies");
    assert_eq!(sweep.experiment(1, 1)["accelerator"], Value::Null);
    assert_eq!(sweep.experiment(1, 1)["precision"]["weights"]["bits"], 24);
}

#[test]
fn axes_that_cannot_be_are_refused_with_their_place() {
    let axis = |path: &str| json!([{ "path": path, "values": [1] }]);
    for (axes, said) in [
        (json!([]), "axes: none"),
        (json!([{ "path": "training.rate", "values": [] }]), "axes[0].values: an empty axis"),
        (json!([{ "name": "x", "bundles": [] }]), "axes[0].bundles: an empty axis"),
        (json!([{ "path": "training.rate" }]), "axes[0]: expected `path` with `values`"),
        (json!([{ "path": [], "values": [1] }]), "axes[0].path: no path"),
        (json!([{ "path": ["a", "b"], "values": [1], "bundles": [] }]), "axes[0]: expected `path`"),
        (
            axis("precision.weight.bits"),
            "axes[0].path: no path `precision.weight.bits` in an experiment; the nearest is \
             `precision.weights.bits`",
        ),
        (axis("training..rate"), "axes[0].path: path `training..rate` has an empty name"),
        (axis("seed"), "axes[0].path: `seed` is set by the sweep's `seeds`"),
        (
            axis("precision.error.bits"),
            "axes[0].path: `precision.error.bits`: precision.error is \"Q2.6\"",
        ),
        (axis("network.layers[2].dense"), "network.layers is an array of 2"),
        (json!([{ "path": "training.rate", "values": [1, 1] }]), "axes[0].values: 1 stands twice"),
        (
            json!([{ "name": "x", "path": ["training.rate", "training.rate"], "values": [1] }]),
            "axes[0].path: `training.rate` stands twice",
        ),
        (
            json!([{ "path": ["training.rate", "training.epochs"], "values": [1] }]),
            "axes[0]: no name",
        ),
        (
            json!([{ "name": "x", "path": "training.rate", "values": [1] },
                   { "name": "x", "path": "training.epochs", "values": [1] }]),
            "axes[1]: a second axis of the name `x`",
        ),
        (
            json!([{ "path": "precision.weights.bits", "values": [1] },
                   { "path": "precision.weights", "values": ["Q2.6"] }]),
            "axes[1]: sets `precision.weights`, and the axis `precision.weights.bits` sets \
             `precision.weights.bits`",
        ),
        (
            json!([{ "name": "x", "bundles": [{ "name": "y", "set": { "weights.bits": 1 } }] }]),
            "axes[0].bundles[0].set: no path `weights.bits`",
        ),
    ] {
        let message = sweep(axes.clone(), json!("grid")).unwrap_err();
        assert!(message.contains(said), "{axes}: {message}");
    }
}

#[test]
fn sweeps_of_no_or_too_many_points_or_seeds_are_refused() {
    let wide = json!([
        { "path": "training.epochs", "values": "1..=1001" },
        { "path": "training.batch", "values": "1..=1000" },
    ]);
    let message = sweep(wide.clone(), json!("grid")).unwrap_err();
    assert!(
        message.contains(
            "axes: 1001000 points with 2 seeds each: expected at most 1000000 runs, or --yes"
        ),
        "{message}"
    );
    assert_eq!(Sweep::new(spec(wide.clone(), json!("grid")), true).unwrap().points(), 1_001_000);
    let mut many =
        spec(json!([{ "path": "training.epochs", "values": "1..=1001" }]), json!("grid"));
    many.seeds = crate::Seeds::Count(1000);
    let message = Sweep::new(many.clone(), false).unwrap_err().to_string();
    assert!(message.contains("axes: 1001 points with 1000 seeds each: expected"), "{message}");
    many.seeds = crate::Seeds::Count(900);
    assert_eq!(Sweep::new(many, false).unwrap().points(), 1001);
    assert_eq!(sweep(wide, json!({ "random": { "points": 5, "seed": 1 } })).unwrap().points(), 5);
    let roles = ["weights", "master", "bias", "logits", "gradients", "momentum"];
    let deep = |axes: usize| {
        let axis = |role: &&str| json!({ "path": format!("precision.{role}.window"), "values": "1..=1000" });
        Value::from(roles.iter().take(axes).map(axis).collect::<Vec<_>>())
    };
    let refused = |axes| Sweep::new(spec(axes, json!("grid")), true).unwrap_err().to_string();
    let message = refused(deep(4));
    assert!(
        message.contains("1000000000000 points with 2 seeds each: expected at most 268435456 runs"),
        "{message}"
    );
    let mut axes = deep(6);
    axes.as_array_mut().unwrap().push(json!({ "path": "training.epochs", "values": "1..=10" }));
    assert!(refused(axes).contains("more than 2^62"), "10^19");
    for (mode, said) in [
        (
            json!({ "random": { "points": 0, "seed": 1 } }),
            "0 points of a grid of 6: expected 1 to 6",
        ),
        (json!({ "random": { "points": 7, "seed": 1 } }), "7 points of a grid of 6"),
        (
            json!({ "one_at_a_time": { "center": { "bits": 3 } } }),
            "no value for the axis `precision",
        ),
        (
            json!({ "one_at_a_time": { "center": { "bits": 5, "precision.gradients.bits": 4 } } }),
            "5 on the axis `bits`: expected one of 2, 3, 4",
        ),
        (json!({ "one_at_a_time": { "center": { "bit": 3 } } }), "no axis `bit`: expected `bits`"),
    ] {
        let message = sweep(two(), mode.clone()).unwrap_err();
        assert!(message.contains(said), "{mode}: {message}");
    }
    for (seeds, said) in [
        (json!(0), "0 seeds: expected 1 to"),
        (json!([]), "0 seeds"),
        (json!([1, 2, 1]), "1 stands twice"),
        (json!(100_001), "100001 seeds"),
    ] {
        let mut spec = spec(two(), json!("grid"));
        spec.seeds = serde_json::from_value(seeds.clone()).unwrap();
        let message = Sweep::new(spec, false).unwrap_err().to_string();
        assert!(message.starts_with("seeds: ") && message.contains(said), "{seeds}: {message}");
    }
}
