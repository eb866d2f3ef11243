//! The array in SystemVerilog, simulated by Icarus Verilog and, where it is installed, by
//! Verilator, gives the register engine's bits and cycles: every register in every cycle.
//!
//! The descriptions in `rtl/` make skew, preload, drain and the end of a fold on their own; they
//! are told operands and sizes, and no time. Without `iverilog` these tests fail.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use systoliq_array::register::Left;
use systoliq_array::{Array, ArrayCounts, Mapping, Register, Stationary};
use systoliq_fxp::{Accumulator, Adder, Conversion, Format, Overflow, Rounding, Tensor};
use systoliq_keyed_random::Key;
use systoliq_program::gemm::GemmShape;
use systoliq_program::{GemmTask, Operand};

/// Parameter sets per array, and cases of each.
const SETS: u64 = 25;
const CASES: u64 = 10;

const SOURCES: [&str; 5] = ["fit.sv", "requantize.sv", "add_limit.sv", "delay.sv", "judge.sv"];

/// Random numbers, one after the other.
struct Draw(Key, u64);

impl Draw {
    fn between(&mut self, low: i64, high: i64) -> i64 {
        self.1 += 1;
        low + i64::from(self.0.word(self.1)) % (high - low + 1)
    }

    fn size(&mut self, low: usize, high: usize) -> usize {
        self.between(low as i64, high as i64) as usize
    }
}

/// What the hardware is built for.
#[derive(Debug)]
struct Parameters {
    stationary: Stationary,
    rows: usize,
    cols: usize,
    bits: [u32; 2],
    accumulator: u32,
    accumulator_overflow: usize,
    shift: i32,
    rounding: usize,
    output: u32,
    output_overflow: usize,
}

impl Parameters {
    fn draw(stationary: Stationary, set: u64) -> Self {
        let mut draw = Draw(Key::new(set).with_name("parameters"), 0);
        let bits = [draw.between(2, 9) as u32, draw.between(2, 9) as u32];
        // Wide enough for one product, but mostly not for many.
        let accumulator = bits[0] + bits[1] + draw.between(0, 4) as u32;
        let output = draw.between(2, 8) as u32;
        // Results mostly keep a few of their upper bits.
        let spare = accumulator.saturating_sub(output) as i64;
        Self {
            stationary,
            rows: draw.size(1, 5),
            cols: draw.size(1, 5),
            bits,
            accumulator,
            accumulator_overflow: (set % 3) as usize,
            shift: draw.between((spare - 4).max(0), spare) as i32,
            rounding: (set % 5) as usize,
            output,
            output_overflow: (set / 3 % 3) as usize,
        }
    }

    /// Names and values as the test benches take them.
    fn values(&self) -> [(&'static str, String); 10] {
        [
            ("R", self.rows.to_string()),
            ("C", self.cols.to_string()),
            ("A_BITS", self.bits[0].to_string()),
            ("B_BITS", self.bits[1].to_string()),
            ("ACC_BITS", self.accumulator.to_string()),
            ("ACC_OVERFLOW", self.accumulator_overflow.to_string()),
            ("SHIFT", self.shift.to_string()),
            ("ROUNDING", self.rounding.to_string()),
            ("OUT_BITS", self.output.to_string()),
            ("OUT_OVERFLOW", self.output_overflow.to_string()),
        ]
    }

    fn name(&self) -> &'static str {
        if self.stationary == Stationary::Output { "os" } else { "ws" }
    }

    /// One random GEMM as the test bench reads it: stimuli, then a line per cycle. Returns its
    /// cycles, and how many of its sums overflowed.
    fn case(&self, seed: u64, text: &mut String) -> (u64, u64) {
        let mut draw = Draw(Key::new(seed).with_name(self.name()), 0);
        let (m, k, n) = (draw.size(1, 11), draw.size(1, 11), draw.size(1, 11));
        let mut tensor = |bits: u32, rows: usize, cols: usize| {
            let format = Format::new(bits, 0, true).unwrap();
            let ends_only = draw.between(0, 3) == 0;
            let codes: Vec<i64> = (0..rows * cols)
                .map(|_| match ends_only {
                    true => [format.min_raw(), format.max_raw()][draw.size(0, 1)],
                    false => draw.between(format.min_raw(), format.max_raw()),
                })
                .collect();
            Tensor::from_codes(format, rows, cols, &codes)
        };
        let (a, b) = (tensor(self.bits[0], m, k), tensor(self.bits[1], k, n));
        let overflow = Overflow::ALL[self.accumulator_overflow];
        let accumulator =
            Accumulator::new(self.accumulator, None, Rounding::Floor, overflow).unwrap();
        let task = GemmTask::new(
            Operand::new(&a, false),
            Operand::new(&b, false),
            Adder::new(&accumulator, 0, Key::new(0)),
            None,
        );
        let array = Array::new(self.rows, self.cols).unwrap();
        let mapping = Mapping::new(&array, task.shape(), self.stationary);
        let counts = ArrayCounts::of(&mapping).unwrap();
        writeln!(text, "{} {}", counts.folds, counts.cycles.total()).unwrap();
        self.stimuli(&task, &mapping, text);
        let mut cycles = 0;
        let sums = Register::new(array, self.stationary).unwrap().observe(&task, &mut |clock| {
            cycles += 1;
            let registers = clock.registers;
            for ((right, other), cell) in
                registers.right.iter().zip(&registers.other).zip(&registers.sums)
            {
                write!(text, "{} {} ", right.code, u8::from(right.valid)).unwrap();
                write!(text, "{} {} {} ", other.code, u8::from(other.valid), cell.sum.value)
                    .unwrap();
                if self.stationary == Stationary::Weight {
                    write!(text, "{} ", u8::from(cell.valid)).unwrap();
                }
            }
            for column in 0..self.cols {
                let complete =
                    |left: &&Left| left.column == column && left.cell.additions == k as u64;
                match clock.left.iter().find(complete) {
                    Some(left) => write!(text, "1 {} ", self.requantize(left.cell.sum.value)),
                    None => write!(text, "0 0 "),
                }
                .unwrap();
            }
            text.push('\n');
        });
        assert_eq!(cycles, counts.cycles.total().0, "cycles stepped and in closed form");
        (cycles, sums.overflowed)
    }

    /// What the array is told of each fold, and the operands that it asks for.
    fn stimuli(&self, task: &GemmTask<'_>, mapping: &Mapping, text: &mut String) {
        let GemmShape { m, k, n } = task.shape();
        let a = |i: usize, at: usize| if i < m && at < k { task.a.code(i, at) } else { 0 };
        let b = |at: usize, j: usize| if at < k && j < n { task.b.code(at, j) } else { 0 };
        for tile in mapping.tiles() {
            let time = mapping.extents().time;
            let output_stays = self.stationary == Stationary::Output;
            let first = output_stays || tile.row == 0;
            let last = output_stays || tile.row + tile.rows == k;
            let (first, last) = (u8::from(first), u8::from(last));
            writeln!(text, "{time} {} {} {first} {last}", tile.rows, tile.cols).unwrap();
            let rows = tile.row..tile.row + self.rows;
            let cols = tile.col..tile.col + self.cols;
            let mut line = |codes: Vec<i64>| {
                let words: Vec<String> = codes.iter().map(i64::to_string).collect();
                writeln!(text, "{}", words.join(" ")).unwrap();
            };
            if output_stays {
                for at in 0..time {
                    let pair = rows.clone().map(|i| a(i, at));
                    line(pair.chain(cols.clone().map(|j| b(at, j))).collect());
                }
            } else {
                rows.clone().for_each(|at| line(cols.clone().map(|j| b(at, j)).collect()));
                (0..time).for_each(|i| line(rows.clone().map(|at| a(i, at)).collect()));
            }
        }
    }

    fn requantize(&self, sum: i64) -> i64 {
        let conversion = Conversion {
            from_frac: self.shift,
            scale: 1,
            to: Format::new(self.output, 0, true).unwrap(),
            rounding: Rounding::ALL[self.rounding],
            overflow: Overflow::ALL[self.output_overflow],
            key: Key::new(0),
            squares: true,
        };
        conversion.convert(sum.into(), 0).code
    }
}

fn installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
        || Command::new(tool).arg("-V").output().is_ok()
}

/// Runs a command and returns what it printed; fails with all of it where it fails.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    // Icarus only warns of a parameter that it does not know.
    let accepted = output.status.success() && !err.contains("not found");
    assert!(accepted, "{command:?}\n{out}\n{err}");
    out.into_owned()
}

fn sources(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rtl");
    let own = [format!("{name}_array.sv"), format!("{name}_tb.sv")];
    let all = SOURCES.iter().map(|source| (*source).to_owned()).chain(own);
    all.map(|source| folder.join(source)).collect()
}

/// Builds the array and returns the command that simulates it.
fn build(tool: &str, parameters: &Parameters, folder: &Path) -> Command {
    let name = parameters.name();
    let top = format!("{name}_tb");
    let values = parameters.values();
    if tool == "iverilog" {
        let image = folder.join("image.vvp");
        let mut compile = Command::new(tool);
        compile.args(["-g2012", "-s", &top, "-o"]).arg(&image);
        compile.args(values.map(|(key, value)| format!("-P{top}.{key}={value}")));
        run(compile.args(sources(name)));
        let mut simulate = Command::new("vvp");
        simulate.arg("-n").arg(image);
        simulate
    } else {
        let mut compile = Command::new(tool);
        compile.args(["--binary", "--timing", "-Wno-fatal", "--top-module", &top, "--Mdir"]);
        compile.arg(folder).args(values.map(|(key, value)| format!("-G{key}={value}")));
        run(compile.args(sources(name)));
        Command::new(folder.join(format!("V{top}")))
    }
}

/// Runs `cases` random GEMMs on the array in SystemVerilog; returns how many of their sums overflow.
fn agree(tool: &str, parameters: &Parameters, set: u64, cases: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("{cases}\n");
    let (mut cycles, mut overflowed) = (0, 0);
    for case in 0..cases {
        let (of_case, sums) = parameters.case(set << 32 | case, &mut text);
        cycles += of_case;
        overflowed += sums;
    }
    let file = folder.path().join("cases.txt");
    std::fs::write(&file, text).unwrap();
    let mut simulate = build(tool, parameters, folder.path());
    let printed = run(simulate.arg(format!("+cases={}", file.display())));
    let verdict = format!("cases {cases} cycles {cycles} mismatches 0");
    assert_eq!(printed.lines().last(), Some(verdict.as_str()), "{parameters:?}\n{printed}");
    overflowed
}

fn every_register_agrees(stationary: Stationary) {
    assert!(
        installed("iverilog"),
        "Icarus Verilog is not installed: `apt-get install iverilog` brings it, `--skip rtl::` leaves these \
         tests out"
    );
    let mut overflowed = 0;
    for set in 0..SETS {
        overflowed += agree("iverilog", &Parameters::draw(stationary, set), set, CASES);
    }
    assert!(overflowed > SETS, "only {overflowed} sums overflowed");
    if installed("verilator") {
        agree("verilator", &Parameters::draw(stationary, SETS), SETS, 10 * CASES);
    }
}

#[test]
fn the_output_stationary_array_in_system_verilog_has_the_same_registers_in_every_cycle() {
    every_register_agrees(Stationary::Output);
}

#[test]
fn the_weight_stationary_array_in_system_verilog_has_the_same_registers_in_every_cycle() {
    every_register_agrees(Stationary::Weight);
}
