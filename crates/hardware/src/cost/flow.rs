//! In which dataflow the array makes each product.
//!
//! A dataflow that is stated is that of all products. `auto` takes for each command and size of work
//! the one of the fewest cycles, stalls on memory included. All that needs a mapping asks here, so
//! that what is chosen is what is paid for. A fused update takes a gradient in the tiles of its
//! product, whose flow is chosen by the cycles of both.
//!
//! Without a transposer, products meet: a copy that one of them reads was written with the result of
//! another. Copies follow the flows of a full batch, and the stash is laid out with them. Where a
//! step in one flow takes fewer cycles than in the flows of its products, `auto` is that flow. A
//! short batch finds the copies of a full one, and chooses among the flows that they serve. So do
//! flows and what a buffer keeps (`kept.rs`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use systoliq_program::operation::Update;

use super::*;

/// The flows of products.
#[derive(Clone, Debug)]
pub(super) enum Flows {
    /// The same for all.
    All(Stationary),
    /// Each its own: those that were asked for, by command and sizes.
    Each(RefCell<BTreeMap<(WriteId, GemmShape), Choice>>),
}

/// The flow of a product.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) flow: Stationary,
    /// What the product takes, if choosing told.
    pub(super) once: Option<Arc<Cost>>,
}

impl Flows {
    pub(super) fn of(dataflow: Dataflow) -> Self {
        dataflow.stationary().map_or_else(|| Self::Each(RefCell::default()), Self::All)
    }

    /// The same flows where transfers are others: what is kept on chip, and which copies are written,
    /// follows from them.
    pub(super) fn without_costs(&self) -> Self {
        match self {
            Self::Each(known) => {
                let mut known = known.clone();
                known.get_mut().values_mut().for_each(|choice| choice.once = None);
                Self::Each(known)
            }
            Self::All(flow) => Self::All(*flow),
        }
    }
}

impl<'a> Costs<'a> {
    /// How the array runs a matrix product on these sizes.
    pub fn mapping(&self, at: WriteId, shape: GemmShape) -> Mapping {
        self.mapping_as(self.product(at), shape, self.choice(at, shape).flow)
    }

    /// The flow of a product on these sizes.
    pub(super) fn choice(&self, at: WriteId, shape: GemmShape) -> Choice {
        let known = match &self.flows {
            Flows::All(flow) => return Choice { flow: *flow, once: None },
            Flows::Each(known) => known,
        };
        if let Some(choice) = known.borrow().get(&(at, shape)) {
            return choice.clone();
        }
        let choice = self.fewest_cycles(at, shape);
        known.borrow_mut().insert((at, shape), choice.clone());
        choice
    }

    pub(super) fn mapping_as(
        &self,
        gemm: &Product,
        shape: GemmShape,
        stays: Stationary,
    ) -> Mapping {
        let sum_bits = self.sum_widths(gemm, shape.k).total();
        let zeros = shape.structural_zeros(gemm.readings());
        self.accelerator.mapping(shape, sum_bits, stays).with_structural_zeros(zeros)
    }

    /// The same with one flow for all products.
    pub(super) fn all_in(&self, flow: Stationary) -> Self {
        Self { flows: Flows::All(flow), known: KnownCosts::default(), ..self.clone() }
    }

    /// The flows of a full batch, chosen anew with what is kept.
    pub(super) fn chosen_again(&self) -> Flows {
        let anew = Self { flows: Flows::Each(RefCell::default()), ..self.clone() };
        for (at, ..) in anew.program.all_writes() {
            if let Work::Gemm(shape) = anew.program.work(at, anew.batches.size) {
                anew.choice(at, shape);
            }
        }
        anew.flows.without_costs()
    }

    /// The same with the flow for each product, and what is kept while it runs, of that machine of a single
    /// flow in which it takes fewest cycles.
    pub(super) fn each_as_in(&self, in_one: &[Self; 3]) -> Self {
        let (mut flows, mut arriving) = (BTreeMap::new(), Vec::new());
        for (at, write, _) in self.program.all_writes() {
            let mut of = &in_one[0];
            if let Work::Gemm(shape) = self.program.work(at, self.batches.size) {
                let gemm = self.product(at);
                let flow_of = |costs: &&Self| costs.choice(at, shape).flow;
                let served = in_one.iter().filter(|costs| self.serves(gemm, flow_of(costs)));
                let cycles = |costs: &&Self| {
                    let flow = flow_of(costs);
                    let both = costs.usual(at, shape, flow).zip(costs.fused_update(at, flow));
                    both.map_or(u64::MAX, |(cost, update)| cost.cycles.total().0 + update)
                };
                of = served.min_by_key(cycles).expect("the flow that copies were written for");
                flows.insert((at, shape), Choice { flow: flow_of(&of), once: None });
            }
            let own = of.kept.arriving.iter().filter(|&&(command, ..)| command == write.command);
            arriving.extend(own.copied());
        }
        let kept = KeptOnChip { memory: Buffer::Global, of: Vec::new(), arriving };
        Self { flows: Flows::Each(RefCell::new(flows)), ..self.clone() }.keeping(kept)
    }

    /// What a product usually takes in a dataflow; nothing where it cannot always run.
    fn usual(&self, at: WriteId, shape: GemmShape, flow: Stationary) -> Option<Cost> {
        self.if_always(at, |second_pass| self.in_flow(at, shape, flow, second_pass, None))
    }

    /// What a write usually takes, with a second pass if its scale always takes one; nothing where
    /// it cannot run, or could not if its scale, which may take one, did.
    fn if_always(&self, at: WriteId, cost: impl Fn(bool) -> Result<Cost, Error>) -> Option<Cost> {
        let (always, ever) = (self.always_second_pass(at), self.may_take_second_pass(at));
        let usual = cost(always).ok()?;
        (always == ever || cost(ever).is_ok()).then_some(usual)
    }

    /// The flow of the fewest cycles of those that find the copies they read; the first of several,
    /// and the first of all where none can run.
    fn fewest_cycles(&self, at: WriteId, shape: GemmShape) -> Choice {
        let gemm = self.product(at);
        // Stalls only add to this.
        let at_least = |flow| {
            let cycles = timing::gemm(&self.mapping_as(gemm, shape, flow));
            cycles.map_or(u64::MAX, |cycles| cycles.total().0)
        };
        let served = Stationary::ALL.into_iter().filter(|&flow| self.serves(gemm, flow));
        let mut bounds: Vec<_> = served.map(|flow| (at_least(flow), flow)).collect();
        bounds.sort_unstable();
        let mut best: Option<(u64, Stationary, Cost)> = None;
        for (bound, flow) in bounds {
            let wins = |cycles| best.as_ref().is_none_or(|best| (cycles, flow) < (best.0, best.1));
            if wins(bound)
                && let Some(once) = self.usual(at, shape, flow)
                && let Some(update) = self.fused_update(at, flow)
                && wins(once.cycles.total().0 + update)
            {
                best = Some((once.cycles.total().0 + update, flow, once));
            }
        }
        match best {
            Some((_, flow, once)) => Choice { flow, once: Some(Arc::new(once)) },
            None => Choice { flow: Stationary::Output, once: None },
        }
    }

    /// The cycles of the update that takes what a product makes in the tiles of a flow; 0 if none does so.
    fn fused_update(&self, product: WriteId, flow: Stationary) -> Option<u64> {
        let gradient = self.program.write(product).tensor;
        if !self.is_fused(gradient) {
            return Some(0);
        }
        let in_flow = self.all_in(flow);
        let mut cycles = 0;
        for (at, _, command) in self.program.all_writes() {
            let takes = |update: &Update| update.gradient == gradient;
            if command.operation.update().is_some_and(takes) {
                let work = self.program.work(at, self.batches.size);
                cycles += in_flow.of(at, work, false).ok()?.cycles.total().0;
            }
        }
        Some(cycles)
    }

    /// Whether every operand that a flow reads across its layout has the copy for it, as far as
    /// copies are laid out.
    fn serves(&self, gemm: &Product, flow: Stationary) -> bool {
        let copies = self.copies.as_deref();
        copies.is_none_or(|copies| across(gemm, flow).all(|tensor| copies.contains(&tensor)))
    }

    /// The same with a second copy of what the flows of a full batch read across its layout, where
    /// the accelerator has no transposer; with the stash laid out accordingly.
    pub(super) fn with_copies(self, batch: usize) -> Self {
        if self.accelerator.layout == Layout::Transposer {
            return self.with_stash(batch);
        }
        let in_one = |flow| Self { flows: Flows::All(flow), ..self.clone() }.copied(batch);
        match self.flows {
            Flows::All(_) => self.copied(batch),
            Flows::Each(_) => {
                let each = self.clone().with_stash(batch).copied(batch);
                if !each.writes_copies() {
                    return each;
                }
                let all = Stationary::ALL.map(in_one);
                let candidates = [each].into_iter().chain(all);
                candidates.min_by_key(|costs| costs.step_cycles(batch)).expect("there are four")
            }
        }
    }

    fn copied(self, batch: usize) -> Self {
        let mut copies: Vec<TensorId> = Vec::new();
        for (at, _, command) in self.program.all_writes() {
            if let (Some(product), Work::Gemm(shape)) =
                (command.operation.product(), self.program.work(at, batch))
            {
                copies.extend(across(product, self.choice(at, shape).flow));
            }
        }
        Self { copies: Some(copies), known: KnownCosts::default(), ..self }.with_stash(batch)
    }

    /// Whether a second copy is written: those of the input are there.
    fn writes_copies(&self) -> bool {
        let copies = self.copies.as_deref().unwrap_or_default();
        self.program.writes.iter().any(|write| copies.contains(&write.tensor))
    }

    /// The cycles of a step on a full batch; the most where it cannot run.
    pub(super) fn step_cycles(&self, batch: usize) -> u64 {
        let add = |sum: u64, at| {
            let work = self.program.work(at, batch);
            let cost = self.if_always(at, |second_pass| self.of(at, work, second_pass))?;
            sum.checked_add(cost.cycles.total().0)
        };
        self.program.all_writes().map(|(at, ..)| at).try_fold(0, add).unwrap_or(u64::MAX)
    }

    /// Whether the scale of what is written is chosen from itself in every step.
    pub(super) fn always_second_pass(&self, at: WriteId) -> bool {
        self.arithmetic == Arithmetic::Fixed && self.output_scale(at) == Scale::Dynamic
    }

    /// Whether it is in some step, such as the first, before which there is nothing to choose it from.
    pub fn may_take_second_pass(&self, at: WriteId) -> bool {
        self.arithmetic == Arithmetic::Fixed && self.output_scale(at).follows_range()
    }

    fn output_scale(&self, at: WriteId) -> Scale {
        self.program.scale_of(at)
    }

    pub(super) fn product(&self, at: WriteId) -> &'a Product {
        self.program.command_of(at).operation.product().expect("a matrix product")
    }
}

/// The operands of which a flow takes elements in one cycle that are no neighbours in the tensor.
fn across(gemm: &Product, flow: Stationary) -> impl Iterator<Item = TensorId> {
    let operands = [(gemm.a, true), (gemm.b, false)].into_iter();
    operands.filter(move |&(operand, is_a)| !is_along(flow, operand, is_a)).map(|(of, _)| of.tensor)
}
