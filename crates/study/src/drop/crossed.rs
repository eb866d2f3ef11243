//! The interval for new seeds and new samples.

use super::Level;
use systoliq_run::Right;

/// Half the width of the interval of the mean for seeds *and* samples drawn anew, from the S × n table of
/// what each seed loses on each sample (−1, 0 or 1); at least `on_this_part`, that for these samples.
///
/// With means of rows r̄ (seeds), of columns c̄ (samples) and of all m̄:
/// t(S − 1)·√(s²_seeds/S + s²_samples/n − s²_rest/(nS)), where s²_seeds = Σ(r̄ − m̄)²/(S − 1),
/// s²_samples = Σ(c̄ − m̄)²/(n − 1) and s²_rest = Σ(x − r̄ − c̄ + m̄)²/((S − 1)(n − 1)). In a table of
/// crossed effects, s²_seeds/S expects σ²_seed/S + σ²_rest/(nS), s²_samples/n expects
/// σ²_sample/n + σ²_rest/(nS): together one σ²_rest/(nS) too many.
///
/// Where every seed has samples of its own, columns differ by the rest alone, and the rows have it all.
/// Where no seed loses or gains a sample, the table has no variance to speak of new samples by: n of them
/// without a difference leave a share of z/n open, as of one seed.
/// Nothing for one seed, or one sample.
///
/// # Panics
///
/// If there are not as many of either network, or they have other samples.
pub fn new_samples(
    golden: &[&Right],
    fixed: &[&Right],
    on_this_part: f64,
    level: Level,
) -> Option<f64> {
    assert_eq!(golden.len(), fixed.len(), "pairs of networks");
    let seeds = golden.len();
    let samples = golden.first()?.len();
    if seeds < 2 || samples < 2 {
        return None;
    }
    // Exact sums: of rows, of columns, and of squares.
    let (mut rows, mut columns, mut squares) = (vec![0i64; seeds], vec![0i64; samples], 0i64);
    for ((golden, fixed), row) in golden.iter().zip(fixed).zip(&mut rows) {
        assert!(golden.len() == samples && fixed.len() == samples, "samples of one part");
        for ((golden, fixed), column) in golden.iter().zip(fixed.iter()).zip(&mut columns) {
            let lost = i64::from(golden) - i64::from(fixed);
            *row += lost;
            *column += lost;
            squares += lost * lost;
        }
    }
    let (seeds_real, samples_real) = (seeds as f64, samples as f64);
    let seen = seeds_real * samples_real;
    let total: i64 = rows.iter().sum();
    let of_mean = (total * total) as f64 / seen;
    let sum = |sums: &[i64]| sums.iter().map(|sum| (sum * sum) as f64).sum::<f64>();
    let between_seeds = sum(&rows) / samples_real - of_mean;
    let between_samples = sum(&columns) / seeds_real - of_mean;
    let rest = squares as f64 - of_mean - between_seeds - between_samples;
    let (free_seeds, free_samples) = (seeds_real - 1.0, samples_real - 1.0);
    // Means of rows have n in their denominators, means of columns S.
    let variance = between_seeds / samples_real / free_seeds / seeds_real
        + between_samples / seeds_real / free_samples / samples_real
        - rest / (free_seeds * free_samples) / seen;
    let half = level.t(seeds as u64 - 1) * variance.max(0.0).sqrt();
    let unseen = if squares == 0 { level.z() / samples_real } else { 0.0 };
    Some(half.max(unseen).max(on_this_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Networks with these losses: golden alone right, both right, or fixed point alone.
    fn networks(table: &[&[i8]]) -> (Vec<Right>, Vec<Right>) {
        let rows = |right: fn(i8) -> bool| {
            let row = |row: &&[i8]| row.iter().map(|&lost| right(lost)).collect::<Right>();
            table.iter().map(row).collect::<Vec<_>>()
        };
        (rows(|lost| lost >= 0), rows(|lost| lost <= 0))
    }

    fn half(table: &[&[i8]], on_this_part: f64) -> Option<f64> {
        let (golden, fixed) = networks(table);
        let golden: Vec<&Right> = golden.iter().collect();
        let fixed: Vec<&Right> = fixed.iter().collect();
        new_samples(&golden, &fixed, on_this_part, Level::Once)
    }

    #[test]
    fn a_small_table_has_the_width_worked_out_by_hand() {
        // Rows 2/3 and 1/3: s² = 1/18. Columns 1, 1/2, 0: s² = 1/4. Rest: residuals of 1/6, 2/6 and
        // 1/6, twice, with signs: 12/36 over (2 − 1)(3 − 1), 1/6.
        let table: [&[i8]; 2] = [&[1, 1, 0], &[1, 0, 0]];
        let variance = 1.0 / 36.0 + 1.0 / 12.0 - 1.0 / 36.0_f64;
        let found = half(&table, 0.0).unwrap();
        assert!((found - Level::Once.t(1) * variance.sqrt()).abs() < 1e-12, "{found}");
    }

    #[test]
    fn it_is_never_below_the_interval_on_this_part() {
        let table: [&[i8]; 2] = [&[1, -1, 0, 1], &[1, 1, 0, -1]];
        assert_eq!(half(&table, 100.0), Some(100.0));
        // Rows that are equal, and columns that are: what is left over is less than nothing.
        let table: [&[i8]; 2] = [&[1, -1], &[-1, 1]];
        assert_eq!(half(&table, 0.25), Some(0.25));
    }

    #[test]
    fn samples_without_a_difference_leave_open_what_they_cannot_show() {
        let same: [&[i8]; 3] = [&[0; 8]; 3];
        assert!((half(&same, 0.01).unwrap() - 1.96 / 8.0).abs() < 1e-5);
        assert_eq!(half(&same, 0.5), Some(0.5));
    }

    #[test]
    fn one_seed_or_one_sample_has_none() {
        assert_eq!(half(&[&[1, 0, 0]], 0.1), None);
        assert_eq!(half(&[&[1], &[0]], 0.1), None);
        assert_eq!(half(&[], 0.1), None);
    }
}
