//! Searches: the same bytes for any number of jobs and through a SIGKILL, answers that training repeats,
//! runs that were given up for good reason, and every mistake refused.

use crate::shell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the small search may lose.
const BUDGET: f64 = 0.03;

/// Half of the seeds of the small search.
const HALF: usize = 2;

const SMALL: [&str; 6] = ["--margin", "0.03", "--seeds", "4", "--held-back", "3"];

/// A folder with a small experiment of eight epochs.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = shell::experiment();
    experiment["training"]["epochs"] = json!(8);
    experiment["training"]["rate"] = json!(0.25);
    experiment["network"]["layers"][0]["dense"]["units"] = json!(16);
    fs::write(folder.path().join("x.json"), shell::text(&experiment)).unwrap();
    folder
}

/// Runs the search in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    shell::systoliq(folder, &[&["search", "x.json"], arguments].concat())
}

/// The small search; it must succeed.
fn run_small(folder: &Path, out: &str, arguments: &[&str]) -> String {
    let output = run(folder, &[&SMALL[..], &["--out", out], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The message of a search that must be refused, with this exit status; what was read may stand above.
fn refused(folder: &Path, status: i32, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = shell::remarks(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    let message: Vec<&str> = said.lines().filter(|line| !line.starts_with("warning: ")).collect();
    assert!(message.first().is_some_and(|line| line.starts_with("error: ")), "{said}");
    message.join("\n")
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The lines of a store.
fn lines(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("points.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every file of a folder but `timing.json`, which alone may differ.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let names = shell::tree(folder).into_iter().filter(|name| folder.join(name).is_file());
    let named = names.filter(|name| !name.ends_with("timing.json"));
    let read = |name: &Path| fs::read_to_string(folder.join(name)).unwrap();
    named.map(|name| (name.to_string_lossy().into_owned(), read(&name))).collect()
}

fn assert_same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (contents(ours), contents(theirs));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, text) in &ours {
        assert!(*text == theirs[name], "{name} differs");
    }
}

/// What a run lost after each epoch on one part of the data, from whole numbers of errors.
fn lost(found: &Value, part: &str) -> Vec<f64> {
    let errors = |network: &str| -> Vec<f64> {
        let errors = found[network][part]["errors"].as_array().unwrap();
        errors.iter().map(|errors| errors.as_f64().unwrap()).collect()
    };
    let count = found["fixed"][part]["count"].as_f64().unwrap();
    errors("fixed").iter().zip(errors("golden")).map(|(a, b)| (a - b) / count).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn one_job_and_two_write_the_same_bytes_and_count_every_run() {
    let folder = folder();
    let folder = folder.path();
    let one = run_small(folder, "one", &["--jobs", "1"]);
    let two = run_small(folder, "two", &["--jobs", "2"]);
    assert_eq!(one, two);
    assert_same(&folder.join("one"), &folder.join("two"));
    // Nothing is left to do, and nothing changes.
    let json = run_small(folder, "one", &["--resume", "--json"]);
    assert_same(&folder.join("one"), &folder.join("two"));
    assert_eq!(json, fs::read_to_string(folder.join("one/search.json")).unwrap());

    let report = json_of(&folder.join("one/search.json"));
    let lines = lines(&folder.join("one"));
    let trainings = &report["trainings"];
    let stopped = lines.iter().filter(|line| line["outcome"]["stopped"].is_object()).count();
    assert!(stopped > 0, "no run was given up");
    assert_eq!(trainings["total"], lines.len());
    assert_eq!(trainings["stopped"], stopped);
    assert_eq!(trainings["failed"], 0);
    assert_eq!(trainings["held_back"], 3);
    assert_eq!(trainings["search"], lines.len() - 3);
    let last = report["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(last["trainings"], trainings["search"]);
    // Those that were held back took no part before the end.
    let seeds: Vec<u64> =
        lines.iter().map(|line| line["experiment"]["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds[seeds.len() - 3..], [5, 6, 7]);
    assert!(seeds[..seeds.len() - 3].iter().all(|seed| (1..=4).contains(seed)));
    let keys: BTreeSet<&str> = lines.iter().map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), lines.len(), "a run twice");
}

#[test]
fn a_search_that_is_killed_repeats_no_run_and_ends_with_the_same_bytes() {
    let folder = folder();
    let folder = folder.path();
    let start = Instant::now();
    run_small(folder, "whole", &["--jobs", "2"]);
    let duration = start.elapsed();
    let store = folder.join("killed/points.jsonl");
    let whole = || -> Vec<String> {
        let text = fs::read_to_string(&store).unwrap_or_default();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
    };
    let mut in_time = 0;
    for kill in 0..6 {
        let before = whole();
        let mut command = Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"));
        command.args(["search", "x.json", "--out", "killed", "--jobs", "2", "--resume"]);
        command.args(SMALL).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // From the first milliseconds to a third of a whole search.
        std::thread::sleep(
            duration.mul_f64(f64::from(kill * kill) / 75.0).max(Duration::from_millis(3)),
        );
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        in_time += u32::from(!ended);
        let after = whole();
        if !ended {
            assert!(after.starts_with(&before), "lines of {kill} kills stay");
        }
        let keys: BTreeSet<&str> = after.iter().map(|line| &line[..41]).collect();
        assert_eq!(keys.len(), after.len(), "a run twice after {kill} kills");
    }
    assert!(!whole().is_empty() && in_time >= 3, "{in_time} kills came in time");
    run_small(folder, "killed", &["--resume"]);
    assert_same(&folder.join("killed"), &folder.join("whole"));
}

#[test]
fn the_plan_trains_with_the_accuracy_and_the_energy_that_were_claimed() {
    let folder = folder();
    let folder = folder.path();
    run_small(folder, "out", &[]);
    let report = json_of(&folder.join("out/search.json"));
    let found = &report["found"];
    let checked = shell::printed(folder, &["check", "out/plan.json"]);
    for (seeds, test, costs) in [
        (&report["seeds"], &found["test"], &found["costs"]),
        (&report["held_back"], &found["held_back"]["test"], &found["held_back"]["costs"]),
    ] {
        let (mut losses, mut energies, mut cycles) = (Vec::new(), Vec::new(), Vec::new());
        for seed in seeds.as_array().unwrap() {
            let seed = format!("seed={seed}");
            let train = ["train", "out/plan.json", "--json", "--set", &seed];
            let trained: Value = serde_json::from_str(&shell::printed(folder, &train)).unwrap();
            let errors = |network: &str| {
                let rate = trained[network]["error_rate"].as_array().unwrap().last().unwrap();
                (300.0 * rate.as_f64().unwrap()).round()
            };
            losses.push((errors("fixed") - errors("golden")) / 300.0);
            energies.push(trained["energy_pj"]["total"].as_f64().unwrap());
            cycles.push(trained["cycles"]["total"].as_f64().unwrap());
        }
        assert_eq!(test["by_seed"], json!(losses));
        assert_eq!(test["mean"], json!(mean(&losses)));
        assert_eq!(costs["energy_pj"], json!(mean(&energies)));
        assert_eq!(costs["cycles"], json!(mean(&cycles)));
    }
    // The widths that are named are those of the plan as `systoliq check` resolves it.
    for width in found["widths"].as_array().unwrap() {
        let role = width["place"]["role"].as_str().unwrap();
        let role = role.split('.').next().unwrap();
        assert!(checked.contains(role), "{role}: {checked}");
    }
}

/// What a plan is: its experiment without the seed.
fn plan_of(experiment: &Value) -> Value {
    let mut plan = experiment.clone();
    plan["seed"] = Value::Null;
    plan
}

#[test]
fn the_answer_is_the_cheapest_plan_within_the_budget_with_every_run_at_its_end() {
    let folder = folder();
    let folder = folder.path();
    run_small(folder, "out", &[]);
    let report = json_of(&folder.join("out/search.json"));
    let steps = report["steps"].as_array().unwrap();
    let mut cheapest = f64::INFINITY;
    for step in steps {
        let lost = ["lost", "lost_lately"].map(|key| step[key].as_f64().unwrap());
        match step["verdict"].as_str().unwrap() {
            "within" => {
                assert!(lost.iter().all(|&lost| lost <= BUDGET) && step["seeds"] == 4, "{step}");
                cheapest = cheapest.min(step["cost"].as_f64().unwrap());
            }
            "beyond" => assert_eq!(step["seeds"], 4, "{step}"),
            "open" => assert!(step["how"] == "alone" && step["seeds"] == 2, "{step}"),
            _ => assert_eq!(step["verdict"], "given_up", "{step}"),
        }
    }
    assert_eq!(report["found"]["costs"]["energy_pj"], json!(cheapest));
    // From the lines alone: the plan's runs, all at their end, their means and standard errors.
    let plan = plan_of(&report["found"]["experiment"]);
    let lines = lines(&folder.join("out"));
    let runs: Vec<&Value> =
        lines.iter().filter(|line| plan_of(&line["experiment"]) == plan).collect();
    assert_eq!(runs.len(), 7);
    let searched = runs.iter().filter(|line| line["experiment"]["seed"].as_u64() <= Some(4));
    let curves: Vec<Vec<f64>> =
        searched.map(|line| lost(&line["outcome"]["done"], "validation")).collect();
    assert_eq!(curves.len(), 2 * HALF);
    let ends: Vec<f64> = curves.iter().map(|lost| lost[7]).collect();
    let lately: Vec<f64> = curves.iter().map(|lost| mean(&lost[6..])).collect();
    assert_eq!(report["found"]["validation"]["mean"], json!(mean(&ends)));
    for lost in [ends, lately] {
        let squares: Vec<f64> = lost.iter().map(|one| (one - mean(&lost)).powi(2)).collect();
        let error = (squares.iter().sum::<f64>() / 3.0 / 4.0).sqrt();
        assert!(mean(&lost) + error <= BUDGET + 1e-12, "{lost:?}");
    }
}

#[test]
fn no_more_runs_are_spent_than_allowed() {
    let folder = folder();
    let folder = folder.path();
    let whole = run_small(folder, "whole", &[]);
    assert!(!whole.contains("with more --runs"), "{whole}");
    let total = |out: &str| json_of(&folder.join(out).join("search.json"))["trainings"].clone();
    for runs in [40, 60] {
        let (out, runs_text) = (format!("out{runs}"), runs.to_string());
        let said = run_small(folder, &out, &["--runs", &runs_text]);
        assert!(said.contains("widths might go further with more --runs"), "{said}");
        let trainings = total(&out);
        assert_eq!(trainings["ran_out"], true);
        assert!(trainings["search"].as_u64() <= Some(runs), "{trainings}");
        assert!(total("whole")["search"].as_u64() > trainings["search"].as_u64());
    }
}

/// Every run that was given up, trained to its end: the rule held after that epoch and no earlier one, and
/// in the end the run lost more than the budget; and it held after no epoch of the runs that were tried
/// with it and were not.
#[test]
fn runs_are_given_up_by_the_rule_and_are_beyond_the_budget_in_the_end() {
    let folder = folder();
    let folder = folder.path();
    run_small(folder, "out", &[]);
    // After epoch 2 to 7 of 8; the latest epochs are two.
    let allowed = |found: &Value, epoch: usize| {
        let initial = found["golden"]["initial"]["errors"].as_f64().unwrap() / 300.0;
        BUDGET * HALF as f64 + 0.5 * (1.0 - epoch as f64 / 8.0) * initial
    };
    let least = |lost: &[f64], epoch: usize| lost[epoch - 2].min(lost[epoch - 1]);
    let first = |found: &Value| {
        let lost = lost(found, "validation");
        (2..8).find(|&epoch| least(&lost, epoch) > allowed(found, epoch))
    };
    let lines = lines(&folder.join("out"));
    let mut stopped = 0;
    for line in &lines {
        let seed = line["experiment"]["seed"].as_u64().unwrap();
        if let Value::Object(early) = &line["outcome"]["stopped"] {
            stopped += 1;
            fs::write(folder.join("full.json"), shell::text(&line["experiment"])).unwrap();
            let point = ["point", "full.json", "--out", "full", "--json"];
            let full: Value = serde_json::from_str(&shell::printed(folder, &point)).unwrap();
            assert_eq!(full["key"], line["key"]);
            let full = &full["outcome"]["done"];
            let epoch = first(full).unwrap();
            assert_eq!(early["epochs"], epoch, "{line}");
            let lost = lost(full, "validation");
            assert_eq!(early["lost"], json!(least(&lost, epoch)));
            let limit = early["allowed"].as_f64().unwrap();
            assert!((limit - allowed(full, epoch)).abs() < 1e-12, "{line}");
            assert!(*lost.last().unwrap() > BUDGET, "{line}: lost {lost:?} at the end");
        } else if seed <= 4 {
            assert_eq!(first(&line["outcome"]["done"]), None, "{line}");
        }
    }
    assert!(stopped > 0, "only {stopped} runs were given up");
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let folder = folder();
    let folder = folder.path();
    let budget = "expected a fraction from 0 to 1, such as 0.005";
    let seeds = "expected a number from 1 to 10000, A..=B or A,B,C with no seed twice";
    for (arguments, said) in [
        (&["--margin", "-0.1"][..], budget),
        (&["--margin", "1.5"], budget),
        (&["--margin", "nan"], budget),
        (&["--margin", "inf"], budget),
        (&["--margin", "half"], "invalid value 'half'"),
        (&["--loss-budget", "2"], budget),
        (
            &["--confirm", "--held-back", "29"],
            "--held-back: 29 seeds; --confirm may look at 116: expected as many, or none stated",
        ),
        (&["--margin", "0.1", "--seeds", "0"], seeds),
        (&["--margin", "0.1", "--seeds", "3,3"], seeds),
        (&["--margin", "0.1", "--held-back", "5..=4"], seeds),
        (
            &["--margin", "0.1", "--held-back", "4,10"],
            "--held-back: seed 4 is one of --seeds; expected others",
        ),
        (
            &["--margin", "0.1", "--seeds", "18446744073709551615..=18446744073709551615"],
            "--held-back: there are no 29 seeds from there on",
        ),
        (
            &["--margin", "0.1", "--set", "training.teacher_forced=true"],
            "training.teacher_forced: a teacher-forced network does not learn by itself",
        ),
        (&["--margin", "0.1", "--set", "precision.weights.bits=99"], "precision.weights"),
        (&["--margin", "0.1", "--set", "training.batch=5000"], "training.batch"),
    ] {
        let message = refused(folder, 2, &[arguments, &["--out", "out"]].concat());
        assert!(message.contains(said), "{message}");
    }
    assert!(!folder.join("out").exists(), "nothing is left of what was refused");
    let message = refused(folder, 2, &["--margin", "0.1", "--out", "x.json"]);
    assert!(message.contains("cannot write to the folder x.json"), "{message}");
}

#[test]
fn a_folder_of_something_else_is_refused_and_stays_as_it_is() {
    let folder = folder();
    let folder = folder.path();
    run_small(folder, "out", &[]);
    let before = contents(&folder.join("out"));
    let small = |more: &[&'static str]| [&SMALL[..], &["--out", "out"], more].concat();
    for (arguments, said) in [
        (small(&[]), "out holds the results of a search (request.json): --resume goes on with it"),
        (
            small(&["--resume", "--cost", "bits"]),
            "another search: cost was \"energy_pj\" and is \"step_bits\"",
        ),
        (
            small(&["--resume", "--set", "precision.error=Q2.4"]),
            "another search: experiment.precision.error.bits was 8 and is 6",
        ),
    ] {
        let message = refused(folder, 2, &arguments);
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(contents(&folder.join("out")), before);

    // Of a sweep, and the other way round.
    let sweep = json!({ "name": "s", "experiment": "x.json", "axes": [
        { "path": "precision.weights.bits", "values": [8] }
    ] });
    fs::write(folder.join("s.json"), shell::text(&sweep)).unwrap();
    shell::printed(folder, &["sweep", "s.json", "--out", "swept"]);
    let message = refused(folder, 2, &["--margin", "0.1", "--out", "swept", "--resume"]);
    assert!(
        message.contains("swept holds a sweep (sweep.json): expected the folder of a search"),
        "{message}"
    );
    let output = shell::systoliq(folder, &["sweep", "s.json", "--out", "out", "--resume"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("out holds a search (request.json): expected the folder of a sweep"),
        "{message}"
    );
    assert_eq!(contents(&folder.join("out")), before);
}

#[test]
fn a_search_that_ran_out_goes_on_with_more_runs() {
    let folder = folder();
    let folder = folder.path();
    let few = run_small(folder, "out", &["--runs", "20"]);
    assert!(few.contains("widths might go further with more --runs"), "{few}");
    let more = run_small(folder, "out", &["--runs", "60", "--resume"]);
    assert_eq!(more, run_small(folder, "whole", &["--runs", "60"]));
    let (mut ours, mut whole) = (contents(&folder.join("out")), contents(&folder.join("whole")));
    let store = "points.jsonl";
    let (stored, expected) = (ours.remove(store).unwrap(), whole.remove(store).unwrap());
    assert_eq!(ours, whole);
    // Behind them may be runs that proved the first plan; and fewer runs lose none.
    assert!(stored.starts_with(&expected));
    run_small(folder, "out", &["--runs", "20", "--resume"]);
    let fewer = fs::read_to_string(folder.join("out").join(store)).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(lines(&fewer), lines(&stored));
}

/// Weights and master may come to have one format, and then are one tensor of the program.
#[test]
fn the_widths_that_are_named_are_those_of_the_plan() {
    let folder = folder();
    let folder = folder.path();
    let mut experiment = shell::experiment();
    experiment["precision"] = json!({ "weights": "Q2.4", "master": "Q2.4", "error": "Q2.6" });
    fs::write(folder.join("x.json"), shell::text(&experiment)).unwrap();
    for (out, budget) in [("near", "0.02"), ("far", "0.5")] {
        let arguments = ["--seeds", "2", "--held-back", "1", "--runs", "40", "--out", out];
        let output = run(folder, &[&["--margin", budget], &arguments[..]].concat());
        if output.status.code() == Some(1) {
            continue;
        }
        let report = json_of(&folder.join(out).join("search.json"));
        let plan = serde_json::from_value(json_of(&folder.join(out).join("plan.json"))).unwrap();
        let prepared = systoliq_run::Prepared::new(plan).unwrap();
        let widths = report["found"]["widths"].as_array().unwrap();
        for width in widths {
            let role = width["place"]["role"].as_str().unwrap();
            let layer = width["place"]["layer"].as_u64().unwrap() as usize;
            let bits = match role {
                _ if role.starts_with("accumulator.") => continue,
                "weights" => prepared.plan.layers[layer].weights.format.bits(),
                _ => {
                    let mut tensors = prepared.program.tensors.iter();
                    let here = tensors
                        .find(|t| {
                            t.entry == systoliq_program::EntryName::Number(layer)
                                && t.role.name() == role
                        })
                        .unwrap();
                    here.plan.format.bits()
                }
            };
            assert_eq!(width["bits"], bits, "{out}: {width}");
        }
        let roles = |role: &str| widths.iter().filter(|w| w["place"]["role"] == role).count();
        let moved = ["weights", "master", "accumulator.forward", "accumulator.weight_gradient"];
        assert_eq!(moved.map(roles), [2; 4], "{report}");
        return;
    }
    panic!("no plan was found");
}

/// An adaptive filter, which has no classes, so that its widths have no analysis, with weights of two bits.
#[test]
fn where_nothing_is_within_the_budget_the_nearest_is_named() {
    let folder = folder();
    let folder = folder.path();
    let model = shell::root().join("models/lms.json");
    let mut experiment = json_of(&model);
    let accelerator = shell::experiment()["accelerator"].clone();
    experiment["accelerator"] = accelerator;
    experiment["precision"]["weights"] = json!("Q1.1");
    experiment["training"]["epochs"] = json!(2);
    fs::write(folder.join("x.json"), shell::text(&experiment)).unwrap();
    let arguments = ["--margin", "0", "--seeds", "2", "--held-back", "1", "--out", "out"];
    let message = refused(folder, 1, &arguments);
    assert!(
        message.contains(
            "nothing is surely within 0.0000 (a difference that judges nothing) of float"
        ),
        "{message}"
    );
    assert!(message.contains("from the plan of the experiment, loses "), "{message}");
    let report = json_of(&folder.join("out/search.json"));
    assert_eq!((&report["found"], &report["measure"]), (&Value::Null, &json!("loss")));
    assert!(report["nothing_within"]["lost"].as_f64() > Some(0.0));
    assert!(!folder.join("out/plan.json").exists());
    let reason = json_of(&folder.join("out/starts.json"))["no_analysis"].clone();
    assert!(reason.as_str().unwrap().contains("regression"), "{reason}");
    // With any loss allowed, there is a plan.
    let arguments = ["--margin", "1", "--seeds", "2", "--held-back", "1", "--out", "any"];
    let output = run(folder, &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().contains("no plan by analysis: "));
}

/// Of the grid in `models/sweeps`, the part that holds all cheap points that lose little; and README and
/// docs/explore.md say of both what is printed.
/// That a bit of a role saves what a training takes less whose plan has it, with the buffer and without; and that
/// it is printed where another role is worth most on the other machine, and not where it is the same.
#[track_caller]
fn assert_bits_worth(found: &Value, out: &Path, printed: &str) {
    let worth = found["bits_worth"].as_array().unwrap();
    let buffers: Vec<u64> = worth.iter().map(|of| of["buffer_bytes"].as_u64().unwrap()).collect();
    assert_eq!(buffers, [65_536, 0]);
    let most = |of: &Value| of["saved"][0]["role"].as_str().unwrap().to_owned();
    let other = most(&worth[0]) != most(&worth[1]);
    let said = format!("one bit less of {} saves most on this machine, ", most(&worth[0]));
    assert_eq!(printed.contains(&said), other, "{worth:#?}");
    assert_eq!(printed.contains(" saves most on this machine"), other, "{printed}");
    if other {
        let said = format!("; without the buffer one of {} would, ", most(&worth[1]));
        assert!(printed.contains(&said), "{said}: {printed}");
    }
    let energy = |buffer: u64, less: Option<&str>| {
        let mut set = vec![format!("accelerator.scratchpad.buffer_bytes={buffer}")];
        for width in found["widths"].as_array().unwrap() {
            let (place, bits) = (&width["place"], width["bits"].as_u64().unwrap());
            if less == place["role"].as_str() {
                let role = less.unwrap();
                set.push(format!("precision.layers.{}.{role}.bits={}", place["layer"], bits - 1));
            }
        }
        let set = set.iter().flat_map(|of| ["--set", of.as_str()]);
        let arguments: Vec<&str> =
            ["train", "plan.json", "--json"].into_iter().chain(set).collect();
        let report: Value = serde_json::from_str(&shell::printed(out, &arguments)).unwrap();
        report["energy_pj"]["total"].as_f64().unwrap()
    };
    for (of, buffer) in worth.iter().zip(buffers) {
        let all = energy(buffer, None);
        let known = of["energy_pj"].as_f64().unwrap();
        assert!((known / all - 1.0).abs() < 1e-9, "{known} {all}");
        let mut expected = Vec::new();
        for role in ["input", "weights", "master", "activations", "weight_gradients"] {
            let saved = all - energy(buffer, Some(role));
            let mut known = of["saved"].as_array().unwrap().iter();
            let known = known.find(|saved| saved["role"] == role).unwrap();
            let known = known["energy_pj"].as_f64().unwrap();
            assert!((known - saved).abs() < 1e-6 * all, "{role}, {buffer}: {known} {saved}");
            expected.push(saved);
        }
        let most = expected.into_iter().fold(0.0, f64::max);
        assert!(of["saved"][0]["energy_pj"].as_f64().unwrap() >= most * (1.0 - 1e-9), "{of:#}");
    }
}

#[test]
fn on_the_digits_the_plan_is_cheaper_than_the_best_uniform_one_with_fewer_runs_than_the_grid() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let search = ["search", "models/digits-mlp.json", "--out", &at("found")];
    let printed = shell::printed(&shell::root(), &search);
    let report = json_of(&folder.path().join("found/search.json"));
    let sweep = [
        "sweep",
        "models/sweeps/digits-bits.json",
        "--out",
        &at("bits"),
        "--set",
        "axes[0].values=\"4..=6\"",
        "--set",
        "axes[1].values=[4, 6]",
        "--confirm",
    ];
    let swept = shell::printed(&shell::root(), &sweep);
    let grid = json_of(&folder.path().join("bits/analysis.json"));
    let best = grid["within"]["cheapest"]["energy_pj"].as_u64().unwrap() as usize;
    let uniform = grid["points"][best]["costs"]["energy_pj"].as_f64().unwrap();
    let found = &report["found"];
    let energy = found["costs"]["energy_pj"].as_f64().unwrap();
    assert!(energy <= uniform, "{energy} pJ, the best uniform one {uniform} pJ");
    assert!(report["trainings"]["total"].as_u64() < Some(225), "{}", report["trainings"]);
    assert!(found["validation"]["mean"].as_f64() <= Some(0.005));
    assert_judged(&found["held_back"]["test"]["judged"], &printed);
    assert_eq!(report["held_back"].as_array().unwrap().len(), 29);

    assert_bits_worth(found, &folder.path().join("found"), &printed);

    // The documents say what was printed, where the golden model has the errors that it has there: its last
    // digits may depend on the CPU's features.
    let read = |name: &str| fs::read_to_string(shell::root().join(name)).unwrap();
    let (explore, readme) = (read("docs/explore.md"), read("README.md"));
    let golden = |text: &str| -> Vec<String> {
        let found = text.lines().filter_map(|line| line.strip_suffix(" in float"));
        found.map(|line| line.rsplit(", ").next().unwrap().to_owned()).collect()
    };
    let start = explore.find("digits-mlp: least energy for a loss of at most").unwrap();
    let shown = &explore[start..][..explore[start..].find("```").unwrap()];
    assert_eq!(golden(shown).len(), 2, "{shown}");
    let same = golden(shown) == golden(&printed);
    // Where golden rounds otherwise, the losses differ, and with them what follows; what is said stays.
    let compared = |text: &str| match same {
        true => text.to_owned(),
        false => text.replace(|c: char| c.is_ascii_digit(), "#"),
    };
    let head = |text: &str| text.lines().next().map(str::to_owned);
    assert_eq!(head(shown), head(&printed));
    if same {
        assert_eq!(shown, printed);
    }
    // docs/explore.md shows what is said of it, and README names no point that was chosen without who fails and what is not known.
    let readme = readme.replace('\n', " ");
    let chosen = &swept[swept.find(" least energy").unwrap()..];
    let said = &chosen[..chosen.find("\n fewest bits").unwrap()];
    let starts = ["no seed", "1 seed", "cannot", "beyond", "within", "confirmed"];
    let mut claims = said.lines().map(str::trim).filter(|line| {
        starts.iter().any(|start| line.starts_with(start)) || line.contains(" fail; ")
    });
    assert_eq!(claims.clone().count(), 4, "{said}");
    assert!(!same || explore.contains(said), "{said}");
    assert!(claims.all(|line| !same || readme.contains(line)), "{said}");
    let point = &grid["points"][best];
    let of = |key: &str| 100.0 * point["test"][key].as_f64().unwrap();
    let [bits, gradients] = ["bits", "gradients"].map(|name| &point["settings"][name]);
    let said = format!(
        "**{bits} bits of weights and activations with {gradients} bits of gradients: {:+.2} ± {:.2} points on \
         the test part at {:.3} mJ",
        of("mean"),
        of("ci95"),
        uniform / 1e9
    );
    assert!(compared(&readme).contains(&compared(&said)), "{said}");
    let said = format!("layer by layer that take {:.3} mJ", energy / 1e9);
    assert!(compared(&readme).contains(&compared(&said)), "{said}");
}

/// What is printed of a judgement is what its seeds say: by the definitions, not by the code.
fn assert_judged(judged: &Value, printed: &str) {
    let of = |key: &str| judged[key].as_f64().unwrap();
    let (samples, margin) = (of("samples"), of("margin"));
    let by_seed = judged["by_seed"].as_array().unwrap();
    let count = |seed: &Value, key: &str| seed[key].as_f64().unwrap();
    let lost = |seed: &Value| {
        (count(seed, "only_golden_right") - count(seed, "only_fixed_right")) / samples
    };
    let fails = |seed: &Value| {
        let discordant = count(seed, "only_golden_right") + count(seed, "only_fixed_right");
        let chance = 3.0 * discordant.sqrt() / samples;
        seed["diverged"] == true || lost(seed) > margin.max(0.02).max(chance)
    };
    let (seeds, failing) = (by_seed.len(), by_seed.iter().filter(|seed| fails(seed)).count());
    let (low, high) = (of("mean") - of("half_width"), of("mean") + of("half_width"));
    let (verdict, said) = match (high < margin, low > margin) {
        (true, _) if failing == 0 && seeds >= 29 => ("confirmed", "confirmed: within "),
        (true, _) => ("within", " within "),
        (_, true) => ("beyond", " beyond "),
        _ => ("cannot_tell", " cannot tell on "),
    };
    assert_eq!(judged["verdict"], verdict, "{judged}");
    assert_eq!(judged["failing"].as_array().unwrap().len(), failing, "{judged}");
    assert!(printed.contains(said), "{verdict}: {printed}");
    assert_eq!(printed.contains("confirmed"), verdict == "confirmed", "{printed}");
    let bound = format!("up to {:.0} % may", 100.0 * of("failing_at_most"));
    assert!(printed.contains(&bound), "{bound}: {printed}");
    let worst = by_seed.iter().map(lost).fold(f64::NEG_INFINITY, f64::max);
    assert!(printed.contains(&format!("worst {:+.2} points", 100.0 * worst)), "{printed}");
}

#[test]
fn a_plan_is_looked_at_until_its_margin_is_decided() {
    let folder = folder();
    let folder = folder.path();
    let search = |margin: &str, more: &[&str]| {
        let given = ["--margin", margin, "--seeds", "2", "--runs", "20", "--out", "out"];
        let output = run(folder, &[&given, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    search("0.05", &["--held-back", "3"]);
    let plan = json_of(&folder.join("out/plan.json"));
    // A search that is done goes on to look at its plan.
    let printed = search("0.05", &["--resume", "--confirm"]);
    assert_eq!(json_of(&folder.join("out/plan.json")), plan);
    let report = json_of(&folder.join("out/search.json"));
    let judged = &report["found"]["held_back"]["test"]["judged"];
    assert_judged(judged, &printed);
    assert_eq!(judged["level"], "three_looks");
    assert!(printed.contains(", by 98.3 % intervals"), "{printed}");
    let seeds: Vec<u64> = serde_json::from_value(report["held_back"].clone()).unwrap();
    assert!([29, 58, 116].contains(&seeds.len()), "{seeds:?}");
    assert_eq!(seeds, (3..3 + seeds.len() as u64).collect::<Vec<_>>());
    assert!(seeds.len() == 116 || judged["verdict"] != "cannot_tell", "{judged}");
}
