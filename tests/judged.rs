//! What each command says of a loss is what its networks bear out, and all say the same of it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::shell::{experiment, printed, root, text};

/// A folder with the shipped LMS filter over two epochs, and a small experiment on the digits.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |name: &str| fs::read_to_string(root().join("models").join(name)).expect(name);
    let mut lms: Value = serde_json::from_str(&read("lms.json")).expect("JSON");
    lms["training"]["epochs"] = json!(2);
    let accelerator = "accelerators/lecture-8x8.json";
    lms["accelerator"] = serde_json::from_str(&read(accelerator)).expect("JSON");
    fs::write(folder.path().join("lms.json"), text(&lms)).expect("written");
    fs::write(folder.path().join("x.json"), text(&experiment())).expect("written");
    folder
}

/// The one line of a text that has some words in it.
fn line<'t>(text: &'t str, words: &str) -> &'t str {
    let mut found = text.lines().filter(|line| line.contains(words));
    let line = found.next().unwrap_or_else(|| panic!("{words:?} in {text}"));
    assert_eq!(found.next(), None, "{words:?} twice in {text}");
    line.trim()
}

fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(folder, &[arguments, &["--json"]].concat())).expect("JSON")
}

#[test]
fn a_network_that_recovers_is_not_called_divergent() {
    let folder = folder();
    let curves = |report: &Value, name: &str| {
        let losses = report[name]["loss_bits"].as_array().expect("losses").clone();
        let losses: Vec<f64> = losses.iter().map(|l| l.as_f64().unwrap_or(f64::INFINITY)).collect();
        (losses, report[name]["initial"]["loss_bits"].as_f64().expect("a loss"))
    };
    let (mut recovered, mut without, mut diverged) = (0, 0, 0);
    for (seed, rate) in (1..=4).flat_map(|seed| [2.0, 3.0, 5.0].map(|rate| (seed, rate))) {
        let [seed, rate] = [format!("seed={seed}"), format!("training.rate={rate}")];
        let set = ["--set", &seed, "--set", &rate, "--set", "training.epochs=4"];
        let train = [&["train", "x.json"][..], &set].concat();
        let (report, said) = (json_of(folder.path(), &train), printed(folder.path(), &train));
        let mut ended = [false; 2];
        for (ended, name) in ended.iter_mut().zip(["golden", "fixed"]) {
            let (losses, initial) = curves(&report, name);
            *ended = losses.last().is_some_and(|&last| last > initial);
            assert_eq!(report[name]["ended_worse"], *ended, "{seed} {rate} {name}");
            let above = losses.iter().position(|&loss| loss > initial);
            let Some(at) = above else { continue };
            let words = format!("the {name} loss of epoch {} is above that of the initial", at + 1);
            let line = line(&said, &words);
            assert_eq!(line.starts_with("DIVERGED"), *ended, "{line}");
            assert_eq!(line.ends_with("it ended below"), !*ended, "{line}");
            recovered += u32::from(!*ended);
        }
        let diagnosis = line(&said, "diagnosis: ");
        assert_eq!(
            diagnosis.contains("fixed point diverged, and golden did not"),
            ended == [false, true]
        );
        assert_eq!(diagnosis.contains("golden diverged, too"), ended == [true, true]);
        assert_eq!(diagnosis.contains("golden diverged: "), ended == [true, false]);
        assert_eq!(
            said.contains("golden diverged: its accuracy is no reference"),
            ended[0],
            "{said}"
        );
        assert_eq!(report["judged"].is_null(), ended[0]);
        without += u32::from(ended[0]);
        diverged += u32::from(ended == [false, true]);
    }
    assert!(
        recovered > 0 && without > 0,
        "{recovered} recovered, {without} without, {diverged} diverged"
    );
}

#[test]
fn a_regression_has_the_same_ratio_in_every_command() {
    let folder = folder();
    let folder = folder.path();
    let coarse = ["--set", "precision.weights=Q2.3"];
    let train = [&["train", "lms.json", "--seeds", "3", "--out", "b"], &coarse[..]].concat();
    let said = printed(folder, &train);
    printed(folder, &["train", "lms.json", "--seeds", "3", "--out", "a"]);
    let ratio = line(&said, "for seeds like these (95 %)");
    let ratio = ratio.split_once("fixed loss is ").expect("a ratio").1;
    assert!(!ratio.starts_with('1'), "coarse weights lose: {ratio}");

    let sweep = json!({
        "name": "w", "experiment": "lms.json", "seeds": 3,
        "axes": [{ "name": "w", "path": "precision.weights", "values": ["Q2.3", "Q2.4"] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).expect("written");
    let swept = printed(folder, &["sweep", "s.json", "--margin", "1", "--out", "s"]);
    assert!(line(&swept, "for seeds like these").ends_with(ratio), "{swept}");
    assert!(
        swept.contains("at most 1.0000 above float's, a difference that judges nothing"),
        "{swept}"
    );
    let runs: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("s/analysis.json")).expect("read"))
            .expect("JSON");
    assert!(runs["points"][0]["test"]["judged"].is_null());
    for page in ["s", "b"] {
        printed(folder, &["report", page]);
        let html = fs::read_to_string(folder.join(page).join("report.html")).expect("a page");
        assert!(html.contains(ratio), "{page}");
    }

    let pointed = printed(folder, &[&["point", "lms.json", "--out", "p"], &coarse[..]].concat());
    let alone = json_of(folder, &[&["train", "lms.json"], &coarse[..]].concat());
    let times = alone["regression"]["ratio"].as_f64().expect("a ratio");
    assert!(
        pointed.contains(&format!("fixed loss is {times:.2} x float's with one seed")),
        "{pointed}"
    );
    assert!(!pointed.contains("points"), "{pointed}");

    let compared = json_of(folder, &["compare", "a", "b"]);
    let losses = |run: &str| {
        let text = fs::read_to_string(folder.join(run).join("report.json")).expect("a report");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        let seeds = report["seeds"].as_array().expect("seeds").clone();
        seeds
            .iter()
            .map(|s| s["fixed"]["loss_bits"].as_f64().expect("a loss").ln())
            .collect::<Vec<_>>()
    };
    let logs: Vec<f64> = losses("b").iter().zip(losses("a")).map(|(b, a)| b - a).collect();
    let mean = (logs.iter().sum::<f64>() / 3.0).exp();
    let found = compared["regression_over_seeds"]["ratio"].as_f64().expect("a ratio");
    assert!((found / mean - 1.0).abs() < 1e-9, "{found} {mean}");
    let first = compared["regression"]["ratio"].as_f64().expect("a ratio");
    assert!((first / logs[0].exp() - 1.0).abs() < 1e-9, "{first}");
    let said = printed(folder, &["compare", "a", "b"]);
    assert!(said.contains(&format!("right's loss is {first:.2} x left's (p ")), "{said}");
}

#[test]
fn compare_pairs_seeds_and_knows_who_diverged() {
    let folder = folder();
    let folder = folder.path();
    let train = |out: &str, more: &[&str]| {
        printed(folder, &[&["train", "x.json", "--out", out], more].concat());
    };
    train("one", &["--seeds", "3"]);
    train("narrow", &["--seeds", "2", "--set", "seed=2", "--set", "precision.weights.bits=3"]);
    train("other", &["--set", "seed=9"]);
    train("diverged", &["--seeds", "3", "--set", "training.rate=40"]);

    let common = printed(folder, &["compare", "one", "narrow"]);
    assert!(common.contains("over the 2 seeds that both ran, right loses "), "{common}");
    assert!(common.contains("of these two networks (seeds 1 and 2)"), "{common}");
    let found = json_of(folder, &["compare", "one", "narrow"]);
    assert_eq!(found["common_seeds"], json!([2, 3]));
    assert_eq!(found["judged"]["by_seed"].as_array().map(Vec::len), Some(2));

    let none = printed(folder, &["compare", "one", "other"]);
    assert!(none.contains("no seed was run by both"), "{none}");
    assert!(!none.contains("right loses"), "{none}");
    assert!(json_of(folder, &["compare", "one", "other"])["judged"].is_null());

    let reference = printed(folder, &["compare", "diverged", "one"]);
    assert!(reference.contains("left diverged: its accuracy is no reference"), "{reference}");
    let diverged = printed(folder, &["compare", "one", "diverged"]);
    assert!(
        diverged.contains("3 seeds of 3 fail") && diverged.contains(", diverged)"),
        "{diverged}"
    );
}

#[test]
fn a_point_and_a_sweep_say_where_golden_is_no_reference() {
    let folder = folder();
    let folder = folder.path();
    let set = ["--set", "training.rate=40"];
    let pointed = printed(folder, &[&["point", "x.json", "--out", "p"], &set[..]].concat());
    assert!(pointed.contains("golden diverged: its accuracy is no reference"), "{pointed}");
    assert!(!pointed.contains("NaN"), "{pointed}");
    let well = printed(folder, &["point", "x.json", "--out", "p"]);
    assert!(well.contains("points on samples like these 300"), "{well}");

    let sweep = json!({
        "name": "r", "experiment": "x.json", "seeds": 2,
        "axes": [{ "name": "rate", "path": "training.rate", "values": [0.5, 40.0] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).expect("written");
    let swept = printed(folder, &["sweep", "s.json", "--margin", "0.5"]);
    assert!(
        swept.contains("1 point cannot be selected, as golden diverged with seeds of it"),
        "{swept}"
    );
}

#[test]
fn a_page_tells_what_other_seeds_say_of_a_winner() {
    let folder = folder();
    let folder = folder.path();
    let sweep = json!({
        "name": "b", "experiment": "x.json", "seeds": 2,
        "axes": [{ "name": "bits", "path": "precision.weights.bits", "values": [6, 8] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).expect("written");
    let said = printed(
        folder,
        &[
            "sweep",
            "s.json",
            "--set",
            "experiment.training.rate=0.1",
            "--confirm",
            "--margin",
            "0.2",
            "--out",
            "s",
        ],
    );
    let confirmed = line(&said, "confirmed: within 20.00 points on these 29 seeds");
    printed(folder, &["report", "s"]);
    let html = fs::read_to_string(folder.join("s/report.html")).expect("a page");
    assert!(html.contains(confirmed) && html.contains("29 other seeds"), "{confirmed}");
}
