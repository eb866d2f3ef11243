//! Nothing finished is lost: runs that are there, files that two processes write, and what an
//! interruption leaves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::checkpoints::CheckpointFiles;
use crate::shell::{experiment, printed, remarks, root, systoliq, text, tree};

/// The command as a process of its own.
pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"));
    command.args(arguments).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
}

/// A folder with a small experiment in `x.json`.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("x.json"), text(&experiment())).expect("a new file");
    folder
}

/// Asserts that a command is refused as bad input, with a message of these parts.
pub(crate) fn refused(folder: &Path, arguments: &[&str], says: &[&str]) {
    let output = systoliq(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    for part in says {
        assert!(message.contains(part), "{arguments:?}: {message}, expected {part}");
    }
}

/// Asserts that two folders of runs hold the same bytes, but for times.
pub(crate) fn assert_same_run(folder: &Path, one: &str, other: &str) {
    let files = |name: &str| -> BTreeSet<_> {
        tree(&folder.join(name)).into_iter().filter(|path| !path.ends_with("timing.json")).collect()
    };
    assert_eq!(files(one), files(other));
    for path in files(one).iter().filter(|path| folder.join(one).join(path).is_file()) {
        let [ours, theirs] =
            [one, other].map(|name| fs::read(folder.join(name).join(path)).unwrap());
        assert!(ours == theirs, "{}", path.display());
    }
}

#[test]
fn a_run_that_is_there_is_refused_and_stays() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run"]);
    let report = fs::read(folder.join("run/report.json")).unwrap();
    let before = tree(folder);
    refused(folder, &["train", "x.json", "--out", "run"], &["report.json", "--resume", "--force"]);
    fs::remove_file(folder.join("run/report.json")).unwrap();
    refused(folder, &["train", "x.json", "--out", "run"], &["holds the results of a run"]);
    fs::write(folder.join("run/report.json"), &report).unwrap();
    // Another seed is another experiment, also where its own checkpoint is not there.
    let seed = ["train", "x.json", "--out", "run", "--resume", "--set", "seed=2"];
    refused(folder, &seed, &["seed was 1 and is 2"]);
    assert_eq!((tree(folder), fs::read(folder.join("run/report.json")).unwrap()), (before, report));
    for name in ["seed-1.jsonl", "seed-2.jsonl"] {
        let _ = fs::remove_file(folder.join("run/checkpoints").join(name));
    }
    let resume = ["train", "x.json", "--out", "run", "--resume"];
    refused(folder, &resume, &["no checkpoints to go on from", "--force"]);
    // A run that was killed in its first epoch has at most a dump.
    let dump = ["train", "x.json", "--out", "dumped", "--dump-step", "3"];
    printed(folder, &dump);
    for name in
        ["report.json", "curves.csv", "predictions.csv", "timing.json", "checkpoints/seed-1.jsonl"]
    {
        fs::remove_file(folder.join("dumped").join(name)).unwrap();
    }
    refused(folder, &dump, &["dump-step-3"]);
    printed(folder, &[&dump[..], &["--resume"]].concat());
}

#[test]
fn a_forced_run_replaces_another_when_it_is_complete() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run", "--seeds", "2"]);
    printed(folder, &["report", "run"]);
    printed(folder, &["train", "x.json", "--out", "new", "--set", "seed=7"]);
    printed(folder, &["train", "x.json", "--out", "run", "--set", "seed=7", "--force"]);
    assert_same_run(folder, "run", "new");
    assert!(!folder.join("run.next").exists());
    // Where there is nothing to replace, it is a run as any other.
    printed(folder, &["train", "x.json", "--out", "other", "--set", "seed=7", "--force"]);
    assert_same_run(folder, "other", "new");
}

#[test]
fn a_forced_run_goes_on_with_what_it_left_beside_only_when_told() {
    let folder = folder();
    let folder = folder.path();
    let three = ["--set", "training.epochs=3"];
    printed(folder, &[&["train", "x.json", "--out", "whole"][..], &three].concat());
    printed(folder, &["train", "x.json", "--out", "run"]);
    let old = fs::read(folder.join("run/report.json")).unwrap();
    // What a forced run leaves that was killed after its first epoch.
    printed(folder, &["train", "x.json", "--out", "run.next"]);
    fs::remove_file(folder.join("run.next/report.json")).unwrap();
    let force = [&["train", "x.json", "--out", "run", "--force"][..], &three].concat();
    refused(folder, &force, &["run.next", "--force with --resume"]);
    assert_eq!(fs::read(folder.join("run/report.json")).unwrap(), old);
    printed(folder, &[&force[..], &["--resume"]].concat());
    assert_same_run(folder, "run", "whole");
    assert!(!folder.join("run.next").exists());
}

#[test]
fn a_replacement_that_was_cut_short_is_ended() {
    let folder = folder();
    let folder = folder.path();
    let moved = |from: &str, to: &str| fs::rename(folder.join(from), folder.join(to)).unwrap();
    printed(folder, &["train", "x.json", "--out", "old"]);
    printed(folder, &["train", "x.json", "--out", "new", "--set", "training.epochs=2"]);
    printed(folder, &["train", "x.json", "--out", "run.next", "--set", "training.epochs=2"]);
    // Killed between the two names: the new run has the old one in it.
    moved("old", "run.next/.systoliq-replaced");
    refused(folder, &["train", "x.json", "--out", "run"], &["holds the results of a run"]);
    assert!(folder.join("run/.systoliq-replaced/report.json").is_file());
    let resume = ["train", "x.json", "--out", "run", "--resume", "--set", "training.epochs=2"];
    printed(folder, &resume);
    assert_same_run(folder, "run", "new");
    assert!(!folder.join("run.next").exists());
}

#[test]
fn a_folder_with_files_of_others_is_not_replaced() {
    let folder = folder();
    let folder = folder.path();
    let force = ["train", "x.json", "--out", "run", "--force"];
    for name in ["notes.txt", "checkpoints/best.pt", "dump-step-3/y.npy", "report.json"] {
        printed(folder, &["train", "x.json", "--out", "run"]);
        let path = folder.join("run").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{}").unwrap();
        let before = tree(folder);
        refused(folder, &force, &[name.split("/y").next().unwrap(), "which no run has written"]);
        assert_eq!(tree(folder), before, "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        fs::remove_dir_all(folder.join("run")).unwrap();
    }
}

#[test]
fn a_resumed_run_removes_what_was_half_written_and_nothing_else() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run"]);
    let theirs = ["checkpoints/best.pt", ".partial-mine", ".systoliq-partial-abcdef-notes.txt"];
    let ours = [
        ".systoliq-partial-abcdef-report.json",
        "checkpoints/.systoliq-partial-abcdef-seed-1.state",
        ".systoliq-partial-abcdef-dump-step-4/w0.npy",
    ];
    for name in theirs.iter().chain(&ours) {
        let path = folder.join("run").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    printed(folder, &["train", "x.json", "--out", "run", "--resume"]);
    for name in theirs {
        assert_eq!(fs::read_to_string(folder.join("run").join(name)).unwrap(), name);
    }
    let left: Vec<_> = ours.iter().filter(|name| folder.join("run").join(name).exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_run_resumed_to_more_epochs_ends_with_the_bytes_of_one_of_as_many() {
    let folder = folder();
    let folder = folder.path();
    let kinds: [&[&str]; 3] = [
        &[],
        &["--set", r#"training.schedule={"kind": "step", "every_epochs": 2, "factor": 0.5}"#],
        &["--set", "training.momentum=0.9", "--set", "precision.gradients.scale=history"],
    ];
    for (at, kind) in kinds.iter().enumerate() {
        let train = |out: &str, more: &[&str]| {
            let all = ["train", "x.json", "--seeds", "2", "--out", out];
            printed(folder, &[&all[..], kind, more].concat())
        };
        let (long, grown) = (format!("long{at}"), format!("grown{at}"));
        train(&long, &["--set", "training.epochs=5"]);
        for epochs in ["2", "3", "5"] {
            train(&grown, &["--resume", "--set", &format!("training.epochs={epochs}")]);
        }
        assert_same_run(folder, &long, &grown);
    }
    let fewer = ["train", "x.json", "--seeds", "2", "--out", "long0", "--resume"];
    refused(folder, &fewer, &["of more epochs: 5 are done, and training.epochs is 1"]);
}

#[test]
fn a_schedule_over_other_epochs_is_another_experiment() {
    let folder = folder();
    let folder = folder.path();
    let cosine = |epochs: u32, of: u32| {
        let schedule = format!(r#"{{"kind": "cosine", "epochs": {of}}}"#);
        [format!("--set=training.schedule={schedule}"), format!("--set=training.epochs={epochs}")]
    };
    let train = |set: [String; 2], resume: &[&str]| {
        let all = ["train", "x.json", "--out", "run"].into_iter().chain(resume.iter().copied());
        systoliq(folder, &all.map(str::to_owned).chain(set).collect::<Vec<_>>())
    };
    assert!(train(cosine(2, 2), &[]).status.success());
    let stderr = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let message = stderr(train(cosine(4, 4), &["--resume"]));
    assert!(message.contains("training.schedule.epochs was 2 and is 4"), "{message}");
    // It ends at a rate of 0, which no epoch can have.
    let message = stderr(train(cosine(4, 2), &["--resume"]));
    assert!(message.contains("training.schedule"), "{message}");
}

#[test]
fn a_run_from_a_cpu_that_rounds_otherwise_says_so() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run"]);
    let resume = ["train", "x.json", "--out", "run", "--resume"];
    assert_eq!(remarks(&systoliq(folder, &resume).stderr), "");
    let mut checkpoint = CheckpointFiles::read(&folder.join("run"));
    checkpoint.header["float"] = "0000000000000001".into();
    checkpoint.write();
    let warned = |arguments: &[&str], of: &str| {
        let output = systoliq(folder, arguments);
        let message = remarks(&output.stderr);
        assert!(output.status.success() && message.starts_with(of), "{message}");
        assert!(message.contains("FMA"), "{message}");
    };
    warned(&resume, "warning: run/");
    let sweep = serde_json::json!({
        "name": "s", "experiment": "x.json",
        "axes": [{ "path": "precision.weights.bits", "values": [4, 8] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).unwrap();
    printed(folder, &["sweep", "s.json", "--out", "s"]);
    let resume = ["sweep", "s.json", "--out", "s", "--resume"];
    assert_eq!(remarks(&systoliq(folder, &resume).stderr), "");
    let path = folder.join("s/sweep.json");
    let mut manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    manifest["float"] = "0000000000000001".into();
    fs::write(&path, text(&manifest)).unwrap();
    warned(&resume, "warning: s/");
}

/// What two processes write to one file at once.
fn two_writers(folder: &Path, file: &str, commands: [&[&str]; 2]) {
    for arguments in commands {
        assert!(start(folder, arguments).wait().unwrap().success(), "{arguments:?}");
    }
    let path = folder.join(file);
    let expected = commands.map(|arguments| {
        fs::remove_file(&path).unwrap();
        assert!(start(folder, arguments).wait().unwrap().success());
        fs::read(&path).unwrap()
    });
    let before = tree(folder);
    for round in 0..6 {
        let both = commands.map(|arguments| start(folder, arguments));
        for child in both {
            let output = child.wait_with_output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{file}, round {round}: {message}");
        }
        let found = fs::read(&path).unwrap();
        assert!(expected.contains(&found), "{file}, round {round}: neither of the two");
        assert_eq!(tree(folder), before, "{file}, round {round}");
    }
}

#[test]
fn two_processes_that_write_one_file_leave_one_of_the_two_whole() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "one"]);
    printed(folder, &["train", "x.json", "--out", "two", "--set", "seed=2"]);
    let topology = root().join("models/topologies/alexnet.csv");
    let accelerators = ["edge-16x16", "cloud-128x128"]
        .map(|name| root().join(format!("models/accelerators/{name}.json")));
    let [topology, edge, cloud] =
        [&topology, &accelerators[0], &accelerators[1]].map(|path| path.to_str().unwrap());
    let vcd = ["trace", "x.json", "--format", "vcd", "-o", "t.vcd", "--op"];
    let perfetto = ["trace", "x.json", "--format", "perfetto", "-o", "t.json"];
    let address = ["trace", "x.json", "--format", "scalesim", "-o", "addresses", "--op"];
    let gemm = ["gemm", "--n", "9", "--k", "9", "--counts", "c.csv", "--m"];
    let train = ["train", "x.json", "--counts", "c.csv", "--set"];
    let precision = ["precision", "x.json", "--out", "p.json", "--mismatch"];
    let workload = ["workload", topology, "--csv", "csv", "--accelerator"];
    let with = |common: &[&'static str], last| [common, &[last]].concat();
    let cases: [(&str, [Vec<&str>; 2]); 9] = [
        ("t.vcd", ["0.forward", "1.forward"].map(|op| with(&vcd, op))),
        ("t.json", [perfetto.to_vec(), [&perfetto[..], &["--step", "1"]].concat()]),
        (
            "addresses/FILTER_SRAM_TRACE.csv",
            ["0.forward", "1.forward"].map(|op| with(&address, op)),
        ),
        ("c.csv", ["8", "80"].map(|m| with(&gemm, m))),
        ("c.csv", ["training.batch=32", "training.batch=20"].map(|set| with(&train, set))),
        ("p.json", ["0.01", "0.2"].map(|mismatch| with(&precision, mismatch))),
        ("page.html", ["one", "two"].map(|run| vec!["report", run, "-o", "page.html"])),
        (
            "svg/small-learning-loss.svg",
            ["one", "two"].map(|run| vec!["report", run, "-o", "page.html", "--svg", "svg"]),
        ),
        (
            "csv/COMPUTE_REPORT.csv",
            [edge, cloud].map(|accelerator| [&workload[..], &[accelerator]].concat()),
        ),
    ];
    for (file, [one, other]) in &cases {
        two_writers(folder, file, [one, other]);
    }
}

#[cfg(unix)]
#[test]
fn locks_follow_no_link_and_empty_no_file() {
    let folder = folder();
    let folder = folder.path();
    fs::create_dir(folder.join("run")).unwrap();
    let lock = folder.join("run/.systoliq-lock");
    fs::write(folder.join("precious.txt"), "mine").unwrap();
    for target in ["../precious.txt", "nowhere"] {
        std::os::unix::fs::symlink(target, &lock).unwrap();
        refused(folder, &["train", "x.json", "--out", "run"], &[".systoliq-lock", "no link"]);
        fs::remove_file(&lock).unwrap();
    }
    assert_eq!(fs::read_to_string(folder.join("precious.txt")).unwrap(), "mine");
    assert!(!folder.join("run/nowhere").exists());
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    refused(folder, &["train", "x.json", "--out", "run"], &[".systoliq-lock", "regular file"]);
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, "mine").unwrap();
    printed(folder, &["train", "x.json", "--out", "run"]);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "mine");
}

/// Interrupts a command as soon as `ready`, and returns what it says.
#[cfg(unix)]
fn interrupted(folder: &Path, arguments: &[&str], ready: impl Fn() -> bool) -> String {
    let mut child = start(folder, arguments);
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(60), "{arguments:?}: not ready in a minute");
        assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended before");
        std::thread::sleep(Duration::from_millis(2));
    }
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{arguments:?}: {message}");
    let partial = |path: &&std::path::PathBuf| path.to_string_lossy().contains(".systoliq-partial");
    assert_eq!(tree(folder).iter().find(partial), None, "{arguments:?}");
    remarks(message.as_bytes())
}

#[test]
fn a_sweep_whose_winners_are_looked_at_says_beforehand_that_nothing_is_kept() {
    let folder = folder();
    let sweep = serde_json::json!({
        "name": "few", "experiment": "x.json",
        "axes": [{ "path": "precision.weights.bits", "values": [4, 8] }]
    });
    fs::write(folder.path().join("s.json"), text(&sweep)).unwrap();
    let said = |more: &[&str]| {
        remarks(&systoliq(folder.path(), &[&["sweep", "s.json"], more].concat()).stderr)
    };
    assert!(!said(&[]).contains("kept"));
    let expected = "nothing of its 2 runs, and up to 116 more of each winner, is kept";
    assert!(said(&["--confirm", "--margin", "0"]).contains(expected));
}

#[test]
fn what_points_that_were_killed_left_half_written_goes_with_the_next_sweep() {
    let folder = folder();
    let folder = folder.path();
    let sweep = serde_json::json!({
        "name": "s", "experiment": "x.json",
        "axes": [{ "path": "precision.weights.bits", "values": [4, 8] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).unwrap();
    printed(folder, &["sweep", "s.json", "--out", "s"]);
    fs::create_dir(folder.join("s/points")).unwrap();
    let ours = format!("s/points/.systoliq-partial-abcdef-{}.json", "0".repeat(32));
    let theirs = "s/points/.systoliq-partial-abcdef-notes.txt";
    [ours.as_str(), theirs].iter().for_each(|name| fs::write(folder.join(name), "half").unwrap());
    printed(folder, &["sweep", "s.json", "--out", "s", "--resume"]);
    assert!(!folder.join(ours).exists() && folder.join(theirs).exists());
}

#[cfg(unix)]
#[test]
fn an_interruption_says_what_is_kept_and_how_to_go_on() {
    let folder = folder();
    let folder = folder.path();
    let there = |name: &'static str| move || folder.join(name).exists();
    let lines = |name: &'static str| {
        move || fs::read_to_string(folder.join(name)).is_ok_and(|text| text.lines().count() > 1)
    };
    let long = ["--set", "training.epochs=2000"];
    let train = [&["train", "x.json", "--out", "run"][..], &long].concat();
    let said = interrupted(folder, &train, there("run/checkpoints/seed-1.state"));
    assert!(said.starts_with("interrupted: ") && said.contains("of 2000 epochs"), "{said}");
    assert!(said.contains("kept for run; the same command with --resume"), "{said}");
    let force = [&["train", "x.json", "--out", "done", "--force"][..], &long].concat();
    let said = interrupted(folder, &force, there("done.next/checkpoints/seed-1.state"));
    assert!(said.contains("--force --resume"), "{said}");
    let began = Instant::now();
    let a_while = || began.elapsed() > Duration::from_millis(300);
    let said = interrupted(folder, &[&["train", "x.json"][..], &long].concat(), a_while);
    assert!(said.contains("without --out nothing is kept"), "{said}");

    let seeds: Vec<u32> = (1..=400).collect();
    let sweep = serde_json::json!({
        "name": "many", "experiment": "x.json", "seeds": seeds,
        "axes": [{ "path": "precision.weights.bits", "values": [4, 8] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).unwrap();
    let said = interrupted(folder, &["sweep", "s.json", "--out", "s"], lines("s/points.jsonl"));
    assert!(said.contains("of 800 runs are kept in s; the same command with --resume"), "{said}");
    let began = Instant::now();
    let a_while = || began.elapsed() > Duration::from_millis(500);
    let said = interrupted(folder, &["sweep", "s.json"], a_while);
    let beforehand = "warning: many: without --out, nothing of its 800 runs is kept";
    assert!(said.starts_with(beforehand) && said.contains("interrupted: without --out"), "{said}");
    let search = ["search", "x.json", "--loss-budget", "0.01", "--out", "f"];
    let said = interrupted(folder, &search, lines("f/points.jsonl"));
    assert!(said.contains("runs are kept in f; the same command with --resume"), "{said}");
    // What is kept is counted on disk, also where a command goes on that has not looked at it yet.
    let number = |said: &str, before: &str| -> usize {
        let at = said.find(before).unwrap_or_else(|| panic!("{said}"));
        said[..at].rsplit([' ', '\n']).next().unwrap().parse().unwrap_or_else(|_| panic!("{said}"))
    };
    let stored = |name: &str| fs::read_to_string(folder.join(name)).unwrap().lines().count();
    assert!(number(&said, " runs are kept in f") + 2 >= stored("f/points.jsonl"), "{said}");
    let before = stored("f/points.jsonl");
    let more = || stored("f/points.jsonl") > before;
    let said = interrupted(folder, &[&search[..], &["--resume"]].concat(), more);
    let kept = number(&said, " runs are kept in f");
    // A line may be on disk just before it is counted.
    assert!(kept + 2 >= stored("f/points.jsonl") && kept >= before, "{said}");
    let two = ["train", "x.json", "--out", "two", "--seeds", "2"];
    printed(folder, &two);
    let began = Instant::now();
    let a_while = || began.elapsed() > Duration::from_millis(500);
    let more = [&two[..], &["--resume", "--threads", "1"], &long].concat();
    let said = interrupted(folder, &more, a_while);
    // One epoch of the second seed, which was not reached, and those of the first.
    let epochs = number(&said, " of 4000 epochs");
    let first = fs::read_to_string(folder.join("two/checkpoints/seed-1.jsonl")).unwrap();
    let done = first.lines().count() - 1;
    assert!(epochs == done + 1 || epochs == done, "{said}, {done} of the first seed");
    assert!(epochs >= 2, "{said}");
    // Every line that was kept is whole.
    let kept = fs::read_to_string(folder.join("s/points.jsonl")).unwrap();
    assert!(kept.ends_with('\n'), "{kept:?}");
}
