//! Sweeps: the figures of paired training, the same bytes for any number of jobs, through a SIGKILL and
//! from single points, and every mistake refused before anything is lost.

use crate::shell;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use systoliq_run::SEMANTICS;

/// A sweep of a small experiment over 2 x 2 points and 2 seeds.
fn sweep() -> Value {
    json!({
        "name": "small",
        "experiment": "x.json",
        "seeds": 2,
        "axes": [
            { "path": "precision.weights.bits", "values": [3, 8] },
            { "name": "rate", "path": "training.rate", "values": [0.5, 0.25] }
        ]
    })
}

/// A folder with the experiment, and a sweep of it.
fn folder(sweep: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.json"), shell::text(&shell::experiment())).unwrap();
    fs::write(folder.path().join("s.json"), shell::text(sweep)).unwrap();
    folder
}

/// Runs the sweep in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    shell::systoliq(folder, &[&["sweep", "s.json"], arguments].concat())
}

/// The same; it must succeed.
fn run_well(folder: &Path, arguments: &[&str]) -> Output {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The message of a sweep that must be refused.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = shell::remarks(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    // That runs in the folder are of other data is known after these were read.
    let message: Vec<&str> = said.lines().filter(|line| !line.starts_with("warning: ")).collect();
    assert!(message.len() == 1 && message[0].starts_with("error: "), "{said}");
    message[0].to_owned()
}

/// Every file of a folder but `timing.json`, which alone may differ.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let names = shell::tree(folder).into_iter().filter(|name| folder.join(name).is_file());
    let named = names.filter(|name| !name.ends_with("timing.json"));
    named
        .map(|name| {
            let text = fs::read_to_string(folder.join(&name)).unwrap();
            (name.to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn assert_same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (contents(ours), contents(theirs));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, text) in &ours {
        assert!(*text == theirs[name], "{name} differs");
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The lines of a store.
fn lines(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("points.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_run_has_the_figures_of_paired_training() {
    let folder = folder(&sweep());
    let folder = folder.path();
    run_well(folder, &["--out", "out", "--set", "experiment.training.epochs=2"]);
    let lines = lines(&folder.join("out"));
    assert_eq!(lines.len(), 8);
    for (at, line) in lines.iter().enumerate() {
        // The last axis varies fastest, and all seeds of a point stand together.
        let (bits, rate, seed) = ([3, 8][at / 4], [0.5, 0.25][at / 2 % 2], 1 + at % 2);
        let set = [
            format!("precision.weights.bits={bits}"),
            format!("training.rate={rate}"),
            format!("seed={seed}"),
            "training.epochs=2".to_owned(),
        ];
        let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let train = [&["train", "x.json", "--json"], &set[..]].concat();
        let report: Value = serde_json::from_str(&shell::printed(folder, &train)).unwrap();
        let found = &line["outcome"]["done"];
        assert_eq!(line["experiment"], report["experiment"], "{at}");
        assert_eq!(found["cycles"], report["cycles"], "{at}");
        assert_eq!(found["energy_pj"], report["energy_pj"], "{at}");
        assert_eq!(found["macs"], report["macs"], "{at}");
        for network in ["fixed", "golden"] {
            let (found, report) = (&found[network], &report[network]);
            assert_eq!(found["test"]["loss"], report["loss_bits"], "{at} {network}");
            assert_eq!(found["training_loss"], report["training_loss"], "{at} {network}");
            for (part, rates) in [("test", "error_rate"), ("validation", "validation_error_rate")] {
                let count = found[part]["count"].as_f64().unwrap();
                let errors = found[part]["errors"].as_array().unwrap().iter();
                let errors: Vec<f64> = errors.map(|n| n.as_f64().unwrap() / count).collect();
                assert_eq!(json!(errors), report[rates], "{at} {network} {part}");
            }
        }
        for (found, report) in
            found["tensors"].as_array().unwrap().iter().zip(report["precision"].as_array().unwrap())
        {
            for key in [
                "name",
                "role",
                "layer",
                "format",
                "sqnr_db",
                "saturation_rate",
                "underflow_rate",
                "stalled_rate",
            ] {
                assert_eq!(found[key], report[key], "{at} {key}");
            }
        }
    }
    let analysis = json_of(&folder.join("out/analysis.json"));
    let test = &analysis["points"][3]["test"];
    let lost = |at: usize| {
        let last = |network: &str| {
            let errors =
                lines[at]["outcome"]["done"][network]["test"]["errors"].as_array().unwrap();
            errors.last().unwrap().as_f64().unwrap()
        };
        (last("fixed") - last("golden")) / 300.0
    };
    assert_eq!(test["by_seed"], json!([lost(6), lost(7)]));
    assert_eq!(test["mean"], json!((lost(6) + lost(7)) / 2.0));
}

#[test]
fn one_job_and_two_and_single_points_write_the_same_bytes() {
    let folder = folder(&sweep());
    let folder = folder.path();
    let one = run_well(folder, &["--out", "one", "--jobs", "1"]);
    let two = run_well(folder, &["--out", "two", "--jobs", "2"]);
    assert_eq!(String::from_utf8(one.stdout).unwrap(), String::from_utf8(two.stdout).unwrap());
    assert_same(&folder.join("one"), &folder.join("two"));
    let json = run_well(folder, &["--json"]).stdout;
    let analysis = fs::read_to_string(folder.join("one/analysis.json")).unwrap();
    assert_eq!(String::from_utf8(json).unwrap(), analysis);
    // Nothing is left to do, and nothing changes.
    run_well(folder, &["--out", "one", "--resume"]);
    assert_same(&folder.join("one"), &folder.join("two"));

    // Three of the eight runs as processes of their own, one of them twice.
    for (bits, seed) in [("3", "1"), ("8", "2"), ("8", "2"), ("8", "1")] {
        let set = [format!("precision.weights.bits={bits}"), format!("seed={seed}")];
        let point = ["point", "x.json", "--out", "three", "--set", &set[0], "--set", &set[1]];
        let said = shell::printed(folder, &point);
        assert!(said.contains("done: error "), "{said}");
    }
    let points = folder.join("three/points");
    let files = shell::tree(&points);
    assert_eq!(files.len(), 3, "{files:?}");
    let mut stored = lines(&folder.join("one"));
    stored.retain(|line| {
        files.contains(Path::new(&format!("{}.json", line["key"].as_str().unwrap())))
    });
    assert_eq!(stored.len(), 3, "keys of points and of the sweep");
    // What they found is taken, not run again: a mark on one of them stays.
    let marked = points.join(files.first().unwrap());
    let text = fs::read_to_string(&marked).unwrap();
    let (found, mark) = ("\"saturation_rate\":0.0,", "\"saturation_rate\":0.123,");
    fs::write(&marked, text.replacen(found, mark, 1)).unwrap();
    run_well(folder, &["--out", "three", "--resume"]);
    let text = fs::read_to_string(folder.join("three/points.jsonl")).unwrap();
    assert_eq!(text.matches(mark).count(), 1);
    let unmarked = text.replace(mark, found);
    assert_eq!(unmarked, fs::read_to_string(folder.join("one/points.jsonl")).unwrap());
}

#[test]
fn a_sweep_killed_ten_times_loses_nothing_and_ends_with_the_same_bytes() {
    let mut spec = sweep();
    spec["seeds"] = json!(12);
    let folder = folder(&spec);
    let folder = folder.path();
    let start = Instant::now();
    run_well(folder, &["--out", "whole", "--jobs", "2"]);
    let duration = start.elapsed();

    let out = folder.join("killed");
    let spawn = |resume: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"));
        command.args(["sweep", "s.json", "--out", "killed", "--jobs", "2"]).current_dir(folder);
        command.args(resume.then_some("--resume")).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    // Whole lines of the store, each with what it holds.
    let whole = || -> Vec<String> {
        let text = fs::read_to_string(out.join("points.jsonl")).unwrap_or_default();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
    };
    let mut state = 0x2545_f491_u32;
    let mut in_time = 0;
    for kills in 1..=10 {
        let before = whole();
        let mut child = spawn(out.exists());
        // An xorshift generator: from the first milliseconds to a sixth of a whole sweep.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let share = f64::from(state) / f64::from(u32::MAX) / 6.0;
        std::thread::sleep(duration.mul_f64(share).max(Duration::from_millis(2)));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        in_time += u32::from(!ended);
        let after = whole();
        if !ended {
            assert!(after.starts_with(&before), "lines of {kills} kills stay");
        }
        let mut keys: Vec<&str> = after.iter().map(|line| &line[..41]).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a run twice after {kills} kills");
    }
    let before = whole().len();
    run_well(folder, &["--out", "killed", "--resume"]);
    assert_same(&out, &folder.join("whole"));
    assert!(before > 0, "no run ended before a kill");
    assert!(in_time >= 5, "only {in_time} kills came in time");
}

#[test]
fn a_line_that_was_cut_short_is_dropped_and_said_and_its_run_done_again() {
    let folder = folder(&sweep());
    let folder = folder.path();
    run_well(folder, &["--out", "whole"]);
    run_well(folder, &["--out", "cut"]);
    let store = folder.join("cut/points.jsonl");
    let length = fs::metadata(&store).unwrap().len();
    let cut = |by: u64| {
        OpenOptions::new().write(true).open(&store).unwrap().set_len(length - by).unwrap()
    };
    for by in [1, 100, 2000] {
        cut(by);
        let output = run_well(folder, &["--out", "cut", "--resume"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("warning: cut/points.jsonl: its last line was cut short"),
            "{said}"
        );
        assert_same(&folder.join("cut"), &folder.join("whole"));
    }
    // Damage elsewhere is not what a kill leaves.
    let text = fs::read_to_string(&store).unwrap();
    fs::write(&store, text.replacen("{\"key\":\"", "{\"key\":\"x", 1)).unwrap();
    let message = refused(folder, &["--out", "cut", "--resume"]);
    assert!(message.contains("cut/points.jsonl: line 1 of the store is damaged"), "{message}");
}

#[test]
fn a_folder_of_another_sweep_is_refused_and_stays_as_it_is() {
    let folder = folder(&sweep());
    let folder = folder.path();
    run_well(folder, &["--out", "out"]);
    let before = contents(&folder.join("out"));
    for (arguments, said) in [
        (&["--out", "out"][..], "out holds the results of a sweep (sweep.json): --resume goes on"),
        (&["--out", "out", "--resume", "--set", "seeds=3"], "another sweep: seeds was 2 and is 3"),
        (
            &["--out", "out", "--resume", "--set", "experiment.precision.error=Q2.4"],
            "experiment.precision.error was \"Q2.6\" and is \"Q2.4\"",
        ),
        (
            &["--out", "out", "--resume", "--set", "axes[0].values=[3, 7]"],
            "axes[0].values[1] was 8 and is 7",
        ),
    ] {
        let message = refused(folder, arguments);
        assert!(message.contains(said), "{message}");
    }
    let manifest = folder.join("out/sweep.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut saved: Value = serde_json::from_str(&text).unwrap();
    for (found, said) in [
        (
            json!(SEMANTICS + 1),
            format!("states `semantics` {}, expected {SEMANTICS}", SEMANTICS + 1),
        ),
        (json!(null), format!("states `semantics` null, expected {SEMANTICS}")),
    ] {
        saved["semantics"] = found;
        fs::write(&manifest, saved.to_string()).unwrap();
        let message = refused(folder, &["--out", "out", "--resume"]);
        assert!(message.contains(&said) && message.contains("in another folder"), "{message}");
    }
    let members = saved.as_object_mut().unwrap();
    members.remove("semantics");
    members.insert("version".into(), json!("0.1.0"));
    fs::write(&manifest, saved.to_string()).unwrap();
    let message = refused(folder, &["--out", "out", "--resume"]);
    assert!(message.contains(&format!("no `semantics`, expected {SEMANTICS}")), "{message}");
    fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    assert!(refused(folder, &["--out", "out", "--resume"]).contains("sweep.json is damaged"));
    fs::remove_file(&manifest).unwrap();
    assert!(
        refused(folder, &["--out", "out", "--resume"]).contains("points.jsonl, but no sweep.json")
    );
    fs::write(&manifest, text).unwrap();
    assert_eq!(contents(&folder.join("out")), before);
}

#[test]
fn runs_that_fail_are_recorded_and_stop_nothing() {
    let mut spec = sweep();
    spec["axes"][0]["values"] = json!([8, 99, "many"]);
    let folder = folder(&spec);
    let folder = folder.path();
    let output = run_well(folder, &["--out", "out"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("small: 6 points of small, 2 seeds each, 8 failed"), "{text}");
    let said = " FAILED 4 runs, the first precision.weights.bits 99, rate 0.5, seed 1: ";
    assert!(text.contains(said), "{text}");
    assert_eq!(text.matches(" FAILED 4 runs, the first ").count(), 2, "{text}");
    let lines = lines(&folder.join("out"));
    let failed = |at: usize| lines[at]["outcome"]["failed"].as_str().unwrap_or_default().to_owned();
    assert_eq!(lines.len(), 12);
    assert!((0..4).all(|at| failed(at).is_empty()));
    assert!((4..8).all(|at| failed(at).contains("99")), "{}", failed(4));
    assert!(
        (8..12).all(|at| failed(at).contains("precision.weights.bits: invalid type")),
        "{}",
        failed(8)
    );
    let analysis = json_of(&folder.join("out/analysis.json"));
    let point = |at: usize| analysis["points"][at].clone();
    assert!(point(1)["costs"].is_object() && point(1)["failed"] == json!({}));
    assert!(point(4)["costs"].is_null() && point(4)["failed"]["2"].is_string());
    let numbers = analysis["fronts"]["energy_pj"].as_array().unwrap();
    assert!(!numbers.is_empty() && numbers.iter().all(|at| at.as_u64().unwrap() < 2));
}

#[test]
fn a_divergent_run_is_done_and_said() {
    let mut spec = sweep();
    spec["axes"][1]["values"] = json!([0.5, 64]);
    let folder = folder(&spec);
    let text = String::from_utf8(run_well(folder.path(), &["--out", "out"]).stdout).unwrap();
    assert!(text.lines().next().unwrap().contains(" diverged"), "{text}");
    let analysis = json_of(&folder.path().join("out/analysis.json"));
    assert_eq!(analysis["points"][3]["diverged"], json!([1, 2]));
    assert!(analysis["points"][3]["test"]["fixed"].as_f64().unwrap() > 0.5);
}

#[test]
fn sweeps_that_cannot_be_are_refused_before_anything_is_written() {
    let wide = json!([
        { "path": "training.epochs", "values": "1..=1001" },
        { "path": "training.batch", "values": "1..=1000" }
    ]);
    for (at, new, said) in [
        (
            "/axes/0/path",
            json!("precision.weight.bits"),
            "s.json:4:7: axes[0].path: no path `precision.weight.bits` in an experiment; the nearest is \
             `precision.weights.bits`",
        ),
        ("/axes/0/values", json!([]), "axes[0].values: an empty axis, expected at least one value"),
        ("/axes/0/values", json!("8..=3"), "has no values: expected \"3..=8\""),
        ("/axes/0/values", json!("8..10"), "or a range such as \"2..=10\""),
        ("/axes/0/values", json!([8, 8]), "axes[0].values: 8 stands twice"),
        ("/axes/0/values", json!([8, 8.0]), "axes[0].values: 8.0 stands twice"),
        (
            "/axes/0",
            json!({ "name": "twins", "bundles": [
                { "name": "a", "set": { "precision.weights.bits": 8 } },
                { "name": "b", "set": { "precision.weights.bits": 8 } }
            ] }),
            "s.json: the points `twins a, rate 0.5` and `twins b, rate 0.5` are one experiment",
        ),
        (
            "/axes/0",
            json!({ "path": "training.teacher_forced", "values": [true] }),
            "no point can be run; the first: training.teacher_forced: its steps need golden's weights",
        ),
        (
            "/axes/1/path",
            json!("precision.weights"),
            "axes[1]: sets `precision.weights`, and the axis",
        ),
        ("/axes/1/name", json!("precision.weights.bits"), "axes[1]: a second axis of the name"),
        (
            "/axes",
            wide,
            "axes: 1001000 points with 2 seeds each: expected at most 1000000 runs, or --yes",
        ),
        ("/axes/0/steps", json!(3), "axes[0].steps: unknown field `steps`"),
        ("/seeds", json!([1, 1]), "seeds: 1 stands twice"),
        ("/seeds", json!("all"), "seeds: invalid type: string \"all\", expected a number of seeds"),
        ("/mode", json!("some"), "mode: unknown variant `some`"),
        ("/mode", json!({ "random": { "points": 5, "seed": 1 } }), "5 points of a grid of 4"),
        ("/experiment", json!("absent.json"), "experiment: cannot read absent.json: no such file"),
        ("/axes/0/values", json!([98, 99]), "s.json: no point can be run; the first: "),
        ("/name", json!(""), "name: empty"),
    ] {
        let mut spec = sweep();
        let (parent, name) = at.rsplit_once('/').unwrap();
        match spec.pointer_mut(at) {
            Some(found) => *found = new,
            None => spec.pointer_mut(parent).unwrap()[name] = new,
        }
        let folder = folder(&spec);
        let before = shell::tree(folder.path());
        let message = refused(folder.path(), &["--out", "out"]);
        assert!(message.contains(said), "{at}: {message}");
        assert_eq!(shell::tree(folder.path()), before, "{at}");
    }
    let folder = folder(&sweep());
    let mut experiment = shell::experiment();
    experiment["network"]["loss"] = json!("none");
    fs::write(folder.path().join("x.json"), shell::text(&experiment)).unwrap();
    let message = refused(folder.path(), &["--out", "out"]);
    let line = 1 + shell::text(&experiment).lines().position(|l| l.contains("\"none\"")).unwrap();
    let said = format!(
        "x.json:{line}:5: no point can be run; the first: network.loss: unknown variant `none`"
    );
    assert!(message.contains(&said), "{said}: {message}");
    fs::write(folder.path().join("x.json"), shell::text(&shell::experiment())).unwrap();
    for (arguments, said) in [
        (&["--resume"][..], "--out"),
        (&["--jobs", "0"], "--jobs"),
        (&["--margin", "nan"], "expected a fraction from 0 to 1, such as 0.005"),
        (&["--loss", "-1"], "expected a fraction from 0 to 1, such as 0.005"),
        (
            &["--confirm", "--set", "seeds=[18446744073709551600]"],
            "--confirm: there are no 116 seeds after 18446744073709551600",
        ),
        (&["--out", "s.json"], "cannot write to the folder s.json"),
    ] {
        let output = run(folder.path(), arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with("error: ") && message.contains(said), "{message}");
    }
}

/// *Within* speaks of the seeds trained; only seeds that took no part, 29 at least, confirm.
#[test]
fn a_winner_is_confirmed_by_29_other_seeds_and_not_by_those_that_chose_it() {
    let mut spec = sweep();
    spec["axes"][0]["values"] = json!([8]);
    let folder = folder(&spec);
    let folder = folder.path();
    // No loss is beyond so wide a margin, and no seed fails it.
    let wide = ["--loss", "0.99", "--out", "out", "--set", "experiment.training.epochs=6"];
    let said = |more: &[&str]| {
        String::from_utf8(run_well(folder, &[&wide[..], more].concat()).stdout).unwrap()
    };
    let text = said(&[]);
    let within = "within 99.00 points on these 2 seeds; up to 78 % of seeds may fail";
    assert!(text.contains("no seed of 2 fails; up to 78 % may; worst "), "{text}");
    assert!(text.contains(within) && !text.contains("confirmed"), "{text}");
    let text = said(&["--resume", "--confirm"]);
    let confirmed =
        "confirmed: within 99.00 points on these 29 seeds, none of which fails; up to 10 % may";
    assert!(text.contains(within) && text.contains(confirmed), "{text}");
    let analysis = json_of(&folder.join("out/analysis.json"));
    let looked = &analysis["looked_at"][0];
    assert_eq!(looked["point"], analysis["within"]["cheapest"]["energy_pj"]);
    assert_eq!(looked["seeds"], json!((3..=31).collect::<Vec<_>>()));
    assert_eq!(looked["test"]["judged"]["verdict"], "confirmed");
    // Those runs are kept: nothing is run again, and a sweep without them loses none.
    let before = contents(&folder.join("out"));
    assert_eq!(said(&["--resume", "--confirm"]), text);
    assert_eq!(contents(&folder.join("out")), before);
    said(&["--resume"]);
    assert_eq!(contents(&folder.join("out"))["points.jsonl"].lines().count(), 4 + 29);
}

/// The losses of what is printed are those of the samples that each network gets right.
#[test]
fn the_store_keeps_which_samples_each_network_gets_right() {
    let folder = folder(&sweep());
    let folder = folder.path();
    run_well(folder, &["--out", "out"]);
    let bits = |right: &Value| -> Vec<bool> {
        let (count, digits) = right.as_str().unwrap().split_once(':').unwrap();
        let values = digits.chars().map(|digit| digit.to_digit(16).unwrap());
        let all = values.flat_map(|value| (0..4).map(move |at| value >> (3 - at) & 1 == 1));
        all.take(count.parse().unwrap()).collect()
    };
    let lines = lines(&folder.join("out"));
    let analysis = json_of(&folder.join("out/analysis.json"));
    for (at, line) in lines.iter().enumerate() {
        let found = &line["outcome"]["done"];
        for part in ["validation", "test"] {
            let of = |network: &str| bits(&found[network][part]["right"]);
            let (golden, fixed) = (of("golden"), of("fixed"));
            for (network, right) in [("golden", &golden), ("fixed", &fixed)] {
                let errors = found[network][part]["errors"].as_array().unwrap().last().unwrap();
                assert_eq!(
                    *errors,
                    right.iter().filter(|right| !**right).count(),
                    "{at} {network}"
                );
            }
            let alone = |ours: &[bool], theirs: &[bool]| {
                ours.iter().zip(theirs).filter(|(ours, theirs)| **ours && !**theirs).count()
            };
            let seed = &analysis["points"][at / 2][part]["judged"]["by_seed"][at % 2];
            assert_eq!(seed["only_golden_right"], alone(&golden, &fixed), "{at} {part}");
            assert_eq!(seed["only_fixed_right"], alone(&fixed, &golden), "{at} {part}");
        }
    }
    // Other samples than errors are refused.
    let store = folder.join("out/points.jsonl");
    let text = fs::read_to_string(&store).unwrap();
    let start = text.find("\"right\":\"").unwrap() + "\"right\":\"".len();
    let digit = start + text[start..].find(':').unwrap() + 1;
    let other = if &text[digit..=digit] == "0" { "f" } else { "0" };
    fs::write(&store, text[..digit].to_owned() + other + &text[digit + 1..]).unwrap();
    let message = refused(folder, &["--out", "out", "--resume"]);
    assert!(message.contains("line 1 of the store is damaged"), "{message}");
}

#[test]
fn data_that_have_changed_under_their_name_are_refused() {
    let folder = folder(&sweep());
    let folder = folder.path();
    let rows = |shift: i32| {
        (0..40).map(|i| format!("{i},{},{}\n", (i + shift) % 3, i % 2)).collect::<String>()
    };
    fs::write(folder.join("data.csv"), rows(0)).unwrap();
    let mut experiment = shell::experiment();
    experiment["dataset"] = json!({ "kind": "csv", "path": "data.csv", "classes": 2, "test": 5 });
    experiment["network"]["input"] = json!([2]);
    experiment["network"]["layers"][2]["dense"]["units"] = json!(2);
    experiment["training"]["batch"] = json!(7);
    fs::write(folder.join("x.json"), shell::text(&experiment)).unwrap();
    let text = String::from_utf8(run_well(folder, &["--out", "out"]).stdout).unwrap();
    assert!(!text.contains("lost, validation"), "there is no validation part: {text}");
    // Whether all runs are there or one is missing.
    let store = folder.join("out/points.jsonl");
    let all = fs::read_to_string(&store).unwrap();
    fs::write(folder.join("data.csv"), rows(1)).unwrap();
    for runs in [8, 7] {
        let kept: String = all.split_inclusive('\n').take(runs).collect();
        fs::File::create(&store).unwrap().write_all(kept.as_bytes()).unwrap();
        let message = refused(folder, &["--out", "out", "--resume"]);
        assert!(message.contains("on other data under the same name"), "{message}");
        assert_eq!(fs::read_to_string(&store).unwrap(), kept);
    }
    // Runs that other processes have made of different data are not compared with each other.
    let mut kept: Vec<&str> = all.split_inclusive('\n').collect();
    let fingerprint = json_line(kept[0])["outcome"]["done"]["data"].as_str().unwrap().to_owned();
    let other = kept[2].replace(&fingerprint, "0123456789abcdef");
    kept[2] = &other;
    fs::write(&store, kept.concat()).unwrap();
    fs::write(folder.join("data.csv"), rows(0)).unwrap();
    let message = refused(folder, &["--out", "out", "--resume"]);
    assert!(message.contains("on other data under the same name"), "{message}");
}

fn json_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_line_with_scores_of_other_epochs_is_refused() {
    let folder = folder(&sweep());
    let folder = folder.path();
    run_well(folder, &["--out", "out"]);
    let store = folder.join("out/points.jsonl");
    let text = fs::read_to_string(&store).unwrap();
    for (from, to) in [("\"errors\":[", "\"errors\":[7,"), ("\"count\":300", "\"count\":0")] {
        let damaged = text.replacen(from, to, 1);
        assert_ne!(damaged, text);
        fs::write(&store, &damaged).unwrap();
        let message = refused(folder, &["--out", "out", "--resume"]);
        for said in
            ["out/points.jsonl: line 1 of the store is damaged: ", "losses and errors are not"]
        {
            assert!(message.contains(said), "{message}");
        }
        assert_eq!(fs::read_to_string(&store).unwrap(), damaged);
    }
}

#[test]
fn a_folder_of_a_run_or_a_search_takes_no_sweep_and_no_point() {
    let folder = folder(&sweep());
    let folder = folder.path();
    shell::printed(folder, &["train", "x.json", "--out", "run"]);
    run_well(folder, &["--out", "swept"]);
    for (arguments, said) in [
        (&["sweep", "s.json", "--out", "run"][..], "run holds a run (report.json)"),
        (&["sweep", "s.json", "--out", "run", "--resume"], "run holds a run (report.json)"),
        (&["point", "x.json", "--out", "run"], "run holds a run (report.json)"),
        (&["train", "x.json", "--out", "swept"], "swept holds a sweep (sweep.json)"),
    ] {
        let output = shell::systoliq(folder, arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(said), "{arguments:?}: {message}");
    }
}

#[test]
fn the_sweep_of_the_models_has_225_runs() {
    let path = shell::root().join("models/sweeps/digits-bits.json").display().to_string();
    let sweep = json_of(Path::new(&path));
    let gradients = sweep["axes"][1]["values"].as_array().unwrap().len();
    let bits = &sweep["axes"][0]["values"];
    assert_eq!((bits, gradients, &sweep["seeds"]), (&json!("2..=10"), 5, &json!(5)));
    // One epoch of one run: that it can be read and run.
    let one = "mode={\"random\": {\"points\": 1, \"seed\": 1}}";
    let set = ["--set", "experiment.training.epochs=1", "--set", "seeds=1", "--set", one];
    let text = shell::printed(&shell::root(), &[&["sweep", &path], &set[..]].concat());
    assert!(text.starts_with("digits-bits: 1 point of digits-mlp, 1 seed"), "{text}");
}
