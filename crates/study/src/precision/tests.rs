//! Widths, bounds and costs on networks small enough for paper.

use systoliq_nn::golden::Observation;

use super::sums::ProductError;
use super::*;
use systoliq_fxp::Rounding;
use systoliq_run::Experiment;

fn prepared(edit: impl Fn(&mut serde_json::Value)) -> Prepared {
    let mut value = serde_json::json!({
        "name": "small", "seed": 1,
        "dataset": { "kind": "clusters", "classes": 3, "features": 4, "spread": 0.7,
                     "train": 60, "test": 40 },
        "network": { "input": [4], "loss": "softmax_cross_entropy",
                     "layers": [{ "dense": { "units": 5 } }, "relu", { "dense": { "units": 3 } }] },
        "training": { "epochs": 4, "batch": 10, "rate": 0.25, "golden": "f64" },
        "accelerator": { "array": { "rows": 4, "cols": 4 } }
    });
    edit(&mut value);
    let experiment: Experiment = serde_json::from_value(value).unwrap();
    Prepared::new(experiment).unwrap()
}

fn data(prepared: &Prepared) -> DataSet {
    prepared.load(1, &mut |_| unreachable!("nothing to open")).unwrap()
}

fn study<'a>(prepared: &'a Prepared, data: &'a DataSet) -> Study<'a> {
    let run = FloatRun::train(prepared, data, &mut |_| {}).unwrap();
    Study::new(prepared, data, run, DataPart::Train, usize::MAX).unwrap()
}

#[test]
fn sums_that_drop_nothing_and_have_all_room_are_as_wide_as_no_sum_can_leave() {
    let prepared = prepared(|_| {});
    let data = data(&prepared);
    let study = study(&prepared, &data);
    let widths = study.smallest(Allocation::Balanced, 0.3).unwrap();
    for (head, rounding) in [(32, None), (32, Some(Rounding::NearestEven)), (2, None)] {
        let budget = SumBudget { head, rounding, ..SumBudget::default() };
        for sum in study.planned_sums(&widths, budget).unwrap() {
            let exact = head == 32 && sum.drop == 0;
            assert!(sum.bits <= sum.bits_exact, "{sum:?}");
            assert!(!exact || sum.bits == sum.bits_exact, "{sum:?}");
            assert!(rounding.is_some() || sum.drop == 0, "{sum:?}");
        }
    }
}

#[test]
fn full_adders_and_bits_are_those_of_the_formula_worked_on_paper() {
    let network = |units: usize, bias: bool| {
        prepared(|value| {
            value["network"]["layers"][0]["dense"] =
                serde_json::json!({"units": units, "bias": bias});
        })
    };
    let cost = |prepared: &Prepared| -> Complexity {
        Complexity::of_layer(
            &prepared.graph.weighted()[0].weights,
            (1, prepared.graph.inputs()),
            (3, 6),
        )
    };
    // 4 inputs and a bias, D = 5: 5·3·6 = 90 and 4·(3 + 6 + 3 − 1) = 44 for each of 5 units; 4·3
    // bits of inputs and 5·5·6 of weights.
    let expected = Complexity { full_adders: 5 * 134, storage_bits: 12 + 150 };
    assert_eq!(cost(&network(5, true)), expected);
    // Without a bias, D = 4: 72 and 3·(3 + 6 + 2 − 1) = 30 for each of 2 units; 4·3 and 4·2·6.
    let expected = Complexity { full_adders: 2 * 102, storage_bits: 12 + 48 };
    assert_eq!(cost(&network(2, false)), expected);
}

#[test]
fn the_accumulator_of_the_authors_list_follows_from_their_numbers() {
    // B_W = 14, r_GW = 2^-2, B_GW = 11, μ_min = 1e-3: D_acc = 2^-22, and a residual of range 2^-14
    // has 9 bits; with the weights' 14 bits that is a master of 23.
    let mut observation = Observation::new(1);
    let layer = &mut observation.layers[0];
    // s_min / 4 in 2^-12 … 2^-11 makes the step 2^-12 = 2^-2 · 2^(1 − 11).
    layer.dw.see(&ndarray::array![-1.5 * 2_f64.powi(-10), 1.5 * 2_f64.powi(-10)]);
    layer.dw.extremes.max = 0.2;
    layer.dw.largest = 0.03; // 2·0.03/√0.1 = 0.19
    layer.dz.see(&ndarray::array![-0.1, 0.1]);
    layer.noise_gain = 0.25;
    let prepared = prepared(|value| value["training"]["rate"] = 1e-3.into());
    let grids = backward::grids(&prepared.experiment.training, &observation).unwrap()[0];
    assert_eq!(grids.weight_gradients, Grid::signed(-2, -12));
    assert_eq!(grids.weight_gradients.bits(), 11);
    assert_eq!(grids.master_step_log2, -22);
    assert_eq!(Grid::signed(0, grids.master_step_log2).bits(), 14 + 9);
    // D_GA = D_GW / √(1/4); no element is larger than 0.1, below 2^-3.
    assert_eq!(grids.gradients, Grid::signed(-3, -11));
}

#[test]
fn a_loss_scale_moves_the_gradients_and_not_the_master() {
    let grids = |scale: u32| {
        let prepared = prepared(|value| value["training"]["loss_scale"] = scale.into());
        study(&prepared, &data(&prepared)).backward[0]
    };
    let (one, eight) = (grids(1), grids(8));
    let moved = |grid: Grid| Grid::signed(grid.range_log2 + 3, grid.step_log2 + 3);
    assert_eq!(eight.gradients, moved(one.gradients));
    assert_eq!(eight.weight_gradients, moved(one.weight_gradients));
    assert_eq!(eight.master_step_log2, one.master_step_log2);
}

#[test]
fn sums_and_means_of_batches_make_the_same_masters() {
    // Gradients of 10 samples, summed, are 10 times as large at a tenth of the rate. Powers of two
    // round down, so the step may be half.
    let grids = |gradient: &str| {
        let prepared = prepared(|value| value["training"]["batch_gradient"] = gradient.into());
        study(&prepared, &data(&prepared)).backward.clone()
    };
    for (mean, sum) in grids("mean").iter().zip(grids("sum")) {
        let apart = mean.master_step_log2 - sum.master_step_log2;
        assert!((-1..=1).contains(&apart), "{mean:?} {sum:?}");
        let apart = mean.gradients.step_log2 - sum.gradients.step_log2;
        assert!((-1..=1).contains(&apart), "{mean:?} {sum:?}");
    }
}

#[test]
fn the_bound_is_the_capped_mean_and_falls_with_every_bit() {
    let prepared = prepared(|_| {});
    let data = data(&prepared);
    let study = study(&prepared, &data);
    assert_eq!(study.gains.dim(), (60, 5));
    let names: Vec<&str> = study.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["x", "w0", "y0", "w1", "z1"]);
    let bits = [5, 6, 4, 7, 5];
    let expected: f64 = (0..60)
        .map(|sample| {
            let noise: f64 = (0..5)
                .map(|at| {
                    let tensor = &study.tensors[at];
                    let codes = f64::from(bits[at] - u32::from(tensor.signed)).exp2();
                    let step = f64::from(tensor.range_log2).exp2() / codes;
                    step * step * study.gains[(sample, at)]
                })
                .sum();
            if noise > 1.0 { 1.0 } else { noise }
        })
        .sum::<f64>()
        / 60.0;
    let bound = study.bound(&bits);
    assert!((bound - expected).abs() < 1e-12 && bound < 1.0, "{bound} {expected}");
    for at in 0..5 {
        let mut wider = bits;
        wider[at] += 1;
        assert!(study.bound(&wider) <= bound, "{at}");
    }
}

#[test]
fn balanced_tensors_add_noise_within_a_factor_of_two_of_each_other() {
    let prepared = prepared(|_| {});
    let data = data(&prepared);
    let study = study(&prepared, &data);
    let assignment = study.assign(Allocation::Balanced, 6).unwrap();
    let noise: Vec<f64> = (study.tensors.iter().zip(&assignment.bits))
        .map(|(tensor, &bits)| 4_f64.powi(tensor.grid(bits).step_log2) * tensor.gain.trimmed_mean)
        .collect();
    // A rounded number of bits is off by half a bit at most: √2 in the step, 2 in its square.
    let least = study.tensors.iter().position(|tensor| tensor.offset == 0).unwrap();
    for (at, noise) in noise.iter().enumerate() {
        let ratio = noise
            / 4_f64.powi(study.tensors[least].grid(6).step_log2)
            / study.tensors[least].gain.trimmed_mean;
        assert!((0.25..=4.0).contains(&ratio), "{at}: {ratio}");
    }
    assert_eq!(assignment.bits.iter().min(), Some(&6));
}

#[test]
fn the_smallest_widths_are_those_before_which_the_bound_is_too_large() {
    let prepared = prepared(|_| {});
    let data = data(&prepared);
    let study = study(&prepared, &data);
    for allocation in [Allocation::Balanced, Allocation::Uniform] {
        for mismatch in [0.5, 0.1, 0.01, 1e-4] {
            let smallest = study.smallest(allocation, mismatch).unwrap();
            assert!(smallest.bound <= mismatch);
            let fewer = study.assign(allocation, smallest.b_min - 1).unwrap();
            assert!(fewer.bound > mismatch || smallest.b_min == 2, "{fewer:?}");
        }
        let message = study.smallest(allocation, 1e-30).unwrap_err().to_string();
        assert!(message.contains("1e-30") && message.contains("32 bits"), "{message}");
    }
}

#[test]
fn plans_are_sections_that_resolve_and_whose_sums_keep_their_budget() {
    let prepared = prepared(|_| {});
    let data = data(&prepared);
    let study = study(&prepared, &data);
    let assignment = study.assign(Allocation::Balanced, 5).unwrap();
    let spec = study.spec(&assignment).unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<systoliq_program::PrecisionSpec>(&json).unwrap(), spec);
    let experiment = Experiment { precision: spec, ..prepared.experiment.clone() };
    let planned = Prepared::new(experiment).unwrap();
    for tensor in study.planned(&assignment).unwrap() {
        let declared = planned.program.tensors.iter().find(|decl| decl.name == tensor.name);
        assert_eq!(declared.unwrap().plan.format.to_string(), tensor.format, "{}", tensor.name);
    }
    for (at, write, command) in planned.program.all_writes() {
        let Some(gemm) = command.operation.product() else { continue };
        let ends = |id| {
            let format = planned.program.tensor(id).plan.format;
            i128::from(format.max_raw().max(-format.min_raw()))
        };
        let k = planned.program.work(at, 10);
        let systoliq_program::Work::Gemm(shape) = k else { unreachable!("a GEMM") };
        let mut largest = ends(gemm.a.tensor) * ends(gemm.b.tensor) * shape.k as i128;
        if let Some(bias) = gemm.finish.bias {
            let frac = |id| planned.program.tensor(id).plan.format.frac();
            let shift = frac(gemm.a.tensor) + frac(gemm.b.tensor) - frac(bias);
            largest += if shift < 0 { ends(bias) >> -shift } else { ends(bias) << shift } + 1;
        }
        let layer = command.entry.number().unwrap();
        let sums = study.planned_sums(&assignment, SumBudget::default()).unwrap();
        let sum = sums.iter().find(|sum| (sum.layer, sum.pass) == (layer, command.pass)).unwrap();
        assert!(largest < 1 << (sum.bits_exact - 1), "{}: {largest}", write.name);
        let found = (gemm.accumulator.bits(), gemm.accumulator.dropped());
        assert_eq!(found, (sum.bits, Some(sum.drop)), "{}", write.name);
        let holds_all = sum.bits + sum.drop >= sum.bits_exact;
        assert!(sum.noise <= 1.0 && (sum.head >= 2.0 || holds_all), "{sum:?}");
        // One more dropped is beyond the budget.
        let sampled = study.sampled(&assignment, layer, command.pass);
        let power = |drop| sampled.error(sum.rounding, drop).of_sum(sampled.terms());
        let one_more = sum.noise * power(sum.drop + 1);
        assert!(sum.drop == 0 || one_more > power(sum.drop), "{sum:?}");
    }
}

/// Uniform bits, all alike: the sums of their errors are those of the formulas.
#[test]
fn errors_of_products_with_uniform_low_bits_are_those_of_the_formulas() {
    for drop in [1, 2, 3, 8, 12] {
        let products: Vec<i64> = (-(1 << 14)..1 << 14).collect();
        let step = f64::from(1 << drop);
        for rounding in Rounding::ALL {
            let found = ProductError::of_products(rounding, drop, &products);
            let formula = ProductError::uniform(rounding, drop);
            // Of 2^drop equally likely residues, which begin at 0, not of a continuum.
            assert!(
                (found.mean - formula.mean).abs() <= 0.5 + 1e-9,
                "{rounding:?} {drop} {found:?}"
            );
            let close = (found.square - formula.square).abs() <= 0.51 * step;
            assert!(close, "{rounding:?} {drop} {found:?} {formula:?}");
        }
    }
    // Nothing but multiples of what is dropped: no error; and a tie, which rounds up as often as down.
    for rounding in Rounding::ALL {
        let none = ProductError::of_products(rounding, 3, &[8, -16, 64]);
        assert_eq!(none, ProductError::default(), "{rounding:?}");
    }
    let ties = ProductError::of_products(Rounding::NearestEven, 3, &[4, 12, -4, -12]);
    assert_eq!(ties, ProductError { mean: 0.0, square: 16.0 });
}

#[test]
fn regressions_single_classes_and_runs_that_learn_nothing_are_refused() {
    let refused = |edit: &dyn Fn(&mut serde_json::Value)| {
        // Networks that no data set of the experiment would fit.
        let mut value = serde_json::to_value(&prepared(|_| {}).experiment).unwrap();
        edit(&mut value);
        let network = serde_json::from_value(value["network"].take()).unwrap();
        let graph = systoliq_nn::Graph::new(&network).unwrap();
        Study::check(&graph).unwrap_err().to_string()
    };
    let regression = refused(&|value| value["network"]["loss"] = "mse".into());
    assert!(regression.contains("network.loss") && regression.contains("\"mse\""), "{regression}");
    let single = refused(&|value| value["network"]["layers"][2]["dense"]["units"] = 1.into());
    assert!(single.contains("network.layers") && single.contains("at least 2"), "{single}");

    let prepared = prepared(|value| value["training"]["rate"] = 1e12.into());
    let message =
        FloatRun::train(&prepared, &data(&prepared), &mut |_| {}).unwrap_err().to_string();
    assert!(message.starts_with("the float run diverged in epoch"), "{message}");

    let dead = Observation::new(2);
    let message = backward::grids(&prepared.experiment.training, &dead).unwrap_err().to_string();
    assert!(message.contains("no gradient reaches the weights of layer 0"), "{message}");
}
