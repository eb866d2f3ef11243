//! Fast signal traces.
//!
//! A phase is a vector of ASCII letters here, since the `fst-writer` crate writes no strings. Before
//! the first cycle of a part every signal is x; the `start_time` of that crate is no start, but an
//! offset that viewers add.

use std::io::{self, Seek, Write};

use fst_writer::{
    FstFileType, FstHeaderWriter, FstInfo, FstScopeType, FstSignalId, FstSignalType,
    FstVarDirection, FstVarType, FstWriteError,
};

use super::Trace;
use super::signals::{Label, SignalKind, SignalValues, Signals, Visitor, WORD_BITS, ascii_bits};
use crate::instant::Instant;

/// Bytes of changes that are collected before they are compressed and written.
const BLOCK: usize = 32 << 20;

/// The most bytes of the line that says what a file is.
const VERSION_MAX: usize = 127;

impl Trace<'_, '_> {
    /// Writes a fast signal trace. `progress` is told how many cycles are done.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written.
    pub fn fst<W: Write + Seek>(&self, out: W, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        let signals = Signals::new(self);
        let (period, timescale_exponent) = self.timescale();
        let version = version(&self.description().join("; "));
        let info = FstInfo {
            start_time: 0,
            timescale_exponent,
            version,
            date: String::new(),
            file_type: FstFileType::Verilog,
        };
        let header = FstHeaderWriter::new(out, &info).map_err(failed)?;
        let mut declaring = FstDeclarations { header, ids: Vec::new(), outcome: Ok(()) };
        signals.walk(&Instant::reset(self.instants.mapping()), &mut declaring);
        let FstDeclarations { header, ids, outcome } = declaring;
        outcome.map_err(failed)?;
        let mut body = header.finish().map_err(failed)?;
        body.set_deduplicate(false);
        let mut values = SignalValues::new(ids.len());
        self.each(progress, |instant| {
            // A block may end only before a time begins.
            if body.size() >= BLOCK {
                body.flush().map_err(failed)?;
            }
            body.time_change(instant.cycle * period).map_err(failed)?;
            let first = instant.cycle == self.cycles.start;
            let mut outcome = Ok(());
            values.changes(&signals, instant, first, |at, kind, value| {
                let bits = ascii_bits(value);
                let changed = body.signal_change(ids[at], &bits[64 - width(kind) as usize..]);
                if outcome.is_ok() {
                    outcome = changed.map_err(failed);
                }
            });
            outcome
        })?;
        body.time_change(self.cycles.end * period).map_err(failed)?;
        body.finish().map_err(failed)?.flush()
    }
}

/// What a file is, in as many whole words as there is room for; of a first word that is too long,
/// what there is room for.
fn version(description: &str) -> String {
    const NAME: &str = "systoliq: ";
    let mut version = format!("{NAME}{description}");
    if version.len() > VERSION_MAX {
        let most = version.floor_char_boundary(VERSION_MAX);
        let whole = version[most..].starts_with(' ').then_some(most);
        let end = whole.or_else(|| version[..most].rfind(' ').filter(|&end| end >= NAME.len()));
        version.truncate(end.unwrap_or(most));
        version.truncate(version.trim_end_matches([',', ';']).len());
    }
    version
}

fn failed(error: FstWriteError) -> io::Error {
    match error {
        FstWriteError::Io(error) => error,
        other => io::Error::other(other),
    }
}

fn width(kind: SignalKind) -> u32 {
    match kind {
        SignalKind::Bits(bits) => bits,
        SignalKind::Word => WORD_BITS,
    }
}

/// Writes the declarations; keeps the first failure.
struct FstDeclarations<W: Write + Seek> {
    header: FstHeaderWriter<W>,
    ids: Vec<FstSignalId>,
    outcome: Result<(), FstWriteError>,
}

impl<W: Write + Seek> Visitor for FstDeclarations<W> {
    fn open(&mut self, label: Label) {
        if self.outcome.is_ok() {
            self.outcome = self.header.scope(label.to_string(), "", FstScopeType::Module);
        }
    }

    fn close(&mut self) {
        if self.outcome.is_ok() {
            self.outcome = self.header.up_scope();
        }
    }

    fn signal(&mut self, label: Label, kind: SignalKind, _value: u64) {
        let bits = FstSignalType::bit_vec(width(kind));
        let implicit = FstVarDirection::Implicit;
        let declared = self.header.var(label.to_string(), bits, FstVarType::Wire, implicit, None);
        match declared {
            Ok(id) => self.ids.push(id),
            Err(error) if self.outcome.is_ok() => self.outcome = Err(error),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_description_ends_with_a_word() {
        assert_eq!(version("C[1, 1]"), "systoliq: C[1, 1]");
        for length in 100..140 {
            let long = version(&format!("{}, two; three", "x".repeat(length)));
            let ends = ["x", "two", "three"].iter().any(|word| long.ends_with(word));
            assert!(long.len() <= VERSION_MAX && ends, "{long}");
        }
        for length in 30..70 {
            let long = version(&format!("{}, two", "\u{3bc}".repeat(length)));
            let room = VERSION_MAX - long.len();
            assert!(long.ends_with("two") || long.ends_with('\u{3bc}') && room < 6, "{long}");
        }
    }
}
