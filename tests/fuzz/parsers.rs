//! The readers of what others write, each on its own: good inputs, and what reads them.

use std::fmt::{Debug, Display};
use std::fs;
use std::io::Cursor;

use serde_json::json;
use systoliq_energy::{Profile, SramTables};
use systoliq_fxp::{ExactInteger, Format};
use systoliq_hardware::Accelerator;
use systoliq_import::scalesim::topology::OutputSize;
use systoliq_import::scalesim::{ScaleSimConfig, Topology};
use systoliq_load::document::{Document, DocumentLayout};
use systoliq_nn::data::idx::{parse_images, parse_labels};
use systoliq_nn::{DataSpec, EntryName};
use systoliq_run::{Experiment, Prepared};

use super::{Input, Outcome, Target};
use crate::shell;
use crate::support::models;
use crate::workload::CONFIGURATION;

pub(crate) const TARGETS: [Target; 15] = [
    target("json", experiments, |input| found(systoliq_load::json::parse(&text(input)))),
    target("experiment", experiments, |input| outcome(experiment(&text(input)))),
    target("accelerator", accelerators, |_| {
        found(systoliq_load::accelerator("input".as_ref()).map(|accelerator| accelerator.array))
    }),
    target("profile", profiles, |input| found(Profile::parse(&text(input)))),
    target("sram", tables_of_sram, |input| found(SramTables::parse(&text(input)))),
    target("topology", || files("topologies"), |input| outcome(topology(&text(input)))),
    target("configuration", configurations, |input| outcome(configuration(&text(input)))),
    target("classes", tables, |input| outcome(table(input, json!({"classes": 3, "test": 1})))),
    target("targets", tables, |input| {
        outcome(table(input, json!({"targets": 2, "header": true, "test": 0.25})))
    }),
    target("images", images, |input| found(parse_images("x", bytes(input)))),
    target("labels", labels, |input| found(parse_labels("x", bytes(input), 10))),
    target("format", || given(&FORMATS), |input| found(text(input).parse::<Format>())),
    target("integer", || given(&INTEGERS), |input| found(text(input).parse::<ExactInteger>())),
    target(
        "entry",
        || given(&ENTRIES),
        |input| found(serde_json::from_slice::<EntryName>(bytes(input))),
    ),
    target("assignment", || given(&ASSIGNMENTS), |input| outcome(assignment(&text(input)))),
];

const FORMATS: [&str; 5] = ["Q1.7", "UQ1.7", "Q-8.16", "Q9.-1", "UQ0.32"];

const INTEGERS: [&str; 3] = ["0", "-12", "340282366920938463463374607431768211456"];

const ENTRIES: [&str; 3] = ["0", "\"@3\"", "17"];

const ASSIGNMENTS: [&str; 8] = [
    "training.epochs=1",
    "precision.weights={\"bits\":4}",
    "precision.layers.1.weights=Q3.3",
    "network.layers[0].dense.units=12",
    "accelerator.array.dataflow=auto",
    "dataset={\"kind\":\"fir\",\"taps\":[1,0.5],\"noise\":0,\"train\":64,\"test\":8}",
    "training.schedule={\"kind\":\"step\",\"every_epochs\":1,\"factor\":0.5}",
    "precision.gradients.scale=dynamic",
];

/// Tables of numbers and classes, with a heading or without.
const TABLES: [&str; 3] = [
    "1,2,0\n3.5,-4e-3,1\n5,6,2\n7,8,0\n",
    "\"a\", b, label\n1,2,0\n\n3,4,1\r\n 5 , \"6\" ,2\n",
    "0.1,0.2,0.3,0.4\n1,2,3,4\n5,6,7,8\n",
];

/// A reader of the one file of its inputs.
const fn target(
    name: &'static str,
    inputs: fn() -> Vec<Input>,
    read: fn(&Input) -> Result<Outcome, String>,
) -> Target {
    Target { name, inputs, changed: &["input"], read }
}

fn input(bytes: impl Into<Vec<u8>>) -> Input {
    Input { arguments: Vec::new(), files: vec![("input".to_owned(), bytes.into())] }
}

fn given(texts: &[&str]) -> Vec<Input> {
    texts.iter().map(|&text| input(text)).collect()
}

/// Every file of a folder of models.
fn files(folder: &str) -> Vec<Input> {
    let entries = fs::read_dir(models().join(folder)).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.retain(|path| path.is_file());
    paths.iter().map(|path| input(fs::read(path).expect("a file"))).collect()
}

/// The experiments of the project, each in one file.
pub(crate) fn experiments() -> Vec<Input> {
    let names = ["binary-classifier", "digits-mlp", "digits-mxint8", "lms", "mnist-mlp"];
    let whole = |name: &str| {
        let file = models().join(name).with_extension("json");
        let document = Document::read(&file, DocumentLayout::EXPERIMENT).expect("an experiment");
        input(shell::text(document.value()))
    };
    names.into_iter().map(whole).collect()
}

fn profiles() -> Vec<Input> {
    let mut all = files("energy");
    all.retain(|input| Profile::parse(&text(input)).is_ok());
    all
}

fn tables_of_sram() -> Vec<Input> {
    let mut all = files("energy");
    all.retain(|input| SramTables::parse(&text(input)).is_ok());
    all
}

fn accelerators() -> Vec<Input> {
    [files("accelerators"), files("validation")].concat()
}

fn configurations() -> Vec<Input> {
    let user = CONFIGURATION.replace("Dataflow: os", "Dataflow: ws\nBandwidth: 10,4,2");
    given(&[CONFIGURATION, &user.replace("CALC", "USER")])
}

fn tables() -> Vec<Input> {
    given(&TABLES)
}

/// The bytes, and the same as gzip.
fn plain_and_packed(plain: Vec<u8>) -> Vec<Input> {
    vec![input(shell::gzip(&plain)), input(plain)]
}

fn images() -> Vec<Input> {
    plain_and_packed(shell::images(4, 5))
}

fn labels() -> Vec<Input> {
    plain_and_packed(shell::labels(12))
}

fn bytes(input: &Input) -> &[u8] {
    &input.files[0].1
}

fn text(input: &Input) -> String {
    String::from_utf8_lossy(bytes(input)).into_owned()
}

/// What a reader found or why it refused, as every target gives it.
fn outcome(read: Result<String, String>) -> Result<Outcome, String> {
    Ok(read.map_or_else(Outcome::Refused, Outcome::Read))
}

fn found(read: Result<impl Debug, impl Display>) -> Result<Outcome, String> {
    outcome(read.map(|found| format!("{found:?}")).map_err(|error| error.to_string()))
}

/// An experiment, lowered.
fn experiment(text: &str) -> Result<String, String> {
    let value = systoliq_load::json::parse(text).map_err(|error| error.to_string())?;
    let prepared = Prepared::new(systoliq_load::experiment(&value)?);
    let prepared = prepared.map_err(|error| error.to_string())?;
    Ok(prepared.program.tensors.iter().map(|tensor| format!("{} ", tensor.name)).collect())
}

/// A topology, with all that follows from the sizes of its layers alone.
fn topology(text: &str) -> Result<String, String> {
    let topology = Topology::parse(text).map_err(|error| error.to_string())?;
    let sizes = [OutputSize::Floor, OutputSize::Ceiling];
    let macs = sizes.map(|size| topology.macs(size));
    let gemm = |layer: &systoliq_import::scalesim::topology::Layer| {
        format!("{} {:?} {:?}\n", layer.name(), layer.shape(), sizes.map(|size| layer.gemm(size)))
    };
    Ok(format!("{macs:?}\n{}", topology.layers.iter().map(gemm).collect::<String>()))
}

fn configuration(text: &str) -> Result<String, String> {
    let config = ScaleSimConfig::parse(text).map_err(|error| error.to_string())?;
    let accelerator = Accelerator::from(&config);
    accelerator.validate().map_err(|error| error.to_string())?;
    Ok(format!("{config:?}"))
}

/// A data set of one table.
fn table(input: &Input, how: serde_json::Value) -> Result<String, String> {
    let mut spec = json!({"kind": "csv", "path": "x", "validation": 0.25});
    let members = how.as_object().expect("settings").clone();
    spec.as_object_mut().expect("settings").extend(members);
    let spec: DataSpec = serde_json::from_value(spec).expect("a data set");
    let bytes = bytes(input).to_vec();
    let data = spec.load(1, &mut |_| Ok(Box::new(Cursor::new(bytes.clone()))));
    data.map(|data| format!("{:?}", data.fingerprint())).map_err(|error| error.to_string())
}

/// The digits with something else in one place.
fn assignment(text: &str) -> Result<String, String> {
    let file = models().join("digits-mlp.json");
    let mut document = Document::read(&file, DocumentLayout::EXPERIMENT).expect("an experiment");
    document.set(text).map_err(|error| format!("{error:#}"))?;
    let read = systoliq_load::typed::<Experiment>(&document);
    let prepared = read.and_then(|experiment| {
        Prepared::new(experiment).map_err(|error| systoliq_load::placed(&document, error))
    });
    prepared.map(|prepared| prepared.experiment.name).map_err(|error| error.to_string())
}
