//! What stays on chip from command to command, and the flows that suit it.

use super::*;
use crate::{buffer, stash};

/// Something of a tensor that comes from DRAM while a command runs.
pub(crate) type Arriving = (CommandId, TensorId, Stored);

/// What one memory keeps on chip from command to command.
#[derive(Clone, Debug)]
pub(crate) struct KeptOnChip {
    pub(crate) memory: Buffer,
    /// For all commands.
    pub(crate) of: Vec<(TensorId, Stored)>,
    /// What comes from DRAM while a command runs, and may be there for others.
    pub(crate) arriving: Vec<Arriving>,
}

impl KeptOnChip {
    pub(crate) const NOTHING: Self =
        Self { memory: Buffer::Stash, of: Vec::new(), arriving: Vec::new() };

    /// As a command finds it.
    pub(super) fn beside(&self, command: CommandId) -> Vec<Resident> {
        let resident = |(tensor, stored), arrives| Resident { tensor, stored, arrives };
        let arriving = self.arriving.iter().filter(|&&(first, ..)| first == command);
        let arriving: Vec<_> = arriving.map(|&(_, tensor, stored)| (tensor, stored)).collect();
        let there = self.of.iter().copied().filter(|of| !arriving.contains(of));
        let there: Vec<_> = there.map(|of| resident(of, false)).collect();
        arriving.into_iter().map(|of| resident(of, true)).chain(there).collect()
    }
}

impl<'a> Costs<'a> {
    pub(super) fn without_buffer(
        program: &'a Program,
        accelerator: &'a Accelerator,
        arithmetic: Arithmetic,
        batches: EpochBatches,
    ) -> Self {
        let row_bytes = accelerator.row_bytes();
        let flows = Flows::of(accelerator.array.dataflow);
        let (copies, kept, known) = (None, KeptOnChip::NOTHING, KnownCosts::default());
        Self { program, accelerator, batches, arithmetic, row_bytes, flows, copies, kept, known }
            .with_copies(batches.size)
    }

    /// Of a program of which no command reads what another one wrote, on work of batches of `batch`
    /// samples: a buffer keeps operands for as long as a command runs.
    pub fn apart(
        program: &'a Program,
        accelerator: &'a Accelerator,
        arithmetic: Arithmetic,
        batch: usize,
    ) -> Self {
        let batches = EpochBatches::one(batch);
        let costs = Self::without_buffer(program, accelerator, arithmetic, batches);
        if accelerator.scratchpad.buffer_bytes == 0 {
            return costs;
        }
        let with_operands = |costs: &Self| {
            let arriving = buffer::operands(costs);
            costs.keeping(KeptOnChip { memory: Buffer::Global, of: Vec::new(), arriving })
        };
        match costs.flows {
            Flows::All(_) => with_operands(&costs),
            Flows::Each(_) => {
                let in_one = Stationary::ALL.map(|flow| with_operands(&costs.all_in(flow)));
                costs.each_as_in(&in_one)
            }
        }
    }

    /// The same with this kept.
    pub(crate) fn keeping(&self, kept: KeptOnChip) -> Self {
        let flows = self.flows.without_costs();
        Self { kept, flows, known: KnownCosts::default(), ..self.clone() }
    }

    /// The same with a stash that keeps what fits it of a batch of `batch` samples.
    pub(super) fn with_stash(self, batch: usize) -> Self {
        let kept = stash::items(&self, batch).into_iter().filter(|item| item.on_chip);
        let on_chip = kept.flat_map(|item| match item.stored {
            Stored::Elements => vec![(item.tensor, Stored::Elements), (item.tensor, Stored::Copy)],
            stored => vec![(item.tensor, stored)],
        });
        self.keeping(KeptOnChip { of: on_chip.collect(), ..KeptOnChip::NOTHING })
    }

    /// The same with a buffer in which lives what is worth most over an epoch, if there is one. What lives there
    /// follows from the flows, and flows from what waits for DRAM: of the flows that were chosen without a buffer,
    /// those chosen again with what then lives there, and one flow for all, those are taken in which a step takes
    /// fewest cycles.
    pub(super) fn with_buffer(self) -> Self {
        if self.accelerator.scratchpad.buffer_bytes == 0 {
            return self;
        }
        let first = self.laid_out();
        if let Flows::All(_) = self.flows {
            return first;
        }
        let again = Self { flows: first.chosen_again(), ..self.clone() }.laid_out();
        let batch = self.batches.size;
        let in_one = |flow| self.all_in(flow).with_copies(batch).laid_out();
        let candidates = [first, again].into_iter().chain(Stationary::ALL.map(in_one));
        candidates.min_by_key(|costs| costs.step_cycles(batch)).expect("there are five")
    }

    /// The same with what its buffer keeps.
    fn laid_out(&self) -> Self {
        let (items, layout) = buffer::lives(self);
        let lives = items.iter().zip(&layout.addresses).filter(|(_, address)| address.is_some());
        let of: Vec<_> = lives.flat_map(|(item, _)| item.forms()).collect();
        let arriving = buffer::arriving(self, &of);
        self.keeping(KeptOnChip { memory: Buffer::Global, of, arriving })
    }
}
