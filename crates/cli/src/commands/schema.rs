//! `systoliq schema`: JSON Schemas, for editors and scripts.

use clap::{Args, ValueEnum};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use systoliq_energy::Profile;
use systoliq_explore::SweepSpec;
use systoliq_hardware::Accelerator;
use systoliq_nn::{DataSpec, Network, Training};
use systoliq_program::PrecisionSpec;
use systoliq_run::Experiment;

/// Prints the JSON Schema of an experiment or of a part of one.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  systoliq schema experiment > experiment.schema.json")]
pub struct SchemaCommand {
    /// What the schema describes.
    #[arg(default_value = "experiment")]
    part: SchemaPart,
}

/// What has a JSON file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SchemaPart {
    Experiment,
    Dataset,
    Network,
    Training,
    Precision,
    Accelerator,
    Energy,
    Sweep,
}

impl SchemaCommand {
    /// The schema as indented JSON.
    pub fn run(&self) -> String {
        let mut schema = match self.part {
            SchemaPart::Experiment => schema_of::<Experiment>(),
            SchemaPart::Dataset => schema_of::<DataSpec>(),
            SchemaPart::Network => schema_of::<Network>(),
            SchemaPart::Training => schema_of::<Training>(),
            SchemaPart::Precision => schema_of::<PrecisionSpec>(),
            SchemaPart::Accelerator => schema_of::<Accelerator>(),
            SchemaPart::Energy => schema_of::<Profile>(),
            SchemaPart::Sweep => schema_of::<SweepSpec>(),
        };
        match self.part {
            SchemaPart::Experiment => {
                allow_paths(&mut schema["properties"]);
                allow_path(&mut schema["$defs"]["Accelerator"]["properties"]["energy"]);
            }
            SchemaPart::Accelerator => allow_path(&mut schema["properties"]["energy"]),
            SchemaPart::Sweep => {
                allow_path(&mut schema["properties"]["experiment"]);
                allow_paths(&mut schema["$defs"]["Experiment"]["properties"]);
                allow_path(&mut schema["$defs"]["Accelerator"]["properties"]["energy"]);
            }
            _ => {}
        }
        strip_rust(&mut schema);
        format!("{schema:#}\n")
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// Lets the sections of an experiment be paths.
fn allow_paths(properties: &mut Value) {
    for section in ["dataset", "network", "training", "precision", "accelerator"] {
        allow_path(&mut properties[section]);
    }
}

/// Lets the path of a JSON file stand for the value.
fn allow_path(schema: &mut Value) {
    let inline = schema.take();
    let path = json!({ "type": "string", "description": "Path of a JSON file that holds it." });
    *schema = json!({ "anyOf": [inline, path] });
}

/// Takes out of the descriptions what documentation of Rust alone needs: examples in code, and the
/// targets of links.
fn strip_rust(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(description)) = members.get_mut("description") {
                *description = prose(description);
            }
            members.values_mut().for_each(strip_rust);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_rust),
        _ => {}
    }
}

fn prose(description: &str) -> String {
    let text = description.split("\n\n```").next().unwrap_or_default();
    let mut prose = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        prose += before;
        rest = link;
        if let Some((words, after)) = link.split_once(']')
            && let Some((_, after)) = after.strip_prefix('(').and_then(|at| at.split_once(')'))
        {
            prose += words;
            rest = after;
        } else {
            prose.push('[');
        }
    }
    prose + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_prose() {
        let said = "As [`Format`](crate::Format) [a, b] has it.";
        assert_eq!(prose(&format!("{said}\n\n```\nuse x;\n```")), "As `Format` [a, b] has it.");
        for part in SchemaPart::value_variants() {
            let text = SchemaCommand { part: *part }.run();
            assert!(!text.contains("```") && !text.contains("]("), "{part:?}: {text}");
        }
    }

    fn schema(part: SchemaPart) -> Value {
        serde_json::from_str(&SchemaCommand { part }.run()).unwrap()
    }

    #[test]
    fn every_part_has_a_schema_that_states_its_keys() {
        for (part, key) in [
            (SchemaPart::Experiment, "accelerator"),
            (SchemaPart::Network, "layers"),
            (SchemaPart::Training, "rate"),
            (SchemaPart::Precision, "weight_gradients"),
            (SchemaPart::Accelerator, "scratchpad"),
            (SchemaPart::Energy, "multiplier"),
            (SchemaPart::Sweep, "axes"),
        ] {
            let schema = schema(part);
            assert!(schema["properties"].get(key).is_some(), "{part:?} {schema:#}");
            assert_eq!(schema["additionalProperties"], false, "{part:?}");
        }
        assert_eq!(schema(SchemaPart::Dataset)["oneOf"].as_array().map(Vec::len), Some(6));
    }

    #[test]
    fn sections_of_an_experiment_may_be_paths() {
        let schema = schema(SchemaPart::Experiment);
        for section in ["dataset", "network", "training", "precision", "accelerator"] {
            assert_eq!(schema["properties"][section]["anyOf"][1]["type"], "string", "{section}");
        }
    }
}
