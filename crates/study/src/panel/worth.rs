//! What one bit less of each role saves, on the machine of a run and on the same with or without a global buffer.
//!
//! A bit less is a repricing of the same program: nothing is trained.

use serde::{Deserialize, Serialize};
use systoliq_program::Role;

use super::PanelRun;
use super::machines::class_bytes;
use super::narrower::narrower;

/// What one bit less saves on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitsWorth {
    /// Bytes of the global buffer; 0 without one.
    pub buffer_bytes: u64,
    /// What a whole training takes, in picojoules or their unit.
    pub energy_pj: f64,
    /// What one bit less of a role in all layers saves of that, what saves most first.
    pub saved: Vec<SavedByBit>,
}

/// What one bit less of a role saves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedByBit {
    /// The role as the `precision` section names it, or `accumulator`.
    pub role: String,
    /// What is saved, in picojoules or their unit.
    pub energy_pj: f64,
}

impl PanelRun {
    /// What a bit is worth on its own machine, and on the same without its global buffer, or with that of its
    /// class where it has none; nothing where one of the two cannot be priced.
    pub fn bits_worth(&self) -> Option<[BitsWorth; 2]> {
        let stated = self.accelerator().scratchpad.buffer_bytes;
        let other = if stated > 0 { 0 } else { class_bytes(self.accelerator()) };
        Some([self.worth()?, self.with_buffer(other).worth()?])
    }

    fn worth(&self) -> Option<BitsWorth> {
        let all = self.own_energy().ok()?;
        let roles = Role::ALL.into_iter().map(|role| (role.name(), Some(role)));
        let saved = roles.chain([("accumulator", None)]).filter_map(|(name, role)| {
            let less = self.with(narrower(&self.prepared, role)?).own_energy().ok()?;
            Some(SavedByBit { role: name.to_owned(), energy_pj: all - less })
        });
        let mut saved: Vec<SavedByBit> = saved.collect();
        saved.sort_by(|a, b| b.energy_pj.total_cmp(&a.energy_pj));
        let buffer_bytes = self.accelerator().scratchpad.buffer_bytes;
        Some(BitsWorth { buffer_bytes, energy_pj: all, saved })
    }
}

/// Of which role a bit is worth most here, and of which other one there, with energies as `shown`; nothing
/// where both machines have the same, or one of them saves nothing.
pub fn why_here([here, there]: &[BitsWorth; 2], shown: impl Fn(f64) -> String) -> Option<String> {
    let most = |of: &BitsWorth| {
        let most = of.saved.first().filter(|most| most.energy_pj > 0.0)?;
        let saved = format!("{} of {}", shown(most.energy_pj), shown(of.energy_pj));
        Some((most.role.clone(), saved))
    };
    let ((role, saved), (other, elsewhere)) = (most(here)?, most(there)?);
    let machine = match there.buffer_bytes {
        0 => "without the buffer".to_owned(),
        bytes => format!("with a buffer of {} KB", bytes.div_ceil(1 << 10)),
    };
    (role != other).then(|| {
        format!(
            "one bit less of {role} saves most on this machine, {saved}; {machine} one of {other} would, \
             {elsewhere}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(buffer_bytes: u64, energy_pj: f64, saved: &[(&str, f64)]) -> BitsWorth {
        let saved =
            saved.iter().map(|&(role, energy_pj)| SavedByBit { role: role.into(), energy_pj });
        BitsWorth { buffer_bytes, energy_pj, saved: saved.collect() }
    }

    #[test]
    fn it_is_said_where_another_role_is_worth_most_and_not_where_it_is_the_same() {
        let shown = |pj: f64| format!("{pj} pJ");
        let with = worth(65_536, 100.0, &[("input", 6.0), ("weights", 5.0)]);
        let without = worth(0, 900.0, &[("weights", 40.0), ("input", 6.0)]);
        let said = why_here(&[with.clone(), without.clone()], shown).unwrap();
        assert_eq!(
            said,
            "one bit less of input saves most on this machine, 6 pJ of 100 pJ; without the buffer one of \
             weights would, 40 pJ of 900 pJ"
        );
        let said = why_here(&[without.clone(), with.clone()], shown).unwrap();
        assert!(
            said.contains("; with a buffer of 64 KB one of input would, 6 pJ of 100 pJ"),
            "{said}"
        );
        let same = worth(65_536, 100.0, &[("weights", 6.0), ("input", 5.0)]);
        assert_eq!(why_here(&[same, without.clone()], shown), None);
        let nothing = worth(65_536, 100.0, &[("input", 0.0)]);
        assert_eq!(why_here(&[nothing, without], shown), None);
    }
}
