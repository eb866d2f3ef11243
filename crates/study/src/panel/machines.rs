//! The machines of a panel, and what a training takes on each.

use std::sync::Arc;

use systoliq_array::Dataflow;
use systoliq_energy::{Cell, DramKind, FloatFormat, Profile};
use systoliq_hardware::Accelerator;
use systoliq_hardware::cost::Arithmetic;
use systoliq_program::Workers;

use super::narrower::{PARTS, narrower};
use super::priced::{MachineCounts, PanelRun};
use super::{MachineAxis, PanelGroup};

/// The kinds of DRAM that every panel has.
const DRAMS: [DramKind; 3] = [DramKind::Lpddr4, DramKind::Ddr4, DramKind::Hbm2];

/// The kinds of cells that memories on chip have.
const CELLS: [(Cell, &str); 2] =
    [(Cell::LowOperatingPower, "lop macros"), (Cell::HighPerformance, "hp macros")];

/// Classes of accelerators: PEs, and bytes of a global buffer.
const CLASSES: [(u64, u64); 3] = [(64, 64 << 10), (256, 512 << 10), (16_384, 24 << 20)];

/// The buffer of the class of an accelerator: what it states, or that of the class whose array is nearest by
/// the ratio of PEs, of two as near the smaller.
pub(super) fn class_bytes(accelerator: &Accelerator) -> u64 {
    let (stated, pes) = (accelerator.scratchpad.buffer_bytes, accelerator.array.pes());
    if stated > 0 {
        return stated;
    }
    let ratio = |&(of, _): &(u64, u64)| of.max(pes) as f64 / of.min(pes) as f64;
    let nearest = CLASSES.iter().min_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    nearest.expect("there are classes").1
}

/// A buffer that holds all of something is the least multiple of so many bytes.
const BUFFER_STEP: u64 = 1 << 10;

/// What the machines of a panel are made of.
pub(super) struct Choices {
    pub(super) drams: Vec<DramKind>,
    /// Bytes of the buffer; 0 without one.
    pub(super) buffers: Vec<u64>,
    /// With cells of the first kind.
    pub(super) profiles: Vec<(String, Arc<Profile>)>,
    pub(super) batches: Vec<usize>,
    /// The place on each axis of the machine that the experiment states.
    pub(super) own: Vec<usize>,
}

impl Choices {
    /// Around the machine of the group of this number, with other profiles beside those of the program.
    pub(super) fn new(groups: &[PanelGroup], own: usize, others: &[Profile]) -> Self {
        let accelerator = groups[own].run.accelerator();
        let kind = accelerator.dram.kind;
        let mut drams = DRAMS.to_vec();
        drams.extend(Some(kind).filter(|kind| !DRAMS.contains(kind)));
        let own_dram = drams.iter().position(|&of| of == kind).expect("it is among them");
        let class = class_bytes(accelerator);
        let mut buffers = vec![0, class];
        let all = groups.iter().flat_map(PanelGroup::candidates).map(all_bytes);
        let all = all.max().unwrap_or(0).next_multiple_of(BUFFER_STEP);
        if !buffers.contains(&all) {
            buffers.push(all);
        }
        let own_buffer = usize::from(accelerator.scratchpad.buffer_bytes > 0);
        let named = Profile::NAMES.iter().filter_map(|name| Profile::named(name));
        let named = named.map(|profile| of_cell(&profile, CELLS[0].0));
        let mut profiles: Vec<(String, Arc<Profile>)> =
            named.map(|profile| (profile.name().to_owned(), profile.into())).collect();
        let mut place = |profile: &Profile| {
            let profile = of_cell(profile, CELLS[0].0);
            profiles.iter().position(|(_, known)| **known == profile).unwrap_or_else(|| {
                let name = format!("{} at {} nm", profile.name(), profile.node_nm());
                let taken = |name: &str| profiles.iter().any(|(known, _)| known == name);
                let your = format!("your {}", profile.name());
                let named = Profile::named(profile.name());
                let other_node = named.is_some_and(|of| of.node_nm() != profile.node_nm());
                let second = if other_node { name } else { your };
                let names = [profile.name().to_owned(), second];
                let free = names.into_iter().find(|name| !taken(name));
                let numbered = || format!("profile {}", profiles.len() + 1);
                profiles.push((free.unwrap_or_else(numbered), profile.into()));
                profiles.len() - 1
            })
        };
        let stated = accelerator.profile().expect("the profile of a checked experiment");
        let own_cell = CELLS.iter().position(|&(cell, _)| Some(cell) == stated.cell());
        let own_profile = place(&stated);
        for other in others {
            place(other);
        }
        let batches = groups.iter().map(|group| group.run.batch()).collect();
        Self {
            drams,
            buffers,
            profiles,
            batches,
            own: vec![own_dram, own_buffer, own_cell.unwrap_or(0), own_profile, own],
        }
    }

    /// The axes, in the order of numbers of machines: the last is the fastest.
    pub(super) fn axes(&self) -> Vec<MachineAxis> {
        let kilobytes = |bytes: u64| match bytes {
            0 => "no buffer".to_owned(),
            _ if bytes.is_multiple_of(1 << 20) => format!("a {} MB buffer", bytes >> 20),
            _ => format!("a {} KB buffer", bytes.div_ceil(1 << 10)),
        };
        let buffer = |(at, &bytes): (usize, &u64)| match at {
            2 => format!("a buffer for all ({} KB)", bytes >> 10),
            _ => kilobytes(bytes),
        };
        let axis = |name: &str, values: Vec<String>| MachineAxis { name: name.to_owned(), values };
        vec![
            axis("DRAM", self.drams.iter().map(|kind| kind.name().to_uppercase()).collect()),
            axis("buffer", self.buffers.iter().enumerate().map(buffer).collect()),
            axis("macros", CELLS.map(|(_, name)| name.to_owned()).into()),
            axis("profile", self.profiles.iter().map(|(name, _)| name.clone()).collect()),
            axis("batch", self.batches.iter().map(|batch| format!("batch {batch}")).collect()),
        ]
    }
}

/// A profile with memories of some cells; itself where it prices all of them alike.
fn of_cell(profile: &Profile, cell: Cell) -> Profile {
    profile.clone().with_cell(cell).unwrap_or_else(|_| profile.clone())
}

/// The bytes that hold all of a training in fixed point, and on each hardware that it is compared with.
fn all_bytes(run: &PanelRun) -> u64 {
    ARITHMETICS.into_iter().map(|arithmetic| run.all_bytes(arithmetic)).max().unwrap_or(0)
}

/// Fixed point, and what it is compared with.
pub(super) const ARITHMETICS: [Arithmetic; 4] = [
    Arithmetic::Fixed,
    Arithmetic::FLOAT32,
    Arithmetic::Float(FloatFormat::Bfloat16),
    Arithmetic::Mixed(FloatFormat::Bfloat16),
];

/// The dataflows that are compared.
pub(super) const DATAFLOWS: [Dataflow; 3] =
    [Dataflow::OutputStationary, Dataflow::WeightStationary, Dataflow::InputStationary];

/// Where among the trainings of a group those with a bit less begin, behind those of the hardware that is compared.
pub(super) const NARROWER: usize = ARITHMETICS.len();

/// Where those in each of [`DATAFLOWS`] begin.
pub(super) const FLOWS: usize = NARROWER + PARTS.len();

/// Where the points of a sweep begin.
pub(super) const POINTS: usize = FLOWS + DATAFLOWS.len();

/// Counts one training of a group with so many bytes of buffer; nothing of what cannot be run.
fn counted(group: &PanelGroup, bytes: u64, at: usize) -> Option<MachineCounts> {
    let run = group.run.with_buffer(bytes);
    let (run, arithmetic) = match at {
        ..NARROWER => (run, ARITHMETICS[at]),
        NARROWER..FLOWS => {
            let (_, role) = PARTS[at - NARROWER];
            (run.with(narrower(&run.prepared, role)?), Arithmetic::Fixed)
        }
        FLOWS..POINTS => (run.in_dataflow(DATAFLOWS[at - FLOWS]), Arithmetic::Fixed),
        _ => (group.points[at - POINTS].1.with_buffer(bytes), Arithmetic::Fixed),
    };
    run.counts(arithmetic).ok()
}

/// What every training of a group takes on every machine, in the order of their numbers; nothing of what
/// cannot be run or priced.
pub(super) fn energies(
    groups: &[PanelGroup],
    choices: &Choices,
    workers: &Workers,
) -> Vec<Vec<Option<f64>>> {
    let Choices { drams, buffers, profiles, .. } = choices;
    let with = |cell: Cell| {
        let with = move |(_, profile): &(String, Arc<Profile>)| Arc::new(of_cell(profile, cell));
        profiles.iter().map(with)
    };
    let priced: Vec<Arc<Profile>> = CELLS.iter().flat_map(|&(cell, _)| with(cell)).collect();
    let trainings: Vec<(usize, usize, usize)> = (0..buffers.len())
        .flat_map(|buffer| (0..groups.len()).map(move |group| (buffer, group)))
        .flat_map(|(buffer, group)| {
            (0..POINTS + groups[group].points.len()).map(move |at| (buffer, group, at))
        })
        .collect();
    let priced_of = |&(buffer, group, at): &(usize, usize, usize)| -> Vec<Option<Vec<f64>>> {
        let counts = counted(&groups[group], buffers[buffer], at);
        let energy = |profile| counts.as_ref()?.energy(profile, drams).ok();
        priced.iter().map(energy).collect()
    };
    let parts = workers.threads();
    let mut shared = Vec::new();
    let price =
        |part| -> Vec<_> { trainings.iter().skip(part).step_by(parts).map(priced_of).collect() };
    workers.each(0..parts, price, |priced| shared.push(priced));
    // One row of machines for each kind of DRAM.
    let row = buffers.len() * priced.len() * groups.len();
    let mut found = vec![Vec::new(); drams.len() * row];
    for (number, &(at_buffer, at_group, _)) in trainings.iter().enumerate() {
        for (at_prices, energies) in shared[number % parts][number / parts].iter().enumerate() {
            let at = (at_buffer * priced.len() + at_prices) * groups.len() + at_group;
            for at_dram in 0..drams.len() {
                found[at_dram * row + at].push(energies.as_ref().map(|of| of[at_dram]));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_nearest_array_unless_a_buffer_is_stated() {
        let class = |rows: usize, cols: usize, stated: u64| {
            let json = serde_json::json!({
                "array": { "rows": rows, "cols": cols },
                "scratchpad": { "buffer_bytes": stated }
            });
            class_bytes(&serde_json::from_value(json).unwrap())
        };
        let [lecture, edge, cloud] = [64 << 10, 512 << 10, 24 << 20];
        for (rows, cols, expected) in [
            (8, 8, lecture),
            (16, 16, edge),
            (128, 128, cloud),
            (1, 1, lecture),
            (8, 16, lecture),
            (10, 13, edge),
            (32, 32, edge),
            (45, 46, cloud),
            (256, 256, cloud),
        ] {
            assert_eq!(class(rows, cols, 0), expected, "{rows} x {cols}");
            assert_eq!(class(rows, cols, 12_345), 12_345);
        }
    }
}
