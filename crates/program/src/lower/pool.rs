//! Pooling: a command forwards, and one backwards where what it reads has a gradient.

use systoliq_fxp::{Format, Overflow, Rounding, Scale};
use systoliq_nn::operator::{AvgPool, MaxPool, Window, WindowAxis};
use systoliq_nn::{Operator, ValueId};

use super::{Declared, Lowering, edge, of_batch};
use crate::command::{CommandId, Pass};
use crate::operation::{Operation, Pool, PoolKind, PoolSpread, SpreadKind};
use crate::plan::TensorPlan;
use crate::role::Role;
use crate::tensor::TensorDecl;
use crate::view::{Sliding, Windows};

impl Lowering<'_> {
    /// The windows of a value that pooling makes.
    fn windows(&self, value: ValueId) -> Windows {
        match self.operator(value) {
            Operator::MaxPool(MaxPool { window, .. })
            | Operator::AvgPool(AvgPool { window, .. }) => windows(window),
            Operator::Dense(_)
            | Operator::Conv2d(_)
            | Operator::Add
            | Operator::Flatten
            | Operator::Function(_) => unreachable!("no pooling"),
        }
    }

    /// The entry that makes a value, and what it reads.
    fn pooling(&self, value: ValueId) -> (usize, ValueId) {
        let entry = self.graph.maker(value).expect("a value that is made");
        (entry, self.graph.nodes[entry].reads[0])
    }

    /// A value as the largest elements or the means of windows.
    pub(super) fn pool(&mut self, value: ValueId) -> CommandId {
        let (entry, read) = self.pooling(value);
        let kind = match self.operator(value) {
            Operator::AvgPool(pool) => PoolKind::Mean { counts_padding: pool.counts_padding },
            _ => PoolKind::Largest { winners: self.winners.get(&value).copied() },
        };
        let pool = Pool {
            input: self.values[&read],
            windows: self.windows(value),
            kind,
            edges: edge::forward(self.graph, value),
            output: self.values[&value],
        };
        let name = self.graph.nodes[entry].name;
        self.program.push(name, Pass::Forward, Operation::Pool(pool))
    }

    /// The gradient of a value that pooling makes as that of what it reads.
    pub(super) fn spread(&mut self, value: ValueId) {
        let (entry, read) = self.pooling(value);
        if !self.graph.trains(read) {
            return;
        }
        let kind = match self.operator(value) {
            Operator::AvgPool(pool) => SpreadKind::Share { counts_padding: pool.counts_padding },
            _ => SpreadKind::Winner(self.winners[&value]),
        };
        let finish = self.made_by_reader(read, entry);
        let spread = PoolSpread {
            gradient: self.gradients[&value],
            windows: self.windows(value),
            kind,
            edges: finish.edges,
            output: finish.output,
        };
        let name = self.graph.nodes[entry].name;
        self.program.push(name, Pass::InputGradient, Operation::Spread(spread));
    }
}

impl Declared<'_> {
    /// The taps of winners, where a value has some that its backward pass asks for.
    pub(super) fn winners_of(&mut self, value: ValueId) {
        let graph = self.graph;
        let node = &graph.nodes[graph.maker(value).expect("a value that is made")];
        let Operator::MaxPool(pool) = node.operator else { return };
        if !graph.trains(node.reads[0]) {
            return;
        }
        let bits = (pool.window.taps() as u64).next_power_of_two().ilog2().max(1);
        let (rows, cols) = of_batch(graph, value);
        let winners = self.add(TensorDecl {
            name: format!("p{}", node.name),
            role: Role::Winners,
            entry: node.name,
            stands_for: None,
            rows,
            cols,
            plan: TensorPlan {
                format: Format::new(bits, 0, false).expect("a format of a few bits"),
                scale: Scale::Static,
                rounding: Rounding::Floor,
                overflow: Overflow::Saturate,
            },
        });
        self.winners.insert(value, winners);
    }
}

fn windows(Window { down, along }: Window) -> Windows {
    let sliding = |axis: WindowAxis| Sliding {
        positions: axis.positions().expect("a window that fits"),
        taps: axis.taps,
        step: axis.stride,
        tap_step: axis.dilation,
        spread: 1,
        pad: axis.before as isize,
        extent: axis.extent,
    };
    Windows { down: sliding(down), along: sliding(along) }
}
