//! The last example of docs/lecture.md: one sample forward and backward through a convolutional classifier.

use systoliq_fxp::Tensor;
use systoliq_nn::initial_weights;
use systoliq_program::{EntryName, Reference, Role, Step, Store, TensorId};

use crate::lecture::Table;
use crate::support::{data, prepared};

/// The sample, the filter, and the place of the window whose numbers are shown: row and column of an image of
/// 8 x 8 pixels.
const SAMPLE: u32 = 4;
const FILTER: usize = 4;
const PLACE: [usize; 2] = [4, 3];

fn real(tensor: &Tensor, code: i64) -> f64 {
    code as f64 * 2f64.powi(-tensor.format().frac())
}

#[test]
fn one_sample_goes_through_a_convolutional_classifier_and_back() {
    let prepared = prepared("digits-cnn", &[]);
    let program = &prepared.program;
    let mut store = Store::new(program, &initial_weights(&prepared.graph, 1), 1);
    let data = data(&prepared, 1);
    let batch = data.train.batch(&[SAMPLE]);
    let step = Step::training(1, 0);
    store.load(&batch, &step);
    store.gradients(&step, &mut Reference);
    let find = |role, entry| program.find(role, entry).expect("a tensor");
    let named = |name: &str| {
        let at = program.tensors.iter().position(|decl| decl.name == name);
        store.tensor(TensorId(at.expect("a tensor of this name"))).expect("codes")
    };
    let of = |role, entry| store.tensor(find(role, entry)).expect("codes");
    let first = EntryName::Number(0);
    let (x, w, y) = (named("x"), of(Role::Weights, first), of(Role::Activations, first));
    let [oy, ox] = PLACE;

    // A window of the padded image times a filter. Biases start at 0.
    let mut table = Table::new("| tap | pixel | x raw | w raw | product raw |");
    let mut sum = 0;
    for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
        let (row, column) = (oy + ky - 1, ox + kx - 1);
        let (pixel, weight) = (x.code(8 * row + column, 0), w.code(FILTER, 3 * ky + kx));
        sum += pixel * weight;
        let product = pixel * weight;
        table.line(format!("| {ky}, {kx} | {row}, {column} | {pixel} | {weight} | {product} |"));
    }
    let sum_frac = x.format().frac() + w.format().frac();
    let exact = sum as f64 * 2f64.powi(-sum_frac);
    let place = 8 * oy + ox;
    let stored = y.code(place, FILTER);
    // To nearest, of what the ReLU lets pass.
    let shift = 2f64.powi(y.format().frac() - sum_frac);
    assert_eq!(stored, (sum.max(0) as f64 * shift).round_ties_even() as i64);
    table.line(format!("| sum | | | | {sum}, {exact:.6} |"));
    let (format, value) = (y.format(), real(y, stored));
    table.line(format!("| stored | | | | {stored}, {value:.6} in {format} |"));
    table.check();

    // The window of 2 x 2 that holds the place: its largest moves on.
    let (pooled, winners) = (named("y@2"), named("p@2"));
    let window = 4 * (oy / 2) + ox / 2;
    let mut table = Table::new("| place | y0 raw | gradient raw |");
    let (gradient, below) = (named("dz@2"), of(Role::Gradients, first));
    let of_window = gradient.code(window, FILTER);
    for tap in 0..4 {
        let (row, column) = (oy / 2 * 2 + tap / 2, ox / 2 * 2 + tap % 2);
        let code = y.code(8 * row + column, FILTER);
        let is_winner = winners.code(window, FILTER) == tap as i64;
        assert!(code <= pooled.code(window, FILTER));
        let back = below.code(8 * row + column, FILTER);
        // Behind the mask of the ReLU.
        assert_eq!(back, if is_winner && code > 0 { of_window } else { 0 });
        table.line(format!("| {row}, {column} | {code} | {back} |"));
    }
    table.line(format!(
        "| y@2 | {} | {of_window}, {:.6} in {} |",
        pooled.code(window, FILTER),
        real(gradient, of_window),
        gradient.format()
    ));
    table.check();

    // One weight meets every place: dW of the middle tap.
    let dw = of(Role::WeightGradients, first);
    let products = (0..64).map(|place| below.code(place, FILTER) * x.code(place, 0));
    let nonzero = products.clone().filter(|&product| product != 0).count();
    let sum: i64 = products.sum();
    let frac = below.format().frac() + x.format().frac();
    let code = dw.code(FILTER, 4);
    let shift = 2f64.powi(dw.format().frac() - frac);
    assert_eq!(code, (sum as f64 * shift).round_ties_even() as i64);
    let mut table = Table::new("| dW of filter 4, tap 1, 1 | raw | real |");
    table.line(format!(
        "| sum over 64 places, {nonzero} of them not zero | {sum} | {:.6} |",
        sum as f64 * 2f64.powi(-frac)
    ));
    table.line(format!("| stored in {} | {code} | {:.6} |", dw.format(), real(dw, code)));
    table.check();
}
