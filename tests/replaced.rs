//! What others have put where results go: it is never overwritten nor removed, and what cannot be put in
//! its place stays whole beside it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kept::{folder, refused, start};
use crate::shell::{printed, systoliq, text, tree};

const FORCE: [&str; 5] = ["train", "x.json", "--out", "run", "--force"];

/// A file of somebody, in folders that are made for it.
fn put(path: &Path) {
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
    fs::write(path, "mine").expect("a new file");
}

/// Asserts that a command is refused, and that nothing in a folder has changed.
fn refused_unchanged(folder: &Path, arguments: &[&str], says: &[&str]) {
    let before = tree(folder);
    refused(folder, arguments, says);
    let without_lock = |tree: std::collections::BTreeSet<std::path::PathBuf>| {
        tree.into_iter().filter(|path| !path.ends_with(".systoliq-lock")).collect::<Vec<_>>()
    };
    assert_eq!(without_lock(tree(folder)), without_lock(before), "{arguments:?}");
}

#[test]
fn a_file_put_into_a_run_while_another_is_trained_stays_and_the_other_is_complete_beside_it() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run"]);
    let long = [&FORCE[..], &["--set", "training.epochs=400"]].concat();
    let child = start(folder, &long);
    let began = Instant::now();
    while !folder.join("run.next/checkpoints/seed-1.jsonl").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no epoch in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    put(&folder.join("run/notes.txt"));
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["run holds notes.txt", "the complete run is in ", "run.next", "--force --resume"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(fs::read_to_string(folder.join("run/notes.txt")).unwrap(), "mine");
    assert!(folder.join("run.next/report.json").is_file());
    fs::rename(folder.join("run/notes.txt"), folder.join("notes.txt")).unwrap();
    printed(folder, &[&long[..], &["--resume"]].concat());
    assert!(!folder.join("run.next").exists() && !folder.join("run/.systoliq-replaced").exists());
    let report = fs::read_to_string(folder.join("run/report.json")).unwrap();
    assert!(report.contains("\"epochs\": 400"), "the new run has the name");
}

#[test]
fn what_was_put_into_a_replaced_run_is_not_removed_with_it() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run"]);
    printed(folder, &["train", "x.json", "--out", "old"]);
    fs::rename(folder.join("old"), folder.join("run/.systoliq-replaced")).unwrap();
    let theirs = folder.join("run/.systoliq-replaced/notes.txt");
    put(&theirs);
    let resume = ["train", "x.json", "--out", "run", "--resume"];
    refused_unchanged(folder, &resume, &["notes.txt, which no run has written"]);
    refused_unchanged(folder, &FORCE, &["notes.txt, which no run has written"]);
    fs::remove_file(&theirs).unwrap();
    printed(folder, &resume);
    assert!(!folder.join("run/.systoliq-replaced").exists());
}

#[test]
fn names_of_results_alone_do_not_make_a_run() {
    let folder = folder();
    let folder = folder.path();
    for name in ["predictions.csv", "report.html", "checkpoints/seed-1.jsonl", "curves.csv"] {
        put(&folder.join("run").join(name));
        refused_unchanged(folder, &FORCE, &[name, "which no run has written"]);
        fs::remove_dir_all(folder.join("run")).unwrap();
    }
    // In a run, what is no regular file, or no part of a dump.
    let theirs = [
        "report.html/mine.txt",
        "dump-step-3/notes.txt",
        "dump-step-4/manifest.json",
        "dump-step-5",
    ];
    printed(folder, &["train", "x.json", "--out", "run", "--dump-step", "3"]);
    for name in theirs {
        let path = folder.join("run").join(name);
        put(&path);
        refused_unchanged(folder, &FORCE, &["which no run has written"]);
        fs::remove_file(&path).unwrap();
        if name != "dump-step-5" && name != "dump-step-3/notes.txt" {
            fs::remove_dir(path.parent().unwrap()).unwrap();
        }
    }
    // A whole dump is replaced with its run, also where a run was killed before it left more.
    printed(folder, &FORCE);
    printed(folder, &["train", "x.json", "--out", "other", "--dump-step", "3"]);
    fs::remove_dir_all(folder.join("run")).unwrap();
    fs::create_dir(folder.join("run")).unwrap();
    fs::rename(folder.join("other/dump-step-3"), folder.join("run/dump-step-3")).unwrap();
    printed(folder, &FORCE);
    assert!(!folder.join("run/dump-step-3").exists());
}

#[test]
fn a_dump_takes_no_place_that_others_have() {
    let folder = folder();
    let folder = folder.path();
    let dump = ["train", "x.json", "--out", "run", "--dump-step", "3"];
    for name in ["dump-step-3/mine.txt", "dump-step-3"] {
        put(&folder.join("run").join(name));
        refused_unchanged(folder, &dump, &["dump-step-3 is no dump of a run"]);
        let _ = fs::remove_dir_all(folder.join("run"));
    }
    printed(folder, &dump);
    put(&folder.join("run/dump-step-3/notes.txt"));
    let resume = [&dump[..], &["--resume"]].concat();
    refused_unchanged(folder, &resume, &["dump-step-3 is no dump of a run"]);
}

#[test]
fn sweeps_and_searches_overwrite_nothing_that_they_have_not_written() {
    let folder = folder();
    let folder = folder.path();
    let sweep = serde_json::json!({
        "name": "s", "experiment": "x.json",
        "axes": [{ "path": "precision.weights.bits", "values": [4, 8] }]
    });
    fs::write(folder.join("s.json"), text(&sweep)).unwrap();
    let sweep: &[&str] = &["sweep", "s.json", "--out", "run"];
    let search: &[&str] = &["search", "x.json", "--runs", "1", "--out", "run"];
    let cases = [
        (sweep, &["results.csv", "runs.csv", "analysis.json", "timing.json"][..], "sweep.json"),
        (search, &["plan.json", "search.json", "starts.json", "timing.json"], "request.json"),
    ];
    for (command, names, manifest) in cases {
        for name in names {
            put(&folder.join("run").join(name));
            refused_unchanged(folder, command, &["holds the results of", name]);
            let resume = [command, &["--resume"]].concat();
            refused_unchanged(folder, &resume, &["cannot resume", name, manifest]);
            assert_eq!(fs::read_to_string(folder.join("run").join(name)).unwrap(), "mine");
            fs::remove_dir_all(folder.join("run")).unwrap();
        }
    }
}

#[test]
fn a_report_of_more_seeds_is_not_replaced_by_one_of_fewer() {
    let folder = folder();
    let folder = folder.path();
    let train =
        |seeds: &'static str| ["train", "x.json", "--out", "run", "--resume", "--seeds", seeds];
    printed(folder, &train("3"));
    let report = fs::read(folder.join("run/report.json")).unwrap();
    for fewer in ["1", "2"] {
        refused_unchanged(folder, &train(fewer), &["a run with 3 seeds: --seeds 3"]);
        assert_eq!(fs::read(folder.join("run/report.json")).unwrap(), report);
    }
    printed(folder, &train("3"));
    printed(folder, &train("4"));
}

#[test]
fn a_page_goes_with_the_report_that_it_was_drawn_of() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, &["train", "x.json", "--out", "run"]);
    printed(folder, &["report", "run"]);
    let resume = ["train", "x.json", "--out", "run", "--resume"];
    printed(folder, &resume);
    assert!(folder.join("run/report.html").is_file(), "the same report, the same page");
    let more = [&resume[..], &["--set", "training.epochs=2"]].concat();
    let output = systoliq(folder, &more);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{message}");
    assert!(message.contains("report.html is removed"), "{message}");
    let page = folder.join("run/report.html");
    assert!(!page.exists());
    // A page that somebody else wrote stays, and keeps its folder.
    put(&page);
    printed(folder, &[&resume[..], &["--set", "training.epochs=3"]].concat());
    assert!(page.is_file());
    refused_unchanged(folder, &FORCE, &["run holds report.html, which no run has written"]);
}

#[cfg(unix)]
#[test]
fn links_are_resolved_before_the_training() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    let folder = folder.path();
    symlink("place", folder.join("run")).unwrap();
    for arguments in [&FORCE[..], &FORCE[..], &["train", "x.json", "--out", "run", "--resume"]] {
        printed(folder, arguments);
        assert!(folder.join("place/report.json").is_file() && folder.join("run").is_symlink());
        assert!(!folder.join("run.next").exists() && !folder.join("place.next").exists());
    }
    // Killed between the two names.
    fs::rename(folder.join("place"), folder.join("old")).unwrap();
    printed(folder, &["train", "x.json", "--out", "place.next"]);
    fs::rename(folder.join("old"), folder.join("place.next/.systoliq-replaced")).unwrap();
    printed(folder, &["train", "x.json", "--out", "run", "--resume"]);
    assert!(folder.join("place/report.json").is_file());
    // A link beside, or files of others.
    fs::create_dir(folder.join("elsewhere")).unwrap();
    symlink("elsewhere", folder.join("place.next")).unwrap();
    refused_unchanged(folder, &FORCE, &["place.next is a link"]);
    fs::remove_file(folder.join("place.next")).unwrap();
    put(&folder.join("place.next/notes.txt"));
    refused_unchanged(folder, &FORCE, &["place.next holds notes.txt, which no run has written"]);
}

#[test]
fn a_name_as_long_as_the_file_system_allows_is_replaced() {
    let folder = folder();
    let folder = folder.path();
    let name = "r".repeat(255);
    for _ in 0..2 {
        printed(folder, &["train", "x.json", "--force", "--out", &name]);
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "x.json and the run");
}
