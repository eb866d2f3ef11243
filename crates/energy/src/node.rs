//! From 45 nm to other nodes: what logic costs there, by measured operations below and by published
//! equations above.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::figure::{Certainty, Figure};
use super::figures::FloatFormat;
use super::interpolate::{log_interpolate, log_polygon};

/// The node that figures are scaled from.
pub(crate) const BASE_NM: f64 = 45.0;
/// The smallest node.
pub(crate) const NODE_MIN_NM: f64 = 7.0;
/// The largest node.
pub(crate) const NODE_MAX_NM: f64 = 130.0;

/// One operation at both nodes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AtBothNodes {
    at_45: Figure,
    at_7: Figure,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operations {
    multiply: AtBothNodes,
    add: AtBothNodes,
}

/// `models/energy/tpuv4i_7.json`: what the same operations cost at 45 and at 7 nm (Jouppi et al.,
/// ISCA 2021, Table 2).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tpuv4i {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) clock: Figure,
    int8: Operations,
    int32: Operations,
    float32: Operations,
    bfloat16: Operations,
    float16: Operations,
    /// By bytes.
    cache: BTreeMap<u64, AtBothNodes>,
    unlisted: Figure,
}

/// `models/energy/node_scaling.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "every key is required, some are for the reader alone")]
struct Equations {
    name: String,
    what: String,
    area: Factors,
    energy: Factors,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Factors {
    source: String,
    certainty: Certainty,
    node_nm: Vec<f64>,
    factor: Vec<f64>,
}

impl Factors {
    fn at(&self, node_nm: f64) -> f64 {
        let points: Vec<_> =
            self.node_nm.iter().copied().zip(self.factor.iter().copied()).collect();
        log_polygon(node_nm, &points)
    }
}

impl AtBothNodes {
    fn factor(&self) -> f64 {
        self.at_7.value / self.at_45.value
    }
}

/// The embedded operations.
pub(crate) fn tpuv4i() -> &'static Tpuv4i {
    static MEASURED: LazyLock<Tpuv4i> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../../models/energy/tpuv4i_7.json"))
            .expect("the embedded operations are valid")
    });
    &MEASURED
}

fn equations() -> &'static Equations {
    static EQUATIONS: LazyLock<Equations> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../../models/energy/node_scaling.json"))
            .expect("the embedded factors are valid")
    });
    &EQUATIONS
}

/// Whether an operation multiplies or adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CircuitOperation {
    Multiply,
    Add,
}

/// What a circuit at a node takes over the same at 45 nm.
///
/// # Below 45 nm
///
/// Operations that were published at 45 and at 7 nm (Jouppi et al., "Ten Lessons From Three
/// Generations Shaped Google's TPUv4i", ISCA 2021, Table 2) are met at 7 nm. The factor of an
/// integer operation of other width lies between those of 8 and of 32 bits, linear in the logarithm
/// of the (geometric mean) width, and is that of the nearer beyond them. All else has the geometric
/// mean of the published factors, 0.348. Between 7 and 45 nm the logarithm of a factor is linear in
/// that of the node.
///
/// The equations of Stillmaker & Baas (Integration 58, 2017) are never used for energy here: they
/// give a factor of 14.6 from 45 nm at 0.9 V to 7 nm, where the published operations save 2.1 to
/// 4.3.
///
/// # Above 45 nm
///
/// These equations at nominal supplies, high-performance transistors: 1.95 at 65 nm, 3.73 at 90,
/// 7.32 at 130, for every circuit.
///
/// # Areas
///
/// Stillmaker & Baas at every node: 0.059 at 7 nm. Leakage per area is kept, which is an assumption.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scaling {
    node_nm: f64,
}

impl Scaling {
    /// From 45 nm to `node_nm`, 7 to 130.
    pub(crate) fn to(node_nm: f64) -> Self {
        assert!((NODE_MIN_NM..=NODE_MAX_NM).contains(&node_nm), "{node_nm} nm");
        Self { node_nm }
    }

    /// No scaling.
    pub(crate) fn none() -> Self {
        Self::to(BASE_NM)
    }

    /// Energy of a circuit that takes `at_7` times as much at 7 nm.
    fn energy(self, at_7: f64) -> f64 {
        if self.node_nm < BASE_NM {
            log_interpolate(self.node_nm, (NODE_MIN_NM, at_7), (BASE_NM, 1.0))
        } else {
            equations().energy.at(self.node_nm)
        }
    }

    /// Energy of an integer operation on `bits_a` and `bits_b`.
    pub(crate) fn integer(self, operation: CircuitOperation, bits_a: u32, bits_b: u32) -> f64 {
        let measured = tpuv4i();
        let factor = |operations: &Operations| operations.of(operation).factor();
        let width = (f64::from(bits_a) * f64::from(bits_b)).sqrt();
        let points = [(8.0, factor(&measured.int8)), (32.0, factor(&measured.int32))];
        self.energy(log_polygon(width, &points))
    }

    /// Energy of a floating-point operation.
    pub(crate) fn float(self, operation: CircuitOperation, format: FloatFormat) -> f64 {
        let measured = tpuv4i();
        let operations = match format {
            FloatFormat::Float32 => &measured.float32,
            FloatFormat::Bfloat16 => &measured.bfloat16,
            FloatFormat::Float16 => &measured.float16,
        };
        self.energy(operations.of(operation).factor())
    }

    /// Energy of every other circuit.
    pub(crate) fn other(self) -> f64 {
        self.energy(tpuv4i().unlisted.value)
    }

    /// Area.
    pub(crate) fn area(self) -> f64 {
        equations().area.at(self.node_nm)
    }

    /// How sure a scaled energy can be, and whence its factor.
    pub(crate) fn energy_origin(self) -> (Certainty, &'static str) {
        if self.node_nm < BASE_NM {
            let figure = &tpuv4i().int8.multiply.at_7;
            (figure.certainty.max(Certainty::Derived), &figure.source)
        } else {
            (equations().energy.certainty, &equations().energy.source)
        }
    }
}

/// Energy of an access to a memory of `bytes` bytes at 7 nm over that at 45 nm, from caches of
/// 8 KB, 32 KB and 1 MB that were published at both: 0.75, 0.425, 0.14. Between them the logarithm
/// is linear in that of the size; beyond them it is that of the nearer.
pub(crate) fn sram_from_45_to_7(bytes: u64) -> f64 {
    let points: Vec<_> =
        tpuv4i().cache.iter().map(|(&bytes, cache)| (bytes as f64, cache.factor())).collect();
    log_polygon(bytes as f64, &points)
}

impl Operations {
    fn of(&self, operation: CircuitOperation) -> &AtBothNodes {
        match operation {
            CircuitOperation::Multiply => &self.multiply,
            CircuitOperation::Add => &self.add,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found / expected - 1.0).abs() <= relative, "{found} differs from {expected}");
    }

    /// int8, int32, float16 and float32, each multiply and add.
    #[test]
    fn unlisted_circuits_have_the_geometric_mean_of_the_published_factors() {
        let seven = Scaling::to(7.0);
        let mut product = 1.0;
        for operation in [CircuitOperation::Multiply, CircuitOperation::Add] {
            for bits in [8, 32] {
                product *= seven.integer(operation, bits, bits);
            }
            for format in [FloatFormat::Float16, FloatFormat::Float32] {
                let factor = seven.float(operation, format);
                assert!((1.0 / 4.3..=1.0 / 2.1).contains(&factor), "{operation:?} {format}");
                product *= factor;
            }
        }
        close(seven.other(), product.powf(0.125), 2e-3);
    }

    #[test]
    fn a_factor_is_one_at_45_nm_and_falls_with_the_node() {
        let factors = |scaling: Scaling| {
            let mut factors = vec![scaling.other(), scaling.area()];
            for operation in [CircuitOperation::Multiply, CircuitOperation::Add] {
                factors.extend([4, 8, 13, 32].map(|bits| scaling.integer(operation, bits, 16)));
                factors.extend(FloatFormat::ALL.map(|format| scaling.float(operation, format)));
            }
            factors
        };
        assert!(factors(Scaling::none()).iter().all(|&factor| factor == 1.0));
        let nodes: Vec<_> = (7..=130).map(f64::from).collect();
        for pair in nodes.windows(2) {
            let (smaller, larger) = (factors(Scaling::to(pair[0])), factors(Scaling::to(pair[1])));
            let falls = smaller.iter().zip(&larger).all(|(small, large)| small < large);
            assert!(falls, "{pair:?}: {smaller:?} {larger:?}");
        }
    }

    /// Halfway from 7 to 45 nm by logarithm, a factor is the root of that at 7 nm.
    #[test]
    fn between_nodes_and_widths_logarithms_are_linear() {
        let half = Scaling::to((7.0_f64 * 45.0).sqrt());
        close(half.other(), 0.348_f64.sqrt(), 1e-12);
        close(half.integer(CircuitOperation::Multiply, 8, 8), (0.07_f64 / 0.2).sqrt(), 1e-12);
        let seven = Scaling::to(7.0);
        let middle = (0.35_f64 * (1.48 / 3.1)).sqrt();
        close(seven.integer(CircuitOperation::Multiply, 16, 16), middle, 1e-12);
        close(seven.integer(CircuitOperation::Multiply, 8, 32), middle, 1e-12);
        close(seven.integer(CircuitOperation::Multiply, 2, 2), 0.35, 1e-12);
        close(seven.integer(CircuitOperation::Add, 64, 64), 0.3, 1e-12);
    }

    /// Stillmaker & Baas, Integration 58 (2017): the area table, and the polynomials
    /// a₂·V² + a₁·V + a₀ at nominal supplies.
    #[test]
    fn areas_and_older_nodes_follow_the_published_equations() {
        close(Scaling::to(7.0).area(), 0.059, 1e-12);
        let energy = |[square, linear, constant]: [f64; 3], volts: f64| {
            (square * volts + linear) * volts + constant
        };
        let base = energy([1.018, -0.3107, 0.1539], 1.0);
        for (node, polynomial, volts, area) in [
            (65.0, [3.755, -4.398, 1.975], 1.1, 1.5),
            (90.0, [4.762, -4.781, 2.092], 1.2, 2.8),
            (130.0, [7.171, -6.709, 2.904], 1.3, 6.4),
        ] {
            let scaling = Scaling::to(node);
            close(scaling.other(), energy(polynomial, volts) / base, 1e-4);
            close(scaling.integer(CircuitOperation::Add, 8, 8), scaling.other(), 1e-12);
            close(scaling.area(), area, 1e-12);
        }
    }

    #[test]
    fn memories_save_more_the_larger_they_are() {
        for (bytes, factor) in
            [(1024, 0.75), (8192, 0.75), (32_768, 0.425), (1 << 20, 0.14), (1 << 21, 0.14)]
        {
            close(sram_from_45_to_7(bytes), factor, 1e-12);
        }
        close(sram_from_45_to_7(16_384), (0.75_f64 * 0.425).sqrt(), 1e-12);
    }
}
