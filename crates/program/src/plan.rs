//! The precision plan: format, scale, rounding and overflow of every role in every layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZero;

use systoliq_fxp::scale::{Share, initial_frac};
use systoliq_fxp::{Accumulator, Conversion, Format, Overflow, Rounding, Scale, SoftmaxFormat};
use systoliq_keyed_random::Key;
use systoliq_nn::{EntryName, Graph, Loss, Operator, ValueId};

use crate::Error;
use crate::command::Pass;
use crate::role::{Role, RoleRules};
use crate::spec::{PrecisionSpec, ScaleKind, TensorSettings};

mod accumulators;

pub use accumulators::AccumulatorPart;
use accumulators::LayerAccumulators;

/// How many times the range of weights may double, unless stated.
pub const SPARE_DEFAULT: u32 = 2;

/// Steps that a history scale remembers, unless stated.
pub const WINDOW_DEFAULT: u32 = 16;

/// Elements of a block, unless stated.
pub const BLOCK_DEFAULT: u32 = 32;

/// Format, scale, rounding and overflow of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorPlan {
    /// The format; of a scale that follows the range, `frac` is not used, of an overflow rate it is the
    /// first.
    pub format: Format,
    /// How the number of fraction bits is found.
    pub scale: Scale,
    /// How bits are dropped.
    pub rounding: Rounding,
    /// What happens outside the range.
    pub overflow: Overflow,
}

impl TensorPlan {
    /// Elements of a block, where each has a scale of its own.
    pub fn block(&self) -> Option<NonZero<u32>> {
        match self.scale {
            Scale::Block { size } => NonZero::new(size),
            _ => None,
        }
    }

    /// The conversion of integers without fraction bits into the stated format, with random words of a
    /// key, and with sums of squares if told.
    pub fn conversion(&self, key: Key, squares: bool) -> Conversion {
        let Self { format: to, rounding, overflow, .. } = *self;
        Conversion { from_frac: 0, scale: 1, to, rounding, overflow, key, squares }
    }

    /// The format in Q notation, or only the width where the scale moves.
    pub fn format_name(&self) -> String {
        let sign = if self.format.is_signed() { "" } else { "U" };
        match self.scale {
            Scale::Static => self.format.to_string(),
            Scale::Dynamic => format!("{sign}Q{} dynamic", self.format.bits()),
            Scale::History { window } => {
                format!("{sign}Q{} history of {window}", self.format.bits())
            }
            Scale::OverflowRate { limit, every_batches } => {
                let (bits, rate) = (self.format.bits(), limit.to_f64());
                format!("{sign}Q{bits} overflow-rate {rate} of {every_batches}")
            }
            Scale::Block { size } => format!("{sign}Q{} block of {size}", self.format.bits()),
        }
    }
}

impl fmt::Display for TensorPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.format_name(), name(&self.rounding), name(&self.overflow))
    }
}

/// The name that a mode has in JSON.
pub(crate) fn name(mode: &impl fmt::Debug) -> String {
    let mut name = String::new();
    for letter in format!("{mode:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The plan of one layer with weights. Roles that the layer does not have are planned, too, and
/// not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPlan {
    /// Weights as the array reads them.
    pub weights: TensorPlan,
    /// Weights as the update writes them, unless there is a residual.
    pub master: TensorPlan,
    /// What the weights' format cannot hold, if the weights themselves are updated.
    pub residual: Option<TensorPlan>,
    /// Bias.
    pub bias: TensorPlan,
    /// Gradients of weights and bias.
    pub weight_gradients: TensorPlan,
    /// Momentum of weights and of bias.
    pub momentum: TensorPlan,
    /// Mantissa bits of the learning rate.
    pub rate_bits: u32,
    /// What is stated of accumulators.
    accumulators: LayerAccumulators,
}

impl LayerPlan {
    /// The accumulator of a pass's GEMM whose operands have `operand_bits` bits together.
    ///
    /// # Errors
    ///
    /// If its stated width or lowest bit is impossible.
    pub fn accumulator(&self, pass: Pass, operand_bits: u32) -> Result<Accumulator, Error> {
        self.accumulators.accumulator(pass, operand_bits)
    }

    /// What is wrong with something of the accumulator of a pass, where that is stated last.
    pub fn accumulator_problem(&self, pass: Pass, of: AccumulatorPart, problem: String) -> Error {
        self.accumulators.problem(pass, of, problem)
    }
}

/// The plan of a value that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValuePlan {
    /// The value: activations, or logits.
    pub stored: TensorPlan,
    /// Its gradient: that of activations, or the error.
    pub gradient: TensorPlan,
}

/// The plan of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The samples.
    pub input: TensorPlan,
    /// The targets of a regression.
    pub targets: TensorPlan,
    /// Every layer with weights, in the order of their numbers.
    pub layers: Vec<LayerPlan>,
    /// Every value that is stored, but the input.
    pub values: BTreeMap<ValueId, ValuePlan>,
    /// The softmax unit of a classifier.
    pub softmax: SoftmaxFormat,
    /// Roles whose scale a layer with weights states itself.
    scaled_apart: BTreeSet<(EntryName, Role)>,
}

impl Plan {
    /// Fills in what the `precision` section leaves out, for every layer of `graph`.
    ///
    /// # Errors
    ///
    /// If a format is impossible, a setting does not go with its scale, or an override names a
    /// layer that `graph` does not have.
    pub fn resolve(graph: &Graph, spec: &PrecisionSpec) -> Result<Self, Error> {
        let layers = graph.weighted().len();
        if let Some(&layer) = spec.layers.keys().find(|&&layer| layer >= layers) {
            return Err(Error::Layer { layer, layers });
        }
        if let Some((layer, _)) = spec.layers.iter().find(|(_, roles)| !roles.layers.is_empty()) {
            return Err(Error::Role {
                path: format!("precision.layers.{layer}.layers"),
                problem: "overrides of a layer hold roles, not further layers".into(),
            });
        }
        let softmax = softmax(graph, spec)?;
        let of = |name| Resolver::new(graph, spec, name);
        let names = (0..layers).map(EntryName::Number);
        let layers = names.map(|name| of(name).layer()).collect::<Result<_, _>>()?;
        let made = graph.stored().filter(|&value| graph.maker(value).is_some());
        let input = of(graph.name_of(ValueId::INPUT)).role(Role::Input, false, None)?;
        let mut values: BTreeMap<ValueId, ValuePlan> = BTreeMap::new();
        for value in made {
            let own = of(graph.name_of(value)).value(value)?;
            // Where codes move, they have the formats of what they were.
            let plan = match moved_from(graph, value) {
                None => own,
                Some(ValueId::INPUT) => ValuePlan { stored: input, ..own },
                Some(read) => values[&read],
            };
            values.insert(value, plan);
        }
        let scaled_apart = spec.layers.iter().flat_map(|(&layer, own)| {
            let states =
                |role: &Role| (role.rules().stated)(own).is_some_and(|of| states_scale(&of.0));
            Role::ALL.into_iter().filter(states).map(move |role| (EntryName::Number(layer), role))
        });
        Ok(Self {
            scaled_apart: scaled_apart.collect(),
            input,
            targets: of(graph.name_of(graph.output())).role(Role::Targets, true, None)?,
            layers,
            values,
            softmax,
        })
    }

    /// Where the scale that a role has at an entry is stated: in the override of a layer, or for all.
    pub fn path(&self, entry: EntryName, role: Role) -> String {
        match self.scaled_apart.contains(&(entry, role)) {
            true => format!("precision.layers.{entry}.{role}"),
            false => format!("precision.{role}"),
        }
    }
}

/// Whether settings say where codes stand.
fn states_scale(settings: &TensorSettings) -> bool {
    let TensorSettings {
        scale, frac, spare, window, max_overflow_rate, every_batches, block, ..
    } = settings;
    let whole = [spare, window, every_batches, block];
    scale.is_some()
        || frac.is_some()
        || max_overflow_rate.is_some()
        || whole.into_iter().any(Option::is_some)
}

/// Whether settings say how wide codes are.
fn states_width(settings: &TensorSettings) -> bool {
    settings.bits.is_some() || settings.signed.is_some()
}

/// The value whose codes move into this one, if they do.
fn moved_from(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = &graph.nodes[graph.maker(value)?];
    match node.operator {
        Operator::MaxPool(_) => Some(node.reads[0]),
        Operator::Dense(_)
        | Operator::Conv2d(_)
        | Operator::AvgPool(_)
        | Operator::Add
        | Operator::Flatten
        | Operator::Function(_) => None,
    }
}

/// The softmax unit.
fn softmax(graph: &Graph, spec: &PrecisionSpec) -> Result<SoftmaxFormat, Error> {
    let refuse = |path: String, problem: String| Err(Error::Role { path, problem });
    if let Some((layer, _)) = spec.layers.iter().find(|(_, roles)| roles.softmax.is_some()) {
        let problem = "there is one softmax unit; expected it in `precision`";
        return refuse(format!("precision.layers.{layer}.softmax"), problem.into());
    }
    let defaults = SoftmaxFormat::default();
    let Some(stated) = &spec.softmax else { return Ok(defaults) };
    if graph.loss != Loss::SoftmaxCrossEntropy {
        let problem = "a regression has no softmax; expected none with the loss \"mse\"";
        return refuse("precision.softmax".into(), problem.into());
    }
    let format = SoftmaxFormat {
        exponent_frac: stated.exponent_frac.unwrap_or(defaults.exponent_frac),
        entries: stated.entries.unwrap_or(defaults.entries),
        table_frac: stated.table_frac.unwrap_or(defaults.table_frac),
        interpolation: stated.interpolation.unwrap_or(defaults.interpolation),
        probability_frac: stated.probability_frac.unwrap_or(defaults.probability_frac),
    };
    match format.check() {
        Ok(()) => Ok(format),
        Err(error) => refuse("precision.softmax".into(), error.to_string()),
    }
}

/// Resolves the roles of one entry.
struct Resolver<'a> {
    graph: &'a Graph,
    general: &'a PrecisionSpec,
    special: Option<&'a PrecisionSpec>,
    entry: EntryName,
}

impl<'a> Resolver<'a> {
    fn new(graph: &'a Graph, spec: &'a PrecisionSpec, entry: EntryName) -> Self {
        Self { graph, general: spec, special: spec.of(entry), entry }
    }

    /// A value that the entry's operator makes.
    fn value(&self, value: ValueId) -> Result<ValuePlan, Error> {
        if value == self.graph.output() {
            return Ok(ValuePlan {
                stored: self.role(Role::Logits, true, None)?,
                gradient: self.role(Role::Error, true, None)?,
            });
        }
        let signed = !self.graph.is_nonnegative(value);
        Ok(ValuePlan {
            stored: self.role(Role::Activations, signed, None)?,
            gradient: self.role(Role::Gradients, true, None)?,
        })
    }

    /// The entry as a layer with weights. What others of its kind would read is checked, too.
    fn layer(&self) -> Result<LayerPlan, Error> {
        self.role(Role::Input, false, None)?;
        self.role(Role::Targets, true, None)?;
        let weights = self.role(Role::Weights, true, None)?;
        // Unless stated, master and bias have the range of the weights.
        let range = (weights.scale == Scale::Static).then_some(weights.format);
        let master = self.role(Role::Master, true, range)?;
        let residual = self.residual(&weights)?;
        let bias = match residual {
            Some(_) => self.role(Role::Bias, true, range)?,
            None => TensorPlan { rounding: master.rounding, ..self.bias(range)? },
        };
        Ok(LayerPlan {
            weights,
            master,
            residual,
            bias,
            weight_gradients: self.role(Role::WeightGradients, true, None)?,
            momentum: self.role(Role::Momentum, true, None)?,
            rate_bits: self.rate_bits()?,
            accumulators: LayerAccumulators::stated(self.general, self.special, self.entry)?,
        })
    }

    /// The bias but for its rounding, which is the master's.
    fn bias(&self, range: Option<Format>) -> Result<TensorPlan, Error> {
        let stated =
            |spec: &PrecisionSpec| spec.bias.as_ref().is_some_and(|bias| bias.0.rounding.is_some());
        let special = self.special.is_some_and(stated);
        if special || stated(self.general) {
            return Err(Error::Role {
                path: format!("{}bias", self.path(special)),
                problem: "biases are rounded as the master is; expected no \"rounding\"".into(),
            });
        }
        self.role(Role::Bias, true, range)
    }

    /// The residual, if one is stated. Unless stated, its range is an ulp of the weights, to either
    /// side: no rounding leaves more.
    fn residual(&self, weights: &TensorPlan) -> Result<Option<TensorPlan>, Error> {
        let stated = |spec: &PrecisionSpec| spec.residual.is_some();
        let special = self.special.is_some_and(stated);
        if !special && !stated(self.general) {
            return Ok(None);
        }
        let problem = |problem: &str| Error::Role {
            path: format!("{}residual", self.path(special)),
            problem: problem.to_owned(),
        };
        let level = if special { self.special } else { Some(self.general) };
        if level.is_some_and(|spec| spec.master.is_some()) {
            return Err(problem(
                "it takes the place of the master; expected no \"master\" beside it",
            ));
        }
        if weights.scale != Scale::Static {
            return Err(problem(
                "what the update writes keeps its scale; expected weights that are \"static\" or \
                 \"initial\"",
            ));
        }
        let range = Format::new(2, weights.format.frac() + 1, true);
        let range = range.map_err(|error| problem(&error.to_string()))?;
        self.role(Role::Residual, true, Some(range)).map(Some)
    }

    /// How many values each of the entry's weights' outputs sums.
    fn fan_in(&self) -> Result<usize, String> {
        let number = self.entry.number().ok_or_else(|| {
            format!(
                "scale \"initial\": {} has no weights to take the range of; expected another scale",
                self.entry
            )
        })?;
        Ok(self.graph.weighted()[number].weights.fan_in)
    }

    fn path(&self, special: bool) -> String {
        if special { format!("precision.layers.{}.", self.entry) } else { "precision.".into() }
    }

    fn rate_bits(&self) -> Result<u32, Error> {
        let stated = |spec: &PrecisionSpec| spec.rate.as_ref().and_then(|rate| rate.bits);
        let special = self.special.and_then(stated);
        let bits = special.or_else(|| stated(self.general)).unwrap_or(16);
        if (1..=16).contains(&bits) {
            return Ok(bits);
        }
        Err(Error::Role {
            path: format!("{}rate", self.path(special.is_some())),
            problem: format!("a mantissa of {bits} bits: expected 1 to 16"),
        })
    }

    /// Merges override, general plan and defaults; `range` is the format whose range is taken
    /// where no scale is stated.
    fn role(&self, role: Role, signed: bool, range: Option<Format>) -> Result<TensorPlan, Error> {
        let RoleRules { defaults, stated: select, .. } = role.rules();
        let special = self.special.and_then(select).map(|written| &written.0);
        let general = select(self.general).map(|written| &written.0);
        // A problem stands where what it is about was stated last.
        let at = |states: fn(&TensorSettings) -> bool| {
            let path = format!("{}{role}", self.path(special.is_some_and(states)));
            move |problem: String| Error::Role { path: path.clone(), problem }
        };
        let problem = at(states_scale);
        let merged = merge(special, general, defaults.bits);
        let bits = merged.bits.unwrap_or(defaults.bits);
        let kind = merged.scale.unwrap_or(match merged.frac {
            Some(_) => ScaleKind::Static,
            None => defaults.scale,
        });
        // Bits and fraction bits together spell a format, which is signed unless it says otherwise.
        let whole = merged.bits.is_some() && merged.frac.is_some() && kind == ScaleKind::Static;
        let signed = merged.signed.unwrap_or(signed || whole);
        Format::new(bits, 0, signed).map_err(|error| at(states_width)(error.to_string()))?;
        check_companions(&merged, kind).map_err(&problem)?;
        if role == Role::Residual
            && (merged.spare.is_some()
                || merged.scale.is_some_and(|kind| kind != ScaleKind::Static))
        {
            return Err(problem(format!(
                "scale \"{}\": a residual's format follows from that of the weights, or is given; \
                 expected \"static\"",
                name(&kind)
            )));
        }
        if matches!(role, Role::Master | Role::Bias)
            && !matches!(kind, ScaleKind::Static | ScaleKind::Initial)
        {
            return Err(problem(format!(
                "scale \"{}\": what the update writes keeps its scale; expected \"static\" or \
                 \"initial\"",
                name(&kind)
            )));
        }
        if kind == ScaleKind::Block && !role.rules().is_operand {
            return Err(problem(format!(
                "scale \"block\": no matrix product reads {role} along an axis that it sums over; \
                 expected another scale"
            )));
        }
        // A width without a position takes the role's default position relative to its range.
        let default_frac = defaults.frac.map(|frac| frac + bits as i32 - defaults.bits as i32);
        let (frac, scale) = match kind {
            ScaleKind::Static => match merged.frac.or(default_frac) {
                Some(frac) => (frac, Scale::Static),
                None => return Err(problem("a static scale needs \"frac\"".into())),
            },
            ScaleKind::Initial => match range {
                Some(range) if merged.scale.is_none() && merged.spare.is_none() => {
                    (range.frac() + bits as i32 - range.bits() as i32, Scale::Static)
                }
                _ => {
                    let spare = merged.spare.unwrap_or(SPARE_DEFAULT);
                    let fan_in = self.fan_in().map_err(&problem)?;
                    (initial_frac(fan_in, bits, spare), Scale::Static)
                }
            },
            ScaleKind::Dynamic => (0, Scale::Dynamic),
            ScaleKind::History => {
                let window = merged.window.unwrap_or(WINDOW_DEFAULT);
                (0, Scale::History { window })
            }
            ScaleKind::OverflowRate => {
                let frac = merged.frac.or(default_frac).unwrap_or(bits as i32 - 1);
                (frac, overflow_rate(&merged).map_err(&problem)?)
            }
            ScaleKind::Block => (0, Scale::Block { size: merged.block.unwrap_or(BLOCK_DEFAULT) }),
        };
        let any = |settings: &TensorSettings| states_width(settings) || states_scale(settings);
        let format = Format::new(bits, frac, signed).map_err(|error| at(any)(error.to_string()))?;
        Ok(TensorPlan {
            format,
            scale,
            rounding: merged.rounding.unwrap_or(defaults.rounding),
            overflow: merged.overflow.unwrap_or(Overflow::Saturate),
        })
    }
}

/// What the override states, else what the general plan states. An override that states a scale
/// or a fraction does not take the other from the general plan; one that states a width alone
/// keeps the range of a general static format, which has `default_bits` unless it states its own.
fn merge(
    special: Option<&TensorSettings>,
    general: Option<&TensorSettings>,
    default_bits: u32,
) -> TensorSettings {
    let (mut merged, general) = match (special, general) {
        (Some(special), Some(general)) => (special.clone(), general),
        (one, other) => return one.or(other).cloned().unwrap_or_default(),
    };
    if merged.scale.is_none() && merged.frac.is_none() {
        let general_bits = i64::from(general.bits.unwrap_or(default_bits));
        let wider = merged.bits.map_or(0, |bits| i64::from(bits) - general_bits);
        let frac = general.frac.map(|frac| i64::from(frac) + wider);
        // A fraction that no integer holds is outside every format, too.
        merged.frac = frac.map(|frac| i32::try_from(frac).unwrap_or(i32::MAX));
        merged.scale = general.scale;
        merged.spare = merged.spare.or(general.spare);
        merged.window = merged.window.or(general.window);
        merged.max_overflow_rate = merged.max_overflow_rate.or(general.max_overflow_rate);
        merged.every_batches = merged.every_batches.or(general.every_batches);
        merged.block = merged.block.or(general.block);
    }
    merged.bits = merged.bits.or(general.bits);
    merged.signed = merged.signed.or(general.signed);
    merged.rounding = merged.rounding.or(general.rounding);
    merged.overflow = merged.overflow.or(general.overflow);
    merged
}

/// The overflow rate that is stated.
fn overflow_rate(settings: &TensorSettings) -> Result<Scale, String> {
    let (Some(rate), Some(every_batches)) = (settings.max_overflow_rate, settings.every_batches)
    else {
        return Err(
            "the scale \"overflow-rate\" needs \"max_overflow_rate\" and \"every_batches\"".into(),
        );
    };
    if !(1..=1 << 20).contains(&every_batches) {
        return Err(format!("a decision every {every_batches} batches: expected 1 to 1048576"));
    }
    let limit = Share::new(rate).ok_or_else(|| {
        format!("an overflow rate of {rate}: expected more than 0 and less than 1")
    })?;
    Ok(Scale::OverflowRate { limit, every_batches })
}

/// Refuses settings that the scale does not read.
fn check_companions(settings: &TensorSettings, kind: ScaleKind) -> Result<(), String> {
    let scale = name(&kind);
    if settings.frac.is_some() && !matches!(kind, ScaleKind::Static | ScaleKind::OverflowRate) {
        return Err(format!(
            "\"frac\" is given, but the scale is \"{scale}\": expected one of them"
        ));
    }
    if settings.spare.is_some() && kind != ScaleKind::Initial {
        return Err(format!("\"spare\" goes with the scale \"initial\", not \"{scale}\""));
    }
    if settings.window.is_some() && kind != ScaleKind::History {
        return Err(format!("\"window\" goes with the scale \"history\", not \"{scale}\""));
    }
    let controls = settings.max_overflow_rate.is_some() || settings.every_batches.is_some();
    if controls && kind != ScaleKind::OverflowRate {
        return Err(format!(
            "\"max_overflow_rate\" and \"every_batches\" go with the scale \"overflow-rate\", not \
             \"{scale}\""
        ));
    }
    if settings.block.is_some() && kind != ScaleKind::Block {
        return Err(format!("\"block\" goes with the scale \"block\", not \"{scale}\""));
    }
    if let Some(block) = settings.block.filter(|block| !(1..=65_536).contains(block)) {
        return Err(format!("a block of {block} elements: expected 1 to 65536"));
    }
    if let Some(spare) = settings.spare.filter(|&spare| spare > 32) {
        return Err(format!("{spare} bits to spare: expected 0 to 32"));
    }
    match settings.window {
        Some(window) if !(1..=65_536).contains(&window) => {
            Err(format!("a window of {window} steps: expected 1 to 65536"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
