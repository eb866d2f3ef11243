//! Which paths an experiment has: those in the JSON Schema of its type, whether or not it states
//! them.

use schemars::SchemaGenerator;
use serde_json::Value;
use systoliq_run::Experiment;

/// The paths of experiments.
pub(crate) struct KnownPaths {
    schema: Value,
}

/// How often a definition may contain itself in a path that is suggested.
const NESTED_MAX: usize = 2;

/// Stands for the number of an element or a layer.
const NUMBER: &str = "#";

impl KnownPaths {
    pub(crate) fn new() -> Self {
        Self { schema: SchemaGenerator::default().into_root_schema_for::<Experiment>().to_value() }
    }

    /// Whether experiments have such a path, of whatever kind their parts are.
    pub(crate) fn has(&self, names: &[String]) -> bool {
        let mut nodes = vec![&self.schema];
        for name in names {
            nodes = nodes.into_iter().flat_map(|node| self.alternatives(node)).collect();
            nodes = nodes
                .into_iter()
                .flat_map(members)
                .filter(|(member, _)| *member == name || *member == NUMBER && is_number(name))
                .map(|(_, node)| node)
                .collect();
        }
        !nodes.is_empty()
    }

    /// The path most like this one: the fewest letters to change, where a beginning that is missing
    /// counts as one letter for each of its names.
    pub(crate) fn nearest(&self, names: &[String]) -> Option<String> {
        let mut known = Vec::new();
        self.collect(&self.schema, &mut Vec::new(), &mut Vec::new(), &mut known);
        let sought = names.join(".");
        let distance = |candidate: &Vec<String>| {
            let from =
                |start: usize| start + strsim::levenshtein(&sought, &candidate[start..].join("."));
            (0..candidate.len()).map(from).min().unwrap_or(usize::MAX)
        };
        let numbered = known.into_iter().map(|path| {
            let mut numbers = names.iter().filter(|name| is_number(name));
            let number = |name: &str| match name {
                NUMBER => numbers.next().map_or("0", |number| number).to_owned(),
                name => name.to_owned(),
            };
            path.into_iter().map(number).collect::<Vec<_>>()
        });
        numbered.min_by_key(distance).map(|path| path.join("."))
    }

    /// What a schema stands for: itself, what it refers to, and its alternatives.
    fn alternatives<'s>(&'s self, node: &'s Value) -> Vec<&'s Value> {
        let mut found = vec![node];
        if let Some(target) = self.target(node) {
            found.extend(self.alternatives(target.1));
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            let parts = node.get(key).and_then(Value::as_array).into_iter().flatten();
            found.extend(parts.flat_map(|part| self.alternatives(part)));
        }
        found
    }

    /// The definition that a schema refers to.
    fn target<'s>(&'s self, node: &'s Value) -> Option<(&'s str, &'s Value)> {
        let name = node.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        Some((name, self.schema.get("$defs")?.get(name)?))
    }

    /// Adds every path below `node`, which `path` leads to through the definitions `within`.
    fn collect<'s>(
        &'s self,
        node: &'s Value,
        path: &mut Vec<&'s str>,
        within: &mut Vec<&'s str>,
        found: &mut Vec<Vec<&'s str>>,
    ) {
        if let Some((name, target)) = self.target(node)
            && within.iter().filter(|outer| **outer == name).count() < NESTED_MAX
        {
            within.push(name);
            self.collect(target, path, within, found);
            within.pop();
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for part in node.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.collect(part, path, within, found);
            }
        }
        for (name, member) in members(node) {
            path.push(name);
            found.push(path.clone());
            self.collect(member, path, within, found);
            path.pop();
        }
    }
}

/// What a schema says of the members of objects and the elements of arrays, by their names.
fn members(node: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let object = |key| node.get(key).and_then(Value::as_object).into_iter().flatten();
    let named = object("properties").map(|(name, member)| (name.as_str(), member));
    let numbered = object("patternProperties").map(|(_, member)| (NUMBER, member));
    let elements = node.get("items").filter(|items| items.is_object());
    named.chain(numbered).chain(elements.map(|element| (NUMBER, element)))
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use systoliq_run::path::split;

    use super::*;

    #[test]
    fn settings_have_paths_whether_an_experiment_states_them_or_not() {
        let known = KnownPaths::new();
        for path in [
            "training.rate",
            "precision",
            "precision.weights",
            "precision.weight_gradients.max_overflow_rate",
            "precision.layers.1.weights.bits",
            "network.layers[0].dense.units",
            "accelerator.dram.bytes_per_cycle",
            "accelerator.array.dataflow",
            "dataset.dir",
        ] {
            assert!(known.has(&split(path).unwrap()), "{path}");
        }
        for path in ["bits", "precision.layers.x", "training.rate.x", "network.layers[0].relu.x"] {
            assert!(!known.has(&split(path).unwrap()), "{path}");
        }
    }

    #[test]
    fn what_is_misspelt_or_cut_short_is_found() {
        let known = KnownPaths::new();
        for (path, nearest) in [
            ("precision.weight.bits", "precision.weights.bits"),
            ("precision.wieghts.bits", "precision.weights.bits"),
            ("weights.bits", "precision.weights.bits"),
            ("precision.layers.1.activation.bits", "precision.layers.1.activations.bits"),
            ("trainings.rate", "training.rate"),
            ("network.layers[2].dense.unit", "network.layers.2.dense.units"),
            ("accelerator.array.row", "accelerator.array.rows"),
        ] {
            assert_eq!(known.nearest(&split(path).unwrap()).as_deref(), Some(nearest), "{path}");
        }
    }
}
