//! The store of what runs found: one line of JSON a run, durable when it is written.
//!
//! While runs end in any order, their lines are appended; when all are done, [`Lines::in_order`]
//! gives the bytes that do not depend on it. A line that is cut short, as by a process that was
//! killed, can only be the last, and is dropped.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::Plans;
use crate::{Error, Line, RunKey, RunOutcome};

/// A line has fewer bytes: several times what an experiment may have that states its data.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Where lines are appended.
pub trait Journal: Send {
    /// Appends bytes that end with a line break, and returns when they will survive the process.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Keeps nothing.
impl Journal for io::Sink {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Lines by the keys of their experiments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines(BTreeMap<RunKey, Line>);

impl Lines {
    /// Adds the lines of a store, and passes over blank ones. Returns how many bytes of it were whole lines;
    /// what follows these was cut short. Of several lines of one key, one that is done counts, else the last.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a line before its last is none.
    pub fn read(&mut self, mut store: impl BufRead) -> Result<u64, Error> {
        let (mut whole, mut number, mut damaged) = (0, 0, None);
        let (mut text, mut plans) = (Vec::new(), Plans::default());
        loop {
            text.clear();
            let mut line = store.by_ref().take(LINE_BYTES_MAX);
            let read = line.read_until(b'\n', &mut text);
            let bytes = read.map_err(|source| Error::Store { what: "read", source })?;
            if bytes as u64 == LINE_BYTES_MAX {
                let problem = format!("{LINE_BYTES_MAX} bytes or more");
                return Err(Error::Damaged { line: number + 1, problem });
            }
            if bytes == 0 {
                return Ok(whole);
            }
            if text.trim_ascii().is_empty() && text.ends_with(b"\n") {
                whole += if damaged.is_none() { bytes as u64 } else { 0 };
                number += 1;
                continue;
            }
            // Another line follows, so that this was not cut short.
            if let Some(error) = damaged.take() {
                return Err(error);
            }
            number += 1;
            match text.strip_suffix(b"\n").map_or(Err("no line break".to_owned()), parse) {
                Ok(line) => {
                    // No line that was cut short has the key of its experiment.
                    line.check(&mut plans).map_err(|problem| {
                        let problem = format!("run {}: {problem}", line.key);
                        Error::Damaged { line: number, problem }
                    })?;
                    whole += bytes as u64;
                    self.insert(line);
                }
                Err(problem) => damaged = Some(Error::Damaged { line: number, problem }),
            }
        }
    }

    /// The line of a key.
    pub fn get(&self, key: RunKey) -> Option<&Line> {
        self.0.get(&key)
    }

    /// The line of a key, if its run was trained to its end.
    pub fn done(&self, key: RunKey) -> Option<&Line> {
        self.ended(key, false)
    }

    /// The line of a key, if its run was trained to its end, or was given up where `stopped` allows
    /// that.
    pub fn ended(&self, key: RunKey, stopped: bool) -> Option<&Line> {
        self.get(key).filter(|line| match &line.outcome {
            RunOutcome::Done(_) => true,
            RunOutcome::Stopped(_) => stopped,
            RunOutcome::Failed(_) => false,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// All, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.values()
    }

    /// Adds a line, unless its key has one that is done.
    pub fn insert(&mut self, line: Line) {
        if self.done(line.key).is_none() {
            self.0.insert(line.key, line);
        }
    }

    /// All lines as text, each once: those of these keys in this order, then the others in the order
    /// of their keys.
    pub fn in_order(&self, keys: impl IntoIterator<Item = RunKey>) -> String {
        let mut seen = std::collections::BTreeSet::new();
        let all = keys.into_iter().chain(self.0.keys().copied());
        let first = all.filter(|&key| seen.insert(key));
        first.filter_map(|key| self.get(key)).map(written).collect()
    }
}

/// A line as the store has it.
fn written(line: &Line) -> String {
    serde_json::to_string(line).expect("a line can be written as JSON") + "\n"
}

fn parse(text: &[u8]) -> Result<Line, String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| {
        // The number of the line is that in the store.
        let (problem, column) = (error.to_string(), error.column());
        let problem = problem.split(" at line ").next().unwrap_or_default();
        format!("{problem} at column {column}")
    })?;
    let key = RunKey::of(&line.experiment);
    if line.key != key {
        return Err(format!("its key is {}, that of its experiment {key}", line.key));
    }
    Ok(line)
}

/// Lines that are appended to a journal as they come.
pub struct RunStore(Mutex<Inner>);

struct Inner {
    lines: Lines,
    journal: Box<dyn Journal>,
    /// Why a line is cut short, after which none may follow.
    broken: Option<String>,
}

impl RunStore {
    /// A store that has these lines, and appends others to a journal.
    pub fn new(lines: Lines, journal: impl Journal + 'static) -> Self {
        Self(Mutex::new(Inner { lines, journal: Box::new(journal), broken: None }))
    }

    /// What [`Lines::ended`] has.
    pub fn ended(&self, key: RunKey, stopped: bool) -> Option<Line> {
        self.inner().lines.ended(key, stopped).cloned()
    }

    /// What `look` finds in the lines that there are.
    pub fn with_lines<T>(&self, look: impl FnOnce(&Lines) -> T) -> T {
        look(&self.inner().lines)
    }

    /// Appends a line.
    ///
    /// # Errors
    ///
    /// If it cannot be written; then no other can be.
    pub fn append(&self, line: &Line) -> Result<(), Error> {
        let mut inner = self.inner();
        let failed = |source| Error::Store { what: "write to", source };
        if let Some(reason) = &inner.broken {
            let problem = format!("an earlier line could not be written whole: {reason}");
            return Err(failed(io::Error::other(problem)));
        }
        if let Err(error) = inner.journal.append(written(line).as_bytes()) {
            inner.broken = Some(error.to_string());
            return Err(failed(error));
        }
        inner.lines.insert(line.clone());
        Ok(())
    }

    /// The lines that there are.
    pub fn into_lines(self) -> Lines {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).lines
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere left no line half inserted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn line(seed: u64, reason: &str) -> Line {
        let experiment = json!({ "seed": seed });
        let outcome = RunOutcome::Failed(reason.to_owned());
        Line { key: RunKey::of(&experiment), experiment, outcome }
    }

    /// A journal that others can look into.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Journal for Shared {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn a_store_cut_at_any_byte_has_the_whole_lines_before_it() {
        let journal = Shared::default();
        let store = RunStore::new(Lines::default(), journal.clone());
        let lines = [line(1, "a"), line(2, "b\n\u{e9}"), line(3, "")];
        lines.iter().for_each(|line| store.append(line).unwrap());
        let bytes = journal.0.lock().unwrap().clone();
        for cut in 0..=bytes.len() {
            let mut read = Lines::default();
            let whole = read.read(&bytes[..cut]).unwrap() as usize;
            let expected =
                bytes[..cut].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            assert_eq!(whole, expected, "{cut}");
            let count = bytes[..whole].iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(read.iter().count(), count, "{cut}");
            assert!(lines[..count].iter().all(|line| read.get(line.key) == Some(line)), "{cut}");
        }
    }

    /// A disk that is full for one line.
    struct Full(Shared, bool);

    impl Journal for Full {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            if std::mem::replace(&mut self.1, false) {
                self.0.append(&bytes[..bytes.len() / 2])?;
                return Err(io::Error::other("no space"));
            }
            self.0.append(bytes)
        }
    }

    #[test]
    fn nothing_follows_a_line_that_could_not_be_written() {
        let journal = Shared::default();
        let store = RunStore::new(Lines::default(), Full(journal.clone(), true));
        for (seed, said) in
            [(1, "no space"), (2, "an earlier line could not be written whole: no space")]
        {
            let message = store.append(&line(seed, "a")).unwrap_err().to_string();
            assert_eq!(message, format!("cannot write to the store: {said}"));
        }
        let mut lines = Lines::default();
        assert_eq!(lines.read(&journal.0.lock().unwrap()[..]).unwrap(), 0);
        assert_eq!(store.into_lines(), lines);
    }

    #[test]
    fn a_damaged_line_is_refused_but_at_the_end() {
        let (one, two) = (written(&line(1, "a")), written(&line(2, "b")));
        let other = one.replace("\"seed\":1", "\"seed\":3");
        for damaged in ["{}\n", "{\"key\": 1}\n", "\0\0\0\n", &other, &one[..one.len() / 2]] {
            let mut lines = Lines::default();
            let whole = lines.read((one.clone() + damaged).as_bytes()).unwrap();
            assert_eq!((whole, lines.iter().count()), (one.len() as u64, 1), "{damaged:?}");
            let damaged = damaged.to_owned() + if damaged.ends_with('\n') { "" } else { "\n" };
            let text = one.clone() + &damaged + &two;
            let message = Lines::default().read(text.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with("line 2 of the store is damaged: "), "{message}");
            assert!(message.ends_with("without that line, its run is done again"), "{message}");
        }
    }

    #[test]
    fn blank_lines_are_passed_over() {
        let (one, two) = (written(&line(1, "a")), written(&line(2, "b")));
        let text = format!("\n{one}\n \r\n{two}\n\n");
        let mut lines = Lines::default();
        assert_eq!(lines.read(text.as_bytes()).unwrap(), text.len() as u64);
        assert_eq!(lines.iter().count(), 2);
        // What was cut short before them is dropped with them, and lines are counted as they stand.
        let cut = format!("{one}\n{}", &two[..two.len() / 2]);
        let whole = Lines::default().read(format!("{cut}\n\n").as_bytes()).unwrap();
        assert_eq!(whole, one.len() as u64 + 1);
        let message = Lines::default().read(format!("{cut}\n\n{two}").as_bytes()).unwrap_err();
        assert!(message.to_string().starts_with("line 3 of the store is damaged"), "{message}");
    }

    #[test]
    fn lines_in_order_do_not_depend_on_how_they_came() {
        let all = [line(1, "a"), line(2, "b"), line(3, "c")];
        let keys = all.each_ref().map(|line| line.key);
        let expected: String = all.iter().map(written).collect();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut lines = Lines::default();
            order.iter().for_each(|&at| lines.insert(all[at].clone()));
            assert_eq!(lines.in_order(keys), expected, "{order:?}");
            let again = lines.in_order([keys[1], keys[1]]);
            assert_eq!(again.lines().count(), 3, "none is lost: {again}");
            assert!(again.starts_with(&written(&all[1])), "{again}");
        }
    }

    #[test]
    fn the_last_failure_of_a_run_counts() {
        let mut lines = Lines::default();
        lines.read((written(&line(1, "a")) + &written(&line(1, "b"))).as_bytes()).unwrap();
        assert_eq!(lines.iter().next(), Some(&line(1, "b")));
    }
}
