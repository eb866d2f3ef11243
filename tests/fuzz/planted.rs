//! Readers with faults, each of which must be found.

use std::env;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::worker::Job;
use super::{Input, Outcome, Target, watched};

const PLANTED: [(Target, &str); 8] = [
    (target("sound", |_| read()), ""),
    (target("panics", |_| panic!("planted")), "planted"),
    (target("recurses", |_| Ok(Outcome::Read(recursed(1).to_string()))), "overflowed its stack"),
    (target("hangs", |_| hung()), "it hangs"),
    (target("reserves", |_| Ok(Outcome::Read(reserved().to_string()))), "memory allocation"),
    (target("changes", |_| Ok(Outcome::Read(counted().to_string()))), "read twice"),
    (target("leaves", |_| left()), "left is written, but no"),
    (target("is-mute", |_| Ok(Outcome::Refused(String::new()))), "without a word"),
];

const fn target(name: &'static str, read: fn(&Input) -> Result<Outcome, String>) -> Target {
    let inputs =
        || vec![Input { arguments: Vec::new(), files: vec![("x".to_owned(), b"1".into())] }];
    Target { name, inputs, changed: &["x"], read }
}

fn read() -> Result<Outcome, String> {
    Ok(Outcome::Read("1".to_owned()))
}

fn recursed(depth: u64) -> u64 {
    let room = black_box([depth; 100]);
    if depth == u64::MAX { 0 } else { recursed(depth + 1) + room[0] }
}

fn hung() -> Result<Outcome, String> {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn reserved() -> usize {
    black_box(Vec::<u8>::with_capacity(1 << 40)).capacity()
}

fn counted() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed)
}

fn left() -> Result<Outcome, String> {
    fs::write("left", "half").expect("a new file");
    Ok(Outcome::Refused("no".to_owned()))
}

#[test]
fn faults_that_are_planted_are_found_and_no_others() {
    let test = "planted::faults_that_are_planted_are_found_and_no_others";
    if let Ok(folder) = env::var("SYSTOLIQ_FUZZ_JOB") {
        let folder = PathBuf::from(folder);
        return Job::read(&folder).run(&PLANTED.map(|(target, _)| target), &folder);
    }
    for (target, said) in &PLANTED {
        let job = Job { target: target.name.to_owned(), seed: 1, seconds: 0.2, only: None };
        let progress = watched(test, &job, Duration::from_secs(3));
        match progress.problem {
            Some(problem) => {
                assert!(!said.is_empty() && problem.contains(said), "{}: {problem}", target.name)
            }
            None => assert!(said.is_empty() && progress.read > 0, "{}", target.name),
        }
    }
}
