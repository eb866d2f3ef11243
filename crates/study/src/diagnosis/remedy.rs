//! Changes of format that should help.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};
use systoliq_fxp::Scale;
use systoliq_program::plan::SPARE_DEFAULT;
use systoliq_program::spec::{PrecisionSpec, ScaleKind, TensorSettings};
use systoliq_program::{Command, EntryName, Pass, Role, TensorPlan, Work};

use super::{Cause, Symptom, fitting_frac, is_cut, maker};
use systoliq_run::Prepared;
use systoliq_run::trainer::Record;

/// A setting to change.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingChange {
    /// Its path in the experiment.
    pub path: String,
    /// Its new value.
    pub value: Value,
}

/// As `--set` takes it.
impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::String(text) => write!(f, "{}={text}", self.path),
            value => write!(f, "{}={value}", self.path),
        }
    }
}

impl SettingChange {
    fn new(path: String, value: impl Into<Value>) -> Self {
        Self { path, value: value.into() }
    }

    /// Puts the value into an experiment; objects that are missing are made.
    pub(super) fn put(&self, experiment: &mut Value) {
        let mut at = experiment;
        for key in self.path.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[key];
        }
        *at = self.value.clone();
    }
}

/// Signal over noise that a wider format should have.
const SQNR_WANTED_DB: f64 = 26.0;

/// A format narrower than this is made wider, rather than to lose bits at its other end.
const BITS_ENOUGH: u32 = 8;

/// A master that is too narrow is given at least so many bits.
const MASTER_BITS: u32 = 16;

/// Finds remedies.
pub(super) struct Remedies<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) record: &'a Record,
}

impl Remedies<'_> {
    /// Sets of changes for symptoms of one cause and role, the most promising first.
    pub(super) fn of(&self, group: &[Symptom<'_>]) -> Vec<Vec<SettingChange>> {
        let role = group[0].decl.role;
        match group[0].cause {
            Cause::AccumulatorOverflow => vec![self.wider_accumulators(group)],
            Cause::CoarseSums => vec![self.finer_accumulators(group)],
            Cause::StalledUpdates => {
                let role = if role == Role::Bias { Role::Master } else { role };
                let wider = |plan: &TensorPlan| MASTER_BITS.max(plan.format.bits() + 4);
                vec![
                    self.each(group, role, |path, _, _| {
                        vec![SettingChange::new(format!("{path}.rounding"), "stochastic")]
                    }),
                    self.each(group, role, |path, symptom, stated| {
                        let plan = &symptom.decl.plan;
                        widened(path, plan, stated, wider(plan) - plan.format.bits())
                    }),
                ]
            }
            Cause::Range => {
                // Unless it states its own, a master has the range of the weights.
                let own = |entry| stated(&self.prepared.experiment.precision, role, entry);
                let owned = own(group[0].decl.entry)
                    .is_some_and(|own| own.frac.is_some() || own.scale.is_some());
                let trained = matches!(role, Role::Master | Role::Bias);
                let role = if trained && !owned { Role::Weights } else { role };
                vec![self.each(group, role, |path, symptom, stated| {
                    self.roomier(path, symptom, role, stated)
                })]
            }
            Cause::Resolution => {
                vec![
                    self.each(group, role, |path, symptom, stated| {
                        self.finer(path, symptom, stated)
                    }),
                ]
            }
        }
    }

    /// The changes for each symptom, at the path of `role` in its layer; at the path of all layers
    /// where all are concerned, none has settings of its own, and one change suits the worst.
    fn each(
        &self,
        group: &[Symptom<'_>],
        role: Role,
        changes: impl Fn(&str, &Symptom<'_>, Option<&TensorSettings>) -> Vec<SettingChange>,
    ) -> Vec<SettingChange> {
        let spec = &self.prepared.experiment.precision;
        let sick: BTreeSet<_> = group.iter().map(|symptom| symptom.decl.entry).collect();
        let own = group[0].decl.role;
        let tensors = self.prepared.program.tensors.iter();
        let all: BTreeSet<_> = tensors.filter(|d| d.role == own).map(|decl| decl.entry).collect();
        let special =
            |&entry: &EntryName| spec.of(entry).is_some_and(|spec| select(spec, role).is_some());
        if sick == all && !all.iter().any(special) {
            let path = format!("precision.{}", role.name());
            return changes(&path, &group[0], select(spec, role));
        }
        let mut set = Vec::new();
        for symptom in group {
            let path = format!("{}.{}", section(symptom.decl.entry), role.name());
            let special = spec.of(symptom.decl.entry).and_then(|spec| select(spec, role));
            for change in changes(&path, symptom, special) {
                if !set.iter().any(|known: &SettingChange| known.path == change.path) {
                    set.push(change);
                }
            }
        }
        set
    }

    /// More integer bits, as many as twice golden's largest value needs; a sign, where golden's are
    /// negative and the format has none.
    fn roomier(
        &self,
        path: &str,
        symptom: &Symptom<'_>,
        role: Role,
        stated: Option<&TensorSettings>,
    ) -> Vec<SettingChange> {
        let plan = &symptom.decl.plan;
        let fit = fitting_frac(self.record, symptom.decl).unwrap_or(plan.format.frac());
        if is_cut(self.record, symptom.decl) {
            return given_a_sign(path, plan, stated, plan.format.frac().min(fit));
        }
        if plan.scale != Scale::Static {
            return vec![SettingChange::new(format!("{path}.scale"), "dynamic")];
        }
        let more = (plan.format.frac() - fit).max(1);
        if role == Role::Weights && is_initial(role, stated) {
            let general = self.prepared.experiment.precision.weights.as_ref();
            let spare = |settings: &TensorSettings| settings.spare;
            let spare = stated.and_then(spare).or_else(|| general.and_then(|w| spare(&w.0)));
            let spare = spare.unwrap_or(SPARE_DEFAULT) + more.unsigned_abs();
            let mut set = vec![SettingChange::new(format!("{path}.spare"), spare)];
            let weights = self.prepared.program.find(Role::Weights, symptom.decl.entry);
            let bits = weights.map(|id| self.prepared.program.tensor(id).plan.format.bits());
            if let Some(bits) = bits.filter(|&bits| bits < BITS_ENOUGH) {
                set.push(SettingChange::new(format!("{path}.bits"), bits + more.unsigned_abs()));
            }
            return set;
        }
        let (bits, frac) = (plan.format.bits(), plan.format.frac());
        if bits >= BITS_ENOUGH {
            reformatted(path, plan, stated, (plan.format.is_signed(), bits, frac - more))
        } else {
            let format = (plan.format.is_signed(), bits + more.unsigned_abs(), frac);
            reformatted(path, plan, stated, format)
        }
    }

    /// More fraction bits: as many as the range has to spare, or else a wider format.
    fn finer(
        &self,
        path: &str,
        symptom: &Symptom<'_>,
        stated: Option<&TensorSettings>,
    ) -> Vec<SettingChange> {
        let plan = &symptom.decl.plan;
        let fixed = plan.scale == Scale::Static && !is_initial(symptom.decl.role, stated);
        let fit = fitting_frac(self.record, symptom.decl).filter(|_| fixed);
        if let Some(fit) = fit.filter(|&fit| fit > plan.format.frac()) {
            let format = (plan.format.is_signed(), plan.format.bits(), fit);
            return reformatted(path, plan, stated, format);
        }
        widened(path, plan, stated, bits_short(symptom))
    }

    /// Accumulators that hold any sum of the commands concerned.
    fn wider_accumulators(&self, group: &[Symptom<'_>]) -> Vec<SettingChange> {
        let Prepared { experiment, program, .. } = self.prepared;
        let batch = experiment.training.batch;
        let bits = |place: &SummingPlace| {
            let writes = program.all_writes();
            let of_entry = writes.filter(|(.., command)| place.has(command));
            let needed = of_entry.filter_map(|(at, _, command)| {
                let gemm = command.operation.product()?;
                let Work::Gemm(shape) = program.work(at, batch) else { return None };
                let widths = [gemm.a, gemm.b]
                    .map(|operand| program.tensor(operand.tensor).plan.format.bits());
                let product = widths.iter().sum::<u32>();
                Some(product + usize::BITS - shape.k.leading_zeros() + 1)
            });
            needed.max().unwrap_or(64).min(64)
        };
        let change = |path: &str, place: &SummingPlace| {
            vec![SettingChange::new(format!("{path}.bits"), bits(place))]
        };
        self.of_accumulators(group, change)
    }

    /// Accumulators of more low bits and the same range.
    fn finer_accumulators(&self, group: &[Symptom<'_>]) -> Vec<SettingChange> {
        self.of_accumulators(group, |path, place| {
            let made = |symptom: &Symptom<'_>| maker(self.prepared, symptom.id);
            let here =
                |symptom: &&Symptom<'_>| made(symptom).is_some_and(|command| place.has(command));
            let worst = group.iter().find(here).unwrap_or(&group[0]);
            let gemm = made(worst).and_then(|command| command.operation.product());
            let Some(accumulator) = gemm.map(|gemm| gemm.accumulator) else { return Vec::new() };
            let wider = (accumulator.bits() + bits_short(worst)).min(64);
            let more = (wider - accumulator.bits()) as i32;
            let lowest = match (accumulator.frac(), accumulator.dropped()) {
                (Some(frac), _) => SettingChange::new(format!("{path}.frac"), frac + more),
                (None, drop) => {
                    let kept = drop.unwrap_or(0).saturating_sub(more as u32);
                    SettingChange::new(format!("{path}.drop"), kept)
                }
            };
            vec![SettingChange::new(format!("{path}.bits"), wider), lowest]
        })
    }

    /// The changes of accumulators, at the path of all layers, or of each concerned where one of these
    /// has settings of its own; and of the pass alone where settings are stated for it.
    fn of_accumulators(
        &self,
        group: &[Symptom<'_>],
        change: impl Fn(&str, &SummingPlace) -> Vec<SettingChange>,
    ) -> Vec<SettingChange> {
        let spec = &self.prepared.experiment.precision;
        let commands = group.iter().filter_map(|symptom| maker(self.prepared, symptom.id));
        let concerned: BTreeSet<_> =
            commands.map(|command| (command.entry, command.pass)).collect();
        let own = |entry: EntryName| spec.of(entry).and_then(|spec| spec.accumulator.as_ref());
        let each = concerned.iter().any(|&(entry, _)| own(entry).is_some());
        let places: BTreeSet<SummingPlace> = concerned
            .into_iter()
            .map(|(entry, pass)| {
                let levels = [own(entry), spec.accumulator.as_ref()];
                let alone = levels.into_iter().flatten().any(|stated| stated.of(pass).is_some());
                SummingPlace { entry: each.then_some(entry), pass: alone.then_some(pass) }
            })
            .collect();
        places.iter().flat_map(|place| change(&place.path(), place)).collect()
    }
}

/// Where accumulators are stated: of one layer or of all, of one pass or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SummingPlace {
    entry: Option<EntryName>,
    pass: Option<Pass>,
}

impl SummingPlace {
    /// Whether the accumulators of a command are stated here.
    fn has(&self, command: &Command) -> bool {
        self.entry.is_none_or(|entry| command.entry == entry)
            && self.pass.is_none_or(|pass| command.pass == pass)
    }

    fn path(&self) -> String {
        let section = self.entry.map_or_else(|| "precision".to_owned(), section);
        let pass = self.pass.map_or_else(String::new, |pass| format!(".{pass}"));
        format!("{section}.accumulator{pass}")
    }
}

/// Where the settings of an entry stand.
fn section(entry: EntryName) -> String {
    match entry {
        EntryName::Number(number) => format!("precision.layers.{number}"),
        EntryName::Place(_) => "precision".into(),
    }
}

/// The settings of a role in a `precision` section.
fn select(spec: &PrecisionSpec, role: Role) -> Option<&TensorSettings> {
    let written = match role {
        Role::Input => &spec.input,
        Role::Weights => &spec.weights,
        Role::Master => &spec.master,
        Role::Bias => &spec.bias,
        Role::Activations => &spec.activations,
        Role::Logits => &spec.logits,
        Role::Targets => &spec.targets,
        Role::Error => &spec.error,
        Role::Gradients => &spec.gradients,
        Role::WeightGradients => &spec.weight_gradients,
        Role::Momentum => &spec.momentum,
        Role::Residual => &spec.residual,
        // Codes move into them, and nothing is stated of them.
        Role::Winners => return None,
    };
    written.as_ref().map(|written| &written.0)
}

/// What is stated of a role in an entry, or else in all.
fn stated(spec: &PrecisionSpec, role: Role, entry: EntryName) -> Option<&TensorSettings> {
    let special = spec.of(entry).and_then(|spec| select(spec, role));
    special.or_else(|| select(spec, role))
}

/// Whether a static format follows from the initial weights.
fn is_initial(role: Role, stated: Option<&TensorSettings>) -> bool {
    let trained = matches!(role, Role::Weights | Role::Master | Role::Bias);
    let kind = stated.and_then(|stated| stated.scale);
    trained
        && stated.is_none_or(|stated| stated.frac.is_none())
        && kind.is_none_or(|kind| kind == ScaleKind::Initial)
}

/// A format of more bits and the same range.
fn widened(
    path: &str,
    plan: &TensorPlan,
    stated: Option<&TensorSettings>,
    more: u32,
) -> Vec<SettingChange> {
    let bits = (plan.format.bits() + more).min(32);
    let frac = plan.format.frac() + (bits - plan.format.bits()) as i32;
    if plan.scale == Scale::Static && stated.is_some_and(|stated| stated.frac.is_some()) {
        reformatted(path, plan, stated, (plan.format.is_signed(), bits, frac))
    } else {
        vec![SettingChange::new(format!("{path}.bits"), bits)]
    }
}

/// A signed format of the same top, or of that which `frac` fraction bits without a sign have: at the
/// same width from so many bits on, else wider.
fn given_a_sign(
    path: &str,
    plan: &TensorPlan,
    stated: Option<&TensorSettings>,
    frac: i32,
) -> Vec<SettingChange> {
    if plan.scale != Scale::Static {
        return vec![SettingChange::new(format!("{path}.signed"), true)];
    }
    let bits = plan.format.bits();
    let format = if bits >= BITS_ENOUGH { (true, bits, frac - 1) } else { (true, bits + 1, frac) };
    reformatted(path, plan, stated, format)
}

/// Bits that a format or an accumulator lacks.
fn bits_short(symptom: &Symptom<'_>) -> u32 {
    let short = SQNR_WANTED_DB + 10.0 * libm::log10(symptom.severity);
    libm::ceil(short / 6.02).clamp(2.0, 8.0) as u32
}

/// A static format, signed or not, of so many bits, so many of them fraction.
fn reformatted(
    path: &str,
    plan: &TensorPlan,
    stated: Option<&TensorSettings>,
    (signed, bits, frac): (bool, u32, i32),
) -> Vec<SettingChange> {
    // What may have been written in Q notation has no keys to set.
    let whole = |stated: &TensorSettings| {
        let format = stated.bits.is_some() && stated.frac.is_some() && stated.signed.is_some();
        format && stated.rounding.is_none() && stated.overflow.is_none()
    };
    if stated.is_some_and(whole) {
        let sign = if signed { "" } else { "U" };
        let notation = format!("{sign}Q{}.{frac}", bits as i32 - frac);
        return vec![SettingChange::new(path.to_owned(), json!(notation))];
    }
    let mut set = Vec::new();
    if bits != plan.format.bits() {
        set.push(SettingChange::new(format!("{path}.bits"), bits));
    }
    set.push(SettingChange::new(format!("{path}.frac"), frac));
    let unsaid = !signed && stated.is_none_or(|stated| stated.signed.is_none());
    if signed != plan.format.is_signed() || unsaid {
        set.push(SettingChange::new(format!("{path}.signed"), signed));
    }
    set
}
