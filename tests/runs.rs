//! The folder of a run: the same bytes on every number of threads, and after a SIGKILL.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::models;
use serde_json::Value;
use systoliq_run::SEMANTICS;

fn train(out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"));
    let experiment = models().join("digits-mlp.json");
    command.arg("train").arg(experiment).arg("--out").arg(out).args(arguments);
    command.stdout(Stdio::null());
    command
}

/// Every file below a folder but `timing.json`, which alone may differ.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("timing.json") {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

fn assert_same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (contents(ours), contents(theirs));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, bytes) in &ours {
        assert!(*bytes == theirs[name], "{name} differs");
    }
}

#[test]
fn one_and_two_threads_and_a_second_run_write_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--seeds", "2", "--set", "training.epochs=2", "--dump-step", "5"];
    let run = |name: &str, threads: &str| {
        let out = folder.path().join(name);
        let mut command = train(&out, &arguments);
        assert!(command.args(["--threads", threads]).status().unwrap().success());
        out
    };
    let one = run("one", "1");
    assert!(one.join("dump-step-5/manifest.json").is_file());
    assert!(one.join("timing.json").is_file());
    assert_same(&run("two", "2"), &one);
    assert_same(&run("again", "1"), &one);
}

#[test]
fn a_run_killed_at_any_time_ends_resumed_with_the_bytes_of_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--seeds", "2", "--threads", "2", "--dump-step", "70"];
    let whole = folder.path().join("whole");
    let start = Instant::now();
    assert!(train(&whole, &arguments).status().unwrap().success());
    let duration = start.elapsed();

    let killed = folder.path().join("killed");
    let mut kills = 0;
    // From the first milliseconds to shortly before the end of what is left.
    for share in [0.02, 0.3, 0.1, 0.5, 0.2, 0.05, 0.4, 0.3] {
        let resume: &[&str] = if kills == 0 { &[] } else { &["--resume"] };
        let mut child = train(&killed, &arguments).args(resume).spawn().unwrap();
        std::thread::sleep(duration.mul_f64(share).max(Duration::from_millis(3)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills >= 2, "only {kills} kills came in time");
    assert!(train(&killed, &arguments).arg("--resume").status().unwrap().success());
    assert_same(&killed, &whole);
}

#[test]
fn a_checkpoint_of_another_experiment_or_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(train(&out, &["--set", "training.epochs=1"]).status().unwrap().success());
    let refused = |arguments: &[&str], expected: &str| {
        let output = train(&out, arguments).arg("--resume").output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        let mut lines = message.lines().filter(|line| line.starts_with("error: "));
        assert!(lines.next().is_some_and(|line| line.contains(expected)), "{message}");
        assert_eq!(lines.next(), None, "{message}");
    };
    refused(&["--set", "training.rate=0.25"], "training.rate was 0.5 and is 0.25");
    let checkpoint = out.join("checkpoints/seed-1.jsonl");
    let text = fs::read_to_string(&checkpoint).unwrap();
    fs::write(&checkpoint, &text[..text.len() / 2]).unwrap();
    refused(&["--set", "training.epochs=1"], "damaged");
    fs::write(&checkpoint, text.replacen("\"training_loss\":", "\"training_loss\":1", 1)).unwrap();
    refused(&["--set", "training.epochs=1"], "its hash does not fit its content");
    let ours = format!("{{\"semantics\":{SEMANTICS},");
    for (theirs, found) in [
        (format!("{{\"semantics\":{},", SEMANTICS + 1), format!("`semantics` {}", SEMANTICS + 1)),
        // Of a program that knew no such number.
        ("{\"version\":\"0.1.0\",".to_owned(), "no `semantics`".to_owned()),
    ] {
        assert!(text.starts_with(&ours), "{text}");
        fs::write(&checkpoint, text.replacen(&ours, &theirs, 1)).unwrap();
        let said = format!("seed-1.jsonl states {found}, expected {SEMANTICS}: ");
        refused(&["--set", "training.epochs=1"], &said);
    }
}

#[test]
fn a_checkpoint_of_data_that_have_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data.csv"), folder.path().join("run"));
    let rows = |shift: i32| {
        (0..40).map(|i| format!("{i},{},{}\n", (i + shift) % 3, i % 2)).collect::<String>()
    };
    fs::write(&data, rows(0)).unwrap();
    let spec = format!(r#"dataset={{"kind": "csv", "path": {data:?}, "classes": 2, "test": 5}}"#);
    let arguments = [
        "--set",
        &spec,
        "--set",
        "network.input=[2]",
        "--set",
        "network.layers[2].dense.units=2",
        "--set",
        "training.batch=7",
        "--set",
        "training.epochs=2",
    ];
    assert!(train(&out, &arguments).status().unwrap().success());
    assert!(train(&out, &arguments).arg("--resume").status().unwrap().success());
    fs::write(&data, rows(1)).unwrap();
    let output = train(&out, &arguments).arg("--resume").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("other data under the same name"), "{message}");
}

#[test]
fn two_runs_do_not_write_to_one_folder_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = train(folder.path(), &["--seeds", "50"]).spawn().unwrap();
    let start = Instant::now();
    while !folder.path().join("checkpoints/seed-1.jsonl").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint in a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = train(folder.path(), &[]).output().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("another run is writing there"), "{message}");
}

#[test]
fn a_dump_holds_the_codes_of_every_tensor_with_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--set", "training.epochs=1", "--dump-step", "37"];
    assert!(train(folder.path(), &arguments).status().unwrap().success());
    let dump = folder.path().join("dump-step-37");
    let manifest: Value =
        serde_json::from_slice(&fs::read(dump.join("manifest.json")).unwrap()).unwrap();
    let tensors = manifest["tensors"].as_array().unwrap();
    for tensor in tensors {
        let bytes = fs::read(dump.join(tensor["file"].as_str().unwrap())).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY"), "{tensor}");
        let elements = tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap());
        let width = match tensor["format"]["bits"].as_u64().unwrap() {
            ..=8 => 1,
            9..=16 => 2,
            _ => 4,
        };
        let header = 10 + u64::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!(bytes.len() as u64, header + width * elements.product::<u64>(), "{tensor}");
    }
    // The last, short batch of the epoch: 13 samples.
    let named = |name: &str| tensors.iter().filter(|t| t["name"] == name).count();
    let x = tensors.iter().find(|tensor| tensor["name"] == "x").unwrap();
    assert_eq!(x["shape"], serde_json::json!([13, 64]));
    assert_eq!((named("x"), named("m0"), named("w0"), named("dw0"), named("y0")), (1, 2, 2, 1, 1));
    let commands = manifest["commands"].as_array().unwrap();
    let files: Vec<&str> = tensors.iter().map(|tensor| tensor["file"].as_str().unwrap()).collect();
    for command in commands {
        assert!(files.contains(&command["output"].as_str().unwrap()), "{command}");
    }
    assert_eq!(commands.len(), 15);
    assert_eq!(commands[0]["operation"], "load");
}

/// A dump names every factor of an update, so that its integers can be recomputed.
#[test]
fn a_dump_of_momentum_and_residual_names_their_operands_and_factors() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "training.epochs=1",
        "training.momentum=0.9",
        "training.weight_decay=0.01",
        "training.batch_gradient=sum",
        "precision.master=null",
        "precision.residual.bits=8",
    ];
    let arguments = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = arguments.chain(["--dump-step", "3"]).collect();
    assert!(train(folder.path(), &arguments).status().unwrap().success());
    let dump = folder.path().join("dump-step-3");
    let manifest: Value =
        serde_json::from_slice(&fs::read(dump.join("manifest.json")).unwrap()).unwrap();
    let commands = manifest["commands"].as_array().unwrap();
    let named =
        |name: &str| commands.iter().find(|command| command["command"] == name).expect("a command");
    let momentum = named("0.update.v0");
    let factor = |mantissa: u32, exponent: i32| serde_json::json!({ "mantissa": mantissa, "exponent": exponent });
    assert_eq!(momentum["factors"]["momentum"], factor(58982, 16)); // 0.9
    assert_eq!(momentum["factors"]["gradient"], factor(1 << 15, 20)); // 1/32
    assert_eq!(momentum["factors"]["weights"], factor(41943, 22)); // 0.01
    assert_eq!(named("0.update.vb0")["factors"]["weights"], Value::Null);
    let files = ["momentum", "gradient", "weights"].map(|key| momentum[key].as_str().unwrap());
    assert_eq!(files, ["v0.npy", "dw0.npy", "w0.npy"]);
    assert_eq!(momentum["output"], "v0.updated.npy");
    let update = named("0.update.w0");
    assert_eq!(update["rate"], factor(1 << 15, 16)); // 0.5, whatever the batch
    let files = ["weights", "residual", "gradient"].map(|key| update[key].as_str().unwrap());
    assert_eq!(files, ["w0.npy", "r0.npy", "v0.updated.npy"]);
    let residual = named("0.update.r0");
    assert_eq!(residual["weights"], "w0.updated.npy");
    assert_eq!(residual["output"], "r0.updated.npy");
    let keys = ["0.update.v0", "0.update.vb0"].map(|name| named(name)["conversion"]["key"].clone());
    assert_ne!(keys[0], keys[1]);
}
