//! Value change dumps.
//!
//! The `vcd` crate writes the header; changes are put together here, since most of a dump is bits.

use std::io::{self, Write};

use ::vcd::{IdCode, TimescaleUnit, VarType, Writer};

use super::Trace;
use super::signals::{Label, SignalKind, SignalValues, Signals, Visitor, ascii_bits};
use crate::instant::Instant;

/// Bytes that are put together before they are written.
const BUFFER: usize = 1 << 16;

impl Trace<'_, '_> {
    /// Writes a value change dump. `progress` is told how many cycles are done.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written.
    pub fn vcd(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        let signals = Signals::new(self);
        let (period, exponent) = self.timescale();
        let mut header = Writer::new(out);
        header.version("systoliq")?;
        header.comment(&self.description().join("\n    "))?;
        let unit = if exponent == -9 { TimescaleUnit::NS } else { TimescaleUnit::PS };
        header.timescale(1, unit)?;
        let mut declaring = VcdDeclarations { header, ids: Vec::new(), outcome: Ok(()) };
        signals.walk(&Instant::reset(self.instants.mapping()), &mut declaring);
        let VcdDeclarations { mut header, ids, outcome } = declaring;
        outcome?;
        header.enddefinitions()?;
        let out = header.writer();
        let mut values = SignalValues::new(ids.len());
        let mut text = Vec::with_capacity(BUFFER);
        self.each(progress, |instant| {
            let first = instant.cycle == self.cycles.start;
            writeln!(text, "#{}", instant.cycle * period)?;
            text.extend_from_slice(if first { b"$dumpvars\n" } else { b"" });
            values.changes(&signals, instant, first, |at, kind, value| {
                change(&mut text, &ids[at], kind, value);
            });
            text.extend_from_slice(if first { b"$end\n" } else { b"" });
            if text.len() >= BUFFER {
                out.write_all(&text)?;
                text.clear();
            }
            Ok(())
        })?;
        writeln!(text, "#{}", self.cycles.end * period)?;
        out.write_all(&text)?;
        out.flush()
    }
}

/// Writes the declarations; keeps the first failure.
struct VcdDeclarations<'w> {
    header: Writer<&'w mut dyn Write>,
    ids: Vec<Id>,
    outcome: io::Result<()>,
}

/// The short name of a signal, up to five characters, and how many.
type Id = ([u8; 5], u8);

fn id(code: IdCode) -> Id {
    let name = code.to_string();
    let mut id = [0; 5];
    id[..name.len()].copy_from_slice(name.as_bytes());
    (id, name.len() as u8)
}

impl VcdDeclarations<'_> {
    fn declare(
        &mut self,
        write: impl FnOnce(&mut Writer<&mut dyn Write>) -> io::Result<Option<IdCode>>,
    ) {
        if self.outcome.is_ok() {
            match write(&mut self.header) {
                Ok(code) => self.ids.extend(code.map(id)),
                Err(error) => self.outcome = Err(error),
            }
        }
    }
}

impl Visitor for VcdDeclarations<'_> {
    fn open(&mut self, label: Label) {
        self.declare(|header| header.add_module(&label.to_string()).map(|()| None));
    }

    fn close(&mut self) {
        self.declare(|header| header.upscope().map(|()| None));
    }

    fn signal(&mut self, label: Label, kind: SignalKind, _value: u64) {
        let (is, bits) = match kind {
            SignalKind::Bits(bits) => (VarType::Wire, bits),
            SignalKind::Word => (VarType::String, 1),
        };
        self.declare(|header| header.add_var(is, bits, &label.to_string(), None).map(Some));
    }
}

/// Adds a line that says what a signal has become. Leading zeros of a vector are left out.
#[inline]
fn change(text: &mut Vec<u8>, (name, length): &Id, kind: SignalKind, value: u64) {
    match kind {
        SignalKind::Bits(1) => text.push(b'0' + value as u8),
        SignalKind::Bits(_) => {
            text.push(b'b');
            let zeros = value.leading_zeros().min(63) as usize;
            text.extend_from_slice(&ascii_bits(value)[zeros..]);
            text.push(b' ');
        }
        SignalKind::Word => {
            let bytes = value.to_be_bytes();
            text.push(b's');
            text.extend(bytes.iter().filter(|&&byte| byte != 0));
            text.push(b' ');
        }
    }
    text.extend_from_slice(&name[..usize::from(*length)]);
    text.push(b'\n');
}
