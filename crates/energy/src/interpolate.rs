//! Between the points of a table, on doubly logarithmic paper.

/// `y` at `x` on the line through two points on doubly logarithmic paper; beyond them, that of the
/// nearer point.
///
/// Bisects by geometric means, which need only a product and a root: unlike `ln` and `exp`, these
/// give the same bits on every machine, and the result is monotone in `x`.
pub(crate) fn log_interpolate(x: f64, mut low: (f64, f64), mut high: (f64, f64)) -> f64 {
    for _ in 0..f64::MANTISSA_DIGITS {
        if x <= low.0 {
            return low.1;
        }
        if x >= high.0 {
            return high.1;
        }
        let middle = ((low.0 * high.0).sqrt(), (low.1 * high.1).sqrt());
        if x < middle.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    low.1
}

/// `y` at `x` beyond `high` on the line through two points on doubly logarithmic paper.
///
/// It goes on in steps as wide as that between the points, and [interpolates](log_interpolate) in the last.
pub(crate) fn log_extrapolate(x: f64, low: (f64, f64), high: (f64, f64)) -> f64 {
    let step = (high.0 / low.0, high.1 / low.1);
    let (mut before, mut after) = (low, high);
    while after.0 < x {
        (before, after) = (after, (after.0 * step.0, after.1 * step.1));
    }
    log_interpolate(x, before, after)
}

/// `y` at `x` on the polygon through `points`, whose `x` ascend; clamped to its ends.
///
/// # Panics
///
/// If there are no points.
pub(crate) fn log_polygon(x: f64, points: &[(f64, f64)]) -> f64 {
    let upper = points.partition_point(|point| point.0 < x).min(points.len() - 1);
    log_interpolate(x, points[upper.saturating_sub(1)], points[upper])
}

/// The indices of the nodes next below and above `x`; the same twice where `x` is a node.
///
/// # Panics
///
/// If `x` lies outside the nodes.
pub(crate) fn enclosing<T: Copy + PartialOrd + std::fmt::Display>(
    nodes: &[T],
    x: T,
) -> (usize, usize) {
    let (first, last) = (nodes[0], nodes[nodes.len() - 1]);
    assert!((first..=last).contains(&x), "{x} lies outside {first}..={last}");
    let upper = nodes.partition_point(|&node| node < x);
    (if nodes[upper] == x { upper } else { upper - 1 }, upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_meet_their_points_are_linear_in_logarithms_and_end_level() {
        let points = [(8.0, 2.0), (32.0, 4.0), (1024.0, 0.5)];
        for (x, y) in points {
            assert_eq!(log_polygon(x, &points), y);
        }
        let halfway = 8_f64.sqrt();
        let two_fifths = 4.0 * 0.125_f64.powf(0.4);
        for (x, y) in [(1.0, 2.0), (16.0, halfway), (128.0, two_fifths), (4096.0, 0.5)] {
            assert!((log_polygon(x, &points) / y - 1.0).abs() < 1e-12, "{x}");
        }
        assert_eq!(log_polygon(3.0, &points[..1]), 2.0);
    }
}
