//! Profiles that differ from another in one thing.

use super::error::Error;
use super::figures::Figures;
use super::profile::Profile;

impl Profile {
    /// The same with another value of the figure at this path, which has no range then.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] where the figure cannot have it, [`Error::NoFigure`] where there is none.
    pub fn with_figure(&self, path: &str, value: f64) -> Result<Self, Error> {
        let mut figures = serde_json::to_value(&self.figures)?;
        let place = figures.pointer_mut(&format!("/{}", path.replace('.', "/")));
        let figure = place.and_then(serde_json::Value::as_object_mut);
        let figure = figure.ok_or_else(|| Error::NoFigure { path: path.to_owned() })?;
        figure.insert("value".to_owned(), value.into());
        figure.remove("range");
        let figures: Figures = serde_json::from_value(figures)?;
        if path == "node" || path.starts_with("scratchpad.") {
            return figures.try_into();
        }
        figures.check()?;
        Ok(Self { figures, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DramKind, Figure, Picojoules};

    #[test]
    fn every_figure_of_a_profile_can_have_another_value_and_no_other_changes() {
        for name in Profile::NAMES {
            let profile = Profile::named(name).unwrap();
            // A profile that is scaled to another node is of no other.
            let any = |(path, figure): &(&str, &Figure)| figure.value > 2.0 && *path != "node";
            for (path, figure) in profile.figures().filter(any) {
                let changed = profile.with_figure(path, figure.value - 1.0).unwrap();
                let differ = profile.figures().zip(changed.figures());
                let differ = differ.filter(|(ours, theirs)| ours.1.value != theirs.1.value);
                assert_eq!(differ.map(|(ours, _)| ours.0).collect::<Vec<_>>(), [path], "{name}");
            }
        }
        let halved = Profile::horowitz45().with_figure("dram.lpddr4.bit", 4.0).unwrap();
        assert_eq!(halved.dram_bit(DramKind::Lpddr4), Picojoules(4.0));
        assert_eq!(halved.dram_bit(DramKind::Ddr4), Picojoules(20.3));
    }

    #[test]
    fn a_figure_that_is_not_there_or_cannot_be_is_refused() {
        let profile = Profile::horowitz45();
        for path in ["dram", "dram.lpddr4.bits", "multiplier.table.name", ""] {
            let refused = profile.with_figure(path, 1.0).unwrap_err().to_string();
            assert!(refused == format!("no figure {path}") || path == "dram", "{path}: {refused}");
        }
        assert!(matches!(profile.with_figure("kappa", -1.0), Err(Error::Value { .. })));
    }
}
