//! Numbers in a text file: inputs first, then a class or targets, one sample per line.
//!
//! Values are taken as they stand, without scaling. Cells may be quoted and padded with blanks;
//! empty lines are passed over, but count: a line's number in an error is its place in the file.
//! Numbers never span lines, so a quoted cell must not either.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use ndarray::Array2;
use schemars::JsonSchema;
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use systoliq_keyed_random::Key;

use super::spec::{Open, open_first};
use super::{Answers, DataSet, Part, VALUES_MAX};
use crate::Error;

/// The most bytes of a line.
pub const LINE_MAX: u64 = 1 << 24;

/// A comma-separated file, and how to split it.
///
/// With `classes`, the last column is the number of a class; without, the last `targets` columns
/// are real targets. All other columns are inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvSpec {
    /// The file.
    pub path: String,
    /// Labels are below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Columns of real targets, where there are no classes. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<usize>,
    /// Whether the first line names the columns. Default false.
    #[serde(default)]
    pub header: bool,
    /// Samples held out for validation. Default 0.
    #[serde(default)]
    pub validation: Amount,
    /// Samples held out for the test.
    pub test: Amount,
    /// Whether a fixed permutation, the same for every seed, comes before the split into training,
    /// validation and test part; without, the parts follow each other in the file. Default true.
    #[serde(default = "yes")]
    pub shuffle: bool,
}

const fn yes() -> bool {
    true
}

/// So many samples, or a fraction of all: in JSON `300` or `0.25`.
///
/// ```
/// use systoliq_nn::data::csv::Amount;
/// let [count, fraction]: [Amount; 2] = serde_json::from_str("[3, 0.25]").unwrap();
/// assert_eq!((count.of(10), fraction.of(10)), (3, 2));
/// assert!(serde_json::from_str::<Amount>("1.5").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// So many.
    Count(usize),
    /// A fraction of all, from 0 to below 1, rounded down.
    Fraction(f64),
}

impl Default for Amount {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Amount {
    /// The number of samples that it is of `rows`.
    pub fn of(self, rows: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Fraction(fraction) => (fraction * rows as f64) as usize,
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;

        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count, or a fraction from 0 to below 1")
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Amount, E> {
                let refused = |_| E::invalid_value(Unexpected::Unsigned(count), &self);
                usize::try_from(count).map(Amount::Count).map_err(refused)
            }

            fn visit_f64<E: serde::de::Error>(self, fraction: f64) -> Result<Amount, E> {
                if (0.0..1.0).contains(&fraction) {
                    return Ok(Amount::Fraction(fraction));
                }
                Err(E::invalid_value(Unexpected::Float(fraction), &self))
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}

impl CsvSpec {
    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.classes.is_some() && self.targets.is_some() {
            return Err(Error::Exclusive { one: "dataset.classes", other: "dataset.targets" });
        }
        Error::check_count("dataset.classes", self.classes.unwrap_or(2), 2, u16::MAX.into())?;
        Error::check_count("dataset.targets", self.targets.unwrap_or(1), 1, u16::MAX.into())?;
        for (key, amount) in [("validation", self.validation), ("test", self.test)] {
            if let Amount::Fraction(fraction) = amount {
                Error::check_real(&format!("dataset.{key}"), fraction, 0.0, 1.0_f64.next_down())?;
            }
        }
        Ok(())
    }

    pub(super) fn load(&self, open: &mut Open<'_>) -> Result<DataSet, Error> {
        let (file, reader) = open_first(std::slice::from_ref(&self.path), open)?;
        let (all, heading) = self.read(&file, reader)?;
        let rows = all.len();
        let mut remarks = Vec::from_iter(heading);
        let order = match self.shuffle {
            true => Key::new(0).with_name("csv split").permutation(rows as u32),
            false => (0..rows as u32).collect(),
        };
        let [train, validation, test] =
            all.split(&file, &order, self.validation.of(rows), self.test.of(rows))?;
        match train.constant_columns() {
            0 => {}
            count => remarks.push(format!(
                "{file}: {count} of {} columns of inputs hold one value alone in the training part",
                all.features()
            )),
        }
        Ok(DataSet {
            name: file,
            features: all.features(),
            classes: self.classes,
            outputs: self.classes.or(self.targets).unwrap_or(1),
            train,
            validation,
            test,
            remarks,
        })
    }

    /// Reads the samples that `reader` holds, in its order. `file` names it in errors.
    ///
    /// # Errors
    ///
    /// If it cannot be read, holds no samples or too many, a line has another number of columns
    /// than the first, a cell is not a finite number, or a label is not below the classes.
    pub fn parse(&self, file: &str, reader: impl Read) -> Result<Part, Error> {
        Ok(self.read(file, reader)?.0)
    }

    /// Reads the samples, and remarks on a first line that is read for something else.
    fn read(&self, file: &str, reader: impl Read) -> Result<(Part, Option<String>), Error> {
        let mut heading = Heading::default();
        let answers = if self.classes.is_some() { 1 } else { self.targets.unwrap_or(1) };
        let mut table = CsvTable { file, answers, classes: self.classes, ..CsvTable::default() };
        let mut lines = BufReader::new(reader);
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let read = lines.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut bytes);
            if read.map_err(|source| Error::Read { file: file.to_owned(), source })? == 0 {
                break;
            }
            let text = line_text(file, line, &bytes)?;
            if text.is_empty() {
                continue;
            }
            let cells: Vec<&str> = cells(text).collect();
            let first = table.columns.is_none();
            table.check_columns(line, cells.len())?;
            heading.see(line, &cells, answers);
            if !(first && self.header) {
                table.add(line, first, &cells)?;
            }
        }
        let remark = heading.remark(self.header);
        Ok((table.finish()?, remark.map(|remark| format!("{file}: {remark}"))))
    }
}

/// Lines after the first that tell whether it is one of them.
const COMPARED_MAX: usize = 20;

/// The first line, which may be meant for a heading, beside those that follow it.
#[derive(Default)]
struct Heading {
    /// Its number, and its cells where all are numbers.
    first: Option<(u64, Option<Vec<f64>>)>,
    /// Whether it counts up, as names of columns do.
    counts_up: bool,
    /// Lines that were compared with it.
    compared: usize,
    /// Whether one of these counts up, too.
    so_do_others: bool,
}

impl Heading {
    fn see(&mut self, line: u64, cells: &[&str], answers: usize) {
        let numbers = || cells.iter().map(|cell| cell.parse().ok()).collect::<Option<Vec<f64>>>();
        if self.first.is_none() {
            let numbers = numbers();
            self.counts_up = numbers.as_deref().is_some_and(|all| counts_up(all, answers));
            self.first = Some((line, numbers));
        } else if self.counts_up && self.compared < COMPARED_MAX {
            self.compared += 1;
            self.so_do_others |= numbers().is_some_and(|all| counts_up(&all, answers));
        }
    }

    /// What is odd about it, where it is read as a sample or passed over.
    fn remark(self, passed_over: bool) -> Option<String> {
        let (line, numbers) = self.first?;
        let numbers = numbers?;
        let alone = self.counts_up && self.compared > 0 && !self.so_do_others;
        match (passed_over, alone) {
            (true, false) => Some(format!(
                "line {line}: it is passed over as the names of the columns, but holds numbers alone, as \
                 samples do"
            )),
            (false, true) => {
                let shown: Vec<String> = numbers.iter().take(3).map(ToString::to_string).collect();
                let rest = if numbers.len() > 3 { ", …" } else { "" };
                Some(format!(
                    "line {line}: it is read as a sample, but counts {}{rest} in equal steps, as numbers \
                     that name columns do and no sample below: with \"header\": true it is passed over",
                    shown.join(", ")
                ))
            }
            _ => None,
        }
    }
}

/// Whether a line counts up in whole numbers and equal steps: its inputs, or the whole line where
/// these are few.
fn counts_up(numbers: &[f64], answers: usize) -> bool {
    let inputs = &numbers[..numbers.len() - answers];
    let counted = if inputs.len() > 2 { inputs } else { numbers };
    let whole = |number: &f64| number.fract() == 0.0;
    let step = counted[1] - counted[0];
    step > 0.0
        && counted.iter().all(whole)
        && counted.windows(2).all(|pair| pair[1] - pair[0] == step)
}

/// What has been read of a file.
#[derive(Default)]
struct CsvTable<'a> {
    file: &'a str,
    answers: usize,
    classes: Option<usize>,
    columns: Option<usize>,
    rows: usize,
    inputs: Vec<f64>,
    labels: Vec<u32>,
    targets: Vec<f64>,
}

/// Line, column, and whether the line is the first.
type CsvPlace = (u64, usize, bool);

impl CsvTable<'_> {
    fn check_columns(&mut self, line: u64, found: usize) -> Result<(), Error> {
        let file = || self.file.to_owned();
        let expected = *self.columns.get_or_insert(found);
        if found != expected {
            return Err(Error::CsvColumns { file: file(), line, found, expected });
        }
        if found <= self.answers {
            return Err(Error::CsvNoInputs { file: file(), found, answers: self.answers });
        }
        Ok(())
    }

    fn add(&mut self, line: u64, first: bool, cells: &[&str]) -> Result<(), Error> {
        let inputs = cells.len() - self.answers;
        self.rows += 1;
        if self.rows > VALUES_MAX / cells.len() {
            return Err(Error::TooLarge {
                data: self.file.to_owned(),
                samples: self.rows,
                values: cells.len(),
                max: VALUES_MAX,
            });
        }
        for (at, cell) in cells.iter().enumerate() {
            let column = at + 1;
            match self.classes {
                Some(classes) if at == inputs => {
                    self.labels.push(self.label((line, column, first), cell, classes)?);
                }
                _ => {
                    let value = self.number((line, column, first), cell)?;
                    (if at < inputs { &mut self.inputs } else { &mut self.targets }).push(value);
                }
            }
        }
        Ok(())
    }

    fn number(&self, (line, column, first): CsvPlace, cell: &str) -> Result<f64, Error> {
        match cell.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(Error::CsvNumber {
                file: self.file.to_owned(),
                line,
                column,
                found: excerpt(cell),
                hint: heading_hint(first),
            }),
        }
    }

    fn label(
        &self,
        (line, column, first): CsvPlace,
        cell: &str,
        classes: usize,
    ) -> Result<u32, Error> {
        match cell.parse::<u32>() {
            Ok(label) if (label as usize) < classes => Ok(label),
            _ => Err(Error::Label {
                place: format!("{}: line {line}, column {column}", self.file),
                found: format!("`{}`", excerpt(cell)),
                classes,
                hint: heading_hint(first),
            }),
        }
    }

    fn finish(self) -> Result<Part, Error> {
        let Some(columns) = self.columns.filter(|_| self.rows > 0) else {
            return Err(Error::Empty { file: self.file.to_owned() });
        };
        let answers = match self.classes {
            Some(_) => Answers::Labels(self.labels),
            None => {
                let shape = (self.rows, self.answers);
                let targets = Array2::from_shape_vec(shape, self.targets);
                Answers::Targets(targets.expect("every row has its targets"))
            }
        };
        Ok(Part::from_real(columns - self.answers, self.inputs, answers))
    }
}

/// What helps where a cell of the first line is no value.
fn heading_hint(first: bool) -> &'static str {
    if first { "; where the first line names the columns, say \"header\": true" } else { "" }
}

/// The text of a line, without its end and, in the first, a byte order mark.
fn line_text<'a>(file: &str, line: u64, bytes: &'a [u8]) -> Result<&'a str, Error> {
    let file = || file.to_owned();
    if bytes.len() as u64 > LINE_MAX {
        return Err(Error::CsvLine { file: file(), line, max: LINE_MAX });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if line == 1 => Ok(text.trim_start_matches('\u{feff}').trim()),
        Ok(text) => Ok(text.trim()),
        Err(_) => Err(Error::CsvText { file: file(), line }),
    }
}

/// The cells between a line's commas, without blanks and quotes around them.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let separates = move |character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    };
    line.split(separates).map(|cell| {
        let cell = cell.trim();
        let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"'));
        inner.map_or(cell, str::trim)
    })
}

/// The start of a cell, for a message.
fn excerpt(cell: &str) -> String {
    const SHOWN: usize = 40;
    match cell.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
