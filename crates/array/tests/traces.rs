//! Traces, read back by the reader under the Surfer viewer, are what the register engine shows.

mod cases;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::ops::Range;

use cases::{Case, Draw, any_case, any_convolution, policies};
use systoliq_array::register::{Clock, CycleCause, Latch, SumRegister};
use systoliq_array::{
    Array, Error, FoldSchedule, Instants, Mapping, Overlap, PartialFolds, Stationary, Trace,
};
use systoliq_fxp::{Accumulator, Adder, Format, Overflow, OverflowAt, Rounding, Sum, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{GemmTask, Operand};
use wellen::simple::{Waveform, read_from_reader};
use wellen::{SignalValueRef, TimescaleUnit};

/// Bits or text of every signal, by full name, at each of some times.
type Waves = BTreeMap<String, Vec<String>>;

/// Reads a trace; `times` are those that it must have.
fn read(bytes: Vec<u8>, times: &[u64]) -> (Waves, Waveform) {
    read_some(bytes, times, |_| true)
}

/// Reads those signals of a trace whose names are wanted.
fn read_some(bytes: Vec<u8>, times: &[u64], wanted: fn(&str) -> bool) -> (Waves, Waveform) {
    let mut wave = read_from_reader(Cursor::new(bytes)).unwrap();
    let table: Vec<u64> = wave.time_table().to_vec();
    let ends = &table[table.len() - times.len()..];
    assert_eq!(ends, times);
    // A fast signal trace knows of time 0 also where it begins later.
    assert!(table.len() == times.len() || table[..table.len() - times.len()] == [0], "{table:?}");
    let hierarchy = wave.hierarchy();
    let named: Vec<_> = hierarchy
        .all_vars()
        .map(|var| (hierarchy[var].full_name(hierarchy), hierarchy[var].signal_ref()))
        .filter(|(name, _)| wanted(name))
        .collect();
    wave.load_signals(&named.iter().map(|(_, signal)| *signal).collect::<Vec<_>>());
    let mut waves = Waves::new();
    for (name, signal) in named {
        let mut changes = wave.get_signal(signal).unwrap().iter_changes().peekable();
        let (mut values, mut value) = (Vec::new(), String::new());
        for (at, time) in table.iter().enumerate() {
            while let Some((_, change)) = changes.next_if(|(index, _)| *index as usize == at) {
                let text = text(&change);
                assert_ne!(text, value, "{name} does not change at {time}");
                value = text;
            }
            values.push(value.clone());
        }
        assert!(changes.next().is_none(), "{name}");
        values.drain(..table.len() - times.len());
        values.pop();
        assert!(waves.insert(name.clone(), values).is_none(), "{name} twice");
    }
    (waves, wave)
}

fn text(value: &SignalValueRef<'_>) -> String {
    match value {
        SignalValueRef::BitVec(bits) => bits.bit_string(),
        SignalValueRef::String(text) => (*text).to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A phase in a fast signal trace: ASCII letters behind zeros.
fn letters(bits: &str) -> String {
    let bytes = (0..bits.len() / 8).map(|at| u8::from_str_radix(&bits[8 * at..8 * at + 8], 2));
    String::from_utf8(bytes.map(Result::unwrap).filter(|&byte| byte != 0).collect()).unwrap()
}

fn bits(code: i64, width: u32) -> String {
    format!("{code:064b}")[64 - width as usize..].to_owned()
}

fn width_of(number: u64) -> u32 {
    format!("{number:b}").len() as u32
}

/// What the signals of some PEs are to be, from what the register engine shows.
struct Expected<'c> {
    case: &'c Case,
    mapping: Mapping,
    rows: Range<usize>,
    cols: Range<usize>,
    waves: Waves,
}

impl Expected<'_> {
    fn put(&mut self, name: String, value: String) {
        self.waves.entry(format!("array.{name}")).or_default().push(value);
    }

    fn operand(&mut self, name: &str, is_a: bool, latch: &Latch) {
        let width = self.case.formats[usize::from(!is_a)].bits();
        self.put(name.to_owned(), bits(latch.code, width));
        self.put(format!("{name}_valid"), bits(latch.valid.into(), 1));
    }

    fn sum(&mut self, name: &str, cell: &SumRegister) {
        self.whole_sum(name, cell);
        if let Some(width) = self.run_width() {
            self.put(format!("{name}_chunk"), bits(cell.sum.chunk as i64, width));
        }
    }

    fn whole_sum(&mut self, name: &str, cell: &SumRegister) {
        self.put(name.to_owned(), bits(cell.sum.value, self.width()));
        self.put(format!("{name}_valid"), bits(cell.valid.into(), 1));
    }

    /// The width of the sum of a chunk, as wide as a sum, or of a block, which is exact.
    fn run_width(&self) -> Option<u32> {
        let [a, b] = self.case.formats.map(|format| format.bits());
        match self.case.blocks {
            Some((size, _)) => {
                let terms = u64::from(size.get()).min(self.case.shape.k as u64);
                Some((a + b + terms.next_power_of_two().ilog2()).min(64))
            }
            None => self.case.chunk.map(|_| self.width()),
        }
    }

    /// The width of a sum, of which a signal has at most 64 bits: where it saturates at the end only,
    /// k + 1 terms fit.
    fn width(&self) -> u32 {
        let late = self.case.overflow_at == OverflowAt::End;
        let guards = if late && self.case.overflow != Overflow::Wrap {
            width_of(self.case.shape.k as u64)
        } else {
            0
        };
        (self.case.bits + guards).min(64)
    }

    fn clock(&mut self, clock: &Clock<'_>) {
        let schedule = FoldSchedule::new(&self.mapping).unwrap();
        let cycles = schedule.cycles().unwrap().total().0;
        self.put("cycle".to_owned(), bits(clock.cycle as i64, width_of(cycles)));
        let loads = clock.cause == CycleCause::Preload;
        let come = schedule
            .folds()
            .filter(|fold| clock.cycle >= if loads { fold.chain } else { fold.start });
        let fold = come.count().saturating_sub(1) as i64;
        self.put("fold".to_owned(), bits(fold, width_of(schedule.count())));
        for cause in [CycleCause::Preload, CycleCause::Stream, CycleCause::Skew, CycleCause::Drain]
        {
            let name = format!("{cause:?}").to_lowercase();
            self.put(format!("phases.{name}"), bits((cause == clock.cause).into(), 1));
        }
        self.put("phase".to_owned(), format!("{:?}", clock.cause).to_lowercase());
        let (registers, grid_cols) = (clock.registers, self.mapping.cols);
        let a_moves_right = self.mapping.stationary != Stationary::Input;
        for row in self.rows.clone() {
            let left = &registers.right[row * grid_cols];
            self.operand(&format!("edge.left.row{row}"), a_moves_right, left);
            for col in self.cols.clone() {
                let (pe, name) = (row * grid_cols + col, format!("row{row}.pe_{row}_{col}"));
                let (right, other) = (registers.right[pe], registers.other[pe]);
                let (a, b) = if a_moves_right { (right, other) } else { (other, right) };
                self.operand(&format!("{name}.a"), true, &a);
                self.operand(&format!("{name}.b"), false, &b);
                self.sum(&format!("{name}.acc"), &registers.sums[pe]);
                let adds = a.valid && b.valid && a.fold == b.fold;
                self.put(format!("{name}.valid"), bits(adds.into(), 1));
                if let Some(shadow) = registers.other_shadow.get(pe) {
                    let letter = if a_moves_right { 'b' } else { 'a' };
                    self.operand(&format!("{name}.{letter}_shadow"), !a_moves_right, shadow);
                }
                if let Some(shadow) = registers.sum_shadow.get(pe) {
                    self.whole_sum(&format!("{name}.acc_shadow"), shadow);
                }
            }
        }
        for col in self.cols.clone() {
            let left = clock.left.iter().find(|left| left.column == col);
            let cell = left.map_or(SumRegister::default(), |left| left.cell);
            self.sum(&format!("edge.bottom.col{col}"), &cell);
            if self.mapping.output_stays() {
                self.operand(&format!("edge.top.col{col}"), false, &registers.other[col]);
            }
        }
    }
}

/// Writes a trace of a part of a case in both formats and compares it with the register engine.
fn check(case: &Case, task: &GemmTask<'_>) {
    let mapping = case.mapping();
    let instants = Instants::new(task, &mapping).unwrap();
    let mut draw = Draw::new(case.seed ^ 0x7ace);
    let mut part = |length: usize| {
        let from = if draw.flip() { 0 } else { draw.size(0, length - 1) };
        from..if draw.flip() { length } else { draw.size(from + 1, length) }
    };
    let (rows, cols) = (part(mapping.rows), part(mapping.cols));
    let cycles = part(instants.cycles() as usize);
    let cycles = cycles.start as u64..cycles.end as u64;
    let period = NonZero::new(draw.size(1, 5000) as u32).filter(|_| draw.flip());
    let mut trace = Trace::new(&instants, cycles.clone()).unwrap();
    trace = trace.of_pes(rows.clone(), cols.clone()).unwrap().titled("a $end of a test");
    if let Some(period) = period {
        trace = trace.with_period_ps(period).unwrap();
    }
    let waves = Waves::new();
    let mut expected = Expected { case, mapping, rows, cols, waves };
    case.register().observe(task, &mut |clock| {
        if cycles.contains(&clock.cycle) {
            expected.clock(clock);
        }
    });
    let (mut vcd, mut fst, mut done) = (Vec::new(), Cursor::new(Vec::new()), Vec::new());
    trace.vcd(&mut vcd, &mut |cycle| done.push(cycle)).unwrap();
    assert!(done.iter().copied().eq(1..=cycles.end - cycles.start));
    trace.fst(&mut fst, &mut |_| ()).unwrap();
    let unit = period.map_or(1, |period| u64::from(period.get()));
    let times: Vec<u64> = (cycles.start..=cycles.end).map(|cycle| cycle * unit).collect();
    let (vcd, wave) = read(vcd, &times);
    let timescale = wave.hierarchy().timescale().unwrap();
    let unit =
        if period.is_some() { TimescaleUnit::PicoSeconds } else { TimescaleUnit::NanoSeconds };
    assert_eq!((timescale.factor, timescale.unit), (1, unit));
    let (mut fst, wave) = read(fst.into_inner(), &times);
    assert_eq!(wave.hierarchy().timescale().unwrap().unit, unit);
    let phase = fst.get_mut("array.phase").unwrap();
    phase.iter_mut().for_each(|bits| *bits = letters(bits));
    assert!(vcd == fst, "{case:?}");
    for (name, values) in &expected.waves {
        assert_eq!(vcd.get(name), Some(values), "{name} of {case:?}");
    }
    // What the registers do not tell is what enters a column of an array whose operands stay.
    let entering = |name: &&String| name.starts_with("array.edge.top");
    let others = vcd.keys().filter(|name| !expected.waves.contains_key(*name));
    let signals = if expected.run_width().is_some() { 5 } else { 4 };
    let columns = if mapping.output_stays() { 0 } else { signals * expected.cols.len() };
    assert!(others.clone().all(|name| entering(&name)), "{:?}", others.collect::<Vec<_>>());
    assert_eq!(others.count(), columns, "{case:?}");
}

#[test]
fn dumps_read_back_in_both_formats_are_the_registers_under_every_policy() {
    for (at, policy) in policies().into_iter().enumerate() {
        for seed in 0..12 {
            let (stationary, overlap, partial_folds) = policy;
            let case = match seed % 3 {
                0 => any_convolution(1000 * at as u64 + seed, 4),
                _ => any_case(1000 * at as u64 + seed, 14),
            };
            let array = Array { overlap, partial_folds, ..case.array };
            let case = Case { array, stationary, ..case };
            case.with_task(|task| check(&case, task));
        }
    }
}

/// A case long enough for several blocks of a fast signal trace.
fn long_case() -> Case {
    let array = Array::new(16, 16).unwrap();
    let shape = GemmShape { m: 9000, k: 16, n: 16 };
    let formats = ["Q1.15", "Q1.15"].map(cases::format);
    let plain = any_case(12, 4);
    let any = Case { overflow_at: OverflowAt::Each, chunk: None, blocks: None, ..plain };
    Case {
        array,
        stationary: Stationary::Weight,
        shape,
        formats,
        bits: 48,
        shift: 0,
        seed: 2,
        ..any
    }
}

/// The blocks of changes in a fast signal trace: sections of type 8, each with its length behind.
fn blocks(fst: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < fst.len() {
        count += usize::from(fst[at] == 8);
        let length = u64::from_be_bytes(fst[at + 1..at + 9].try_into().unwrap());
        at += 1 + length as usize;
    }
    count
}

#[test]
fn a_trace_of_several_blocks_reads_back() {
    let case = long_case();
    case.with_task(|task| {
        let instants = Instants::new(task, &case.mapping()).unwrap();
        let trace = Trace::new(&instants, 0..instants.cycles()).unwrap();
        let (mut fst, mut vcd) = (Cursor::new(Vec::new()), Vec::new());
        trace.fst(&mut fst, &mut |_| ()).unwrap();
        trace.vcd(&mut vcd, &mut |_| ()).unwrap();
        let times: Vec<u64> = (0..=instants.cycles()).collect();
        let fst = fst.into_inner();
        assert!(blocks(&fst) >= 2, "{} blocks", blocks(&fst));
        assert!(fst.len() < vcd.len() / 4, "{} and {} bytes", fst.len(), vcd.len());
        let wanted = |name: &str| name.contains("pe_0_0") || name.contains("pe_15_15");
        let [(fst, _), (vcd, _)] = [fst, vcd].map(|bytes| read_some(bytes, &times, wanted));
        assert_eq!(fst.len(), 2 * 7);
        assert!(fst == vcd);
    });
}

/// A dump of the whole GEMM.
fn dump(array: Array, task: &GemmTask<'_>, title: &str) -> String {
    let mapping = Mapping::new(&array, task.shape(), Stationary::Output);
    let instants = Instants::new(task, &mapping).unwrap();
    let trace = Trace::new(&instants, 0..instants.cycles()).unwrap().titled(title);
    let mut text = Vec::new();
    trace.vcd(&mut text, &mut |_| ()).unwrap();
    String::from_utf8(text).unwrap()
}

/// A picture of the whole GEMM.
fn picture(mapping: &Mapping, task: &GemmTask<'_>, title: &str) -> String {
    let instants = Instants::new(task, mapping).unwrap();
    let trace = Trace::new(&instants, 0..instants.cycles()).unwrap().titled(title);
    let mut text = Vec::new();
    trace.text(&mut text, &mut |_| ()).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn pictures_show_the_registers() {
    for seed in 0..100 {
        let case = any_case(seed, 12);
        case.with_task(|task| {
            let text = picture(&case.mapping(), task, "");
            let (_, text) = text.split_once("\n\n").unwrap();
            let mut lines = text.lines();
            let a_moves_right = case.mapping().stationary != Stationary::Input;
            case.register().observe(task, &mut |clock| {
                let cause = format!("{:?}", clock.cause).to_lowercase();
                assert_eq!(lines.next().unwrap(), format!("cycle {}: {cause}", clock.cycle));
                let registers = clock.registers;
                for row in 0..case.array.rows {
                    for (col, shown) in lines.next().unwrap().split('|').enumerate() {
                        let pe = row * case.array.cols + col;
                        let operand = |latch: &Latch| match latch.valid {
                            true => latch.code.to_string(),
                            false => ".".to_owned(),
                        };
                        let mut expected =
                            [&registers.right[pe], &registers.other[pe]].map(operand);
                        if !a_moves_right {
                            expected.reverse();
                        }
                        let mut expected = expected.to_vec();
                        let Sum { value, chunk, .. } = registers.sums[pe].sum;
                        expected.push(match case.chunk.or(case.blocks.map(|(size, _)| size)) {
                            Some(_) if chunk < 0 => format!("{value}{chunk}"),
                            Some(_) => format!("{value}+{chunk}"),
                            None => value.to_string(),
                        });
                        if let Some(shadow) = registers.other_shadow.get(pe) {
                            expected.extend(["/".to_owned(), operand(shadow)]);
                        }
                        if let Some(shadow) = registers.sum_shadow.get(pe) {
                            expected.extend(["/".to_owned(), shadow.sum.value.to_string()]);
                        }
                        assert!(shown.split_whitespace().eq(&expected), "{shown} {expected:?}");
                    }
                }
            });
            assert_eq!(lines.next(), None);
        });
    }
}

/// Codes 1, 2, 3, … in 16 bits.
fn counting(rows: usize, cols: usize) -> Tensor {
    let codes: Vec<i64> = (1..=(rows * cols) as i64).collect();
    Tensor::from_codes(Format::new(16, 0, true).unwrap(), rows, cols, &codes)
}

#[test]
fn the_committed_traces_are_what_the_array_does() {
    let matrix = counting(3, 3);
    let operand = Operand::new(&matrix, false);
    let accumulator = Accumulator::new(32, None, Rounding::Floor, Overflow::Wrap).unwrap();
    let adder = Adder::new(&accumulator, 0, Key::new(0));
    let task = GemmTask::new(operand, operand, adder, None);
    for (stationary, committed) in [
        (Stationary::Output, include_str!("../../../traces/gemm-3x3.txt")),
        (Stationary::Weight, include_str!("../../../traces/gemm-3x3-ws.txt")),
    ] {
        let mapping = Mapping::new(&Array::new(3, 3).unwrap(), task.shape(), stationary);
        let picture = picture(&mapping, &task, "A = B = [1 2 3; 4 5 6; 7 8 9]");
        assert_eq!(picture, committed, "{picture}");
    }
    let dump = dump(Array::new(3, 3).unwrap(), &task, "A = B = [1 2 3; 4 5 6; 7 8 9]");
    assert!(dump == include_str!("../../../traces/gemm-3x3.vcd"), "{dump}");
}

#[test]
fn an_output_that_fails_is_reported() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Full {
        fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }
    let case = any_case(3, 8);
    case.with_task(|task| {
        let instants = Instants::new(task, &case.mapping()).unwrap();
        let trace = Trace::new(&instants, 0..instants.cycles()).unwrap();
        for room in [0, 10, 300, 2000] {
            let full = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
            };
            full(trace.vcd(&mut Full(room), &mut |_| ()));
            full(trace.text(&mut Full(room), &mut |_| ()));
        }
        assert!(trace.fst(Full(10), &mut |_| ()).is_err());
    });
}

#[test]
fn what_cannot_be_traced_is_refused_with_its_numbers() {
    let array = Array { overlap: Overlap::Pipelined, ..Array::new(2, 40).unwrap() };
    let case = Case { array, ..any_case(5, 6) };
    case.with_task(|task| {
        let instants = Instants::new(task, &case.mapping()).unwrap();
        let cycles = instants.cycles();
        let trace = || Trace::new(&instants, 0..cycles).unwrap();
        let error = Trace::new(&instants, 0..cycles + 1).unwrap_err();
        assert_eq!(error, Error::NoSuchCycles { from: 0, to: cycles + 1, cycles });
        for (rows, cols) in [(0..3, 0..1), (0..1, 40..41), (1..1, 0..1)] {
            let message = trace().of_pes(rows, cols).unwrap_err().to_string();
            assert!(message.contains("rows 0..2 and columns 0..40"), "{message}");
        }
        assert_eq!(trace().check_text(), Err(Error::TraceTooWide { cols: 40 }));
        assert!(trace().text(&mut Vec::new(), &mut |_| ()).is_err());
        let narrow = trace().of_pes(0..2, 3..19).unwrap();
        narrow.text(&mut Vec::new(), &mut |_| ()).unwrap();
        assert_eq!(narrow.pe_cycles(), u128::from(cycles) * 32);
    });
    let array = Array { partial_folds: PartialFolds::Trimmed, ..Array::new(1, 1).unwrap() };
    let case = Case { array, ..any_case(5, 6) };
    case.with_task(|task| {
        let instants = Instants::new(task, &case.mapping()).unwrap();
        let longest = Trace::new(&instants, 0..instants.cycles()).unwrap();
        assert!(longest.with_period_ps(NonZero::<u32>::MAX).is_ok());
    });
}
