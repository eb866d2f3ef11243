//! SCALE-Sim's configuration files: the array, its scratchpads and its bandwidth.
//!
//! A file is `[section]` lines, `key = value` or `key: value` lines, and comments, which are whole
//! lines that begin with `#` or `;`. Sections and keys are read in any case. A key may stand once in
//! a section.
//!
//! Words are bytes, and half of a scratchpad is filled while the array reads the other half.
//! Bandwidths, in words per cycle, count with `InterfaceBandwidth: USER` alone; with `CALC` the
//! array never waits. Version 2 moves all three matrices at `Bandwidth`, version 3 results alone:
//! inputs and filters move at the `IfmapSRAMBankBandwidth` and `FilterSRAMBankBandwidth` of
//! `[layout]`, or 10 without that section.
//!
//! What SCALE-Sim models and nothing here does leaves a warning: sparsity, layouts in banks,
//! Ramulator's latencies, keys that are not known.
//!
//! Source: scalesim-project/SCALE-Sim, `scalesim/scale_config.py`, `scalesim/single_layer_sim.py`
//! and `configs/`; the same files of scalesim-project/scale-sim-v2 for version 2.

use std::collections::BTreeMap;

use systoliq_array::config::{Overlap, PartialFolds, SIDE_MAX};
use systoliq_array::{Array, Dataflow};

use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::{Dependence, Toggles};
use systoliq_hardware::{
    accelerator::Dram, accelerator::EnergyModel, accelerator::Layout, accelerator::Residency,
    accelerator::Scratchpads, accelerator::UpdateOrder,
};

use super::InputError;
use super::error::{lines, quoted, whole_number};

/// The largest scratchpad, in kB of 1024 bytes.
pub const SCRATCHPAD_KB_MAX: u64 = 1 << 30;

/// The largest bandwidth, in words per cycle.
pub const BANDWIDTH_MAX: u64 = 1 << 24;

/// A machine as SCALE-Sim's files describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleSimConfig {
    /// The name of the run, which SCALE-Sim names its folder of results by.
    pub run_name: String,
    /// Rows of the array, 1 to [`SIDE_MAX`].
    pub rows: usize,
    /// Columns of the array, 1 to [`SIDE_MAX`].
    pub cols: usize,
    /// Both halves of the scratchpad of inputs, in kB of 1024 bytes.
    pub ifmap_kb: u64,
    /// Both halves of the scratchpad of filters, in kB of 1024 bytes.
    pub filter_kb: u64,
    /// Both halves of the scratchpad of results, in kB of 1024 bytes.
    pub ofmap_kb: u64,
    /// Where the matrices begin in memory.
    pub offsets: Offsets,
    /// `Bandwidth` in words per cycle: of several, the first. With [`Interface::User`] it is there.
    pub bandwidth_words: Option<u64>,
    /// Bandwidths of inputs and filters in words per cycle, if there is a section `[layout]` with
    /// both.
    pub bank_words: Option<BankWords>,
    /// Whether the array waits for memory.
    pub interface: Interface,
    /// Which matrix stays in the array: os, ws or is.
    pub dataflow: Dataflow,
    /// What the file asks for that is not modelled, with its line.
    pub warnings: Vec<String>,
}

/// Addresses at which SCALE-Sim has the matrices begin, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// Of inputs.
    pub ifmap: u64,
    /// Of filters.
    pub filter: u64,
    /// Of results.
    pub ofmap: u64,
}

/// `IfmapSRAMBankBandwidth` and `FilterSRAMBankBandwidth`, in words per cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankWords {
    /// Of inputs.
    pub ifmap: u64,
    /// Of filters.
    pub filter: u64,
}

/// What SCALE-Sim makes of bandwidths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `CALC`: the array never waits, and the bandwidth that this takes is reported.
    Calc,
    /// `USER`: the array waits for what the bandwidths of the file cannot bring in time.
    User,
}

const GENERAL: &str = "general";
const ARCHITECTURE: &str = "architecture_presets";
const LAYOUT: &str = "layout";
const SPARSITY: &str = "sparsity";
const RUN: &str = "run_presets";

/// Keys without effect on what is modelled, in lower case: they matter to sparsity, layouts,
/// Ramulator or Accelergy alone, which a key of their own turns on, or to no version at all.
const INERT: [&str; 19] = [
    "readrequestbuffer",
    "writerequestbuffer",
    "onchipmemorybankports",
    "ifmapsrambankbandwidth",
    "ifmapsrambanknum",
    "ifmapsrambankport",
    "filtersrambankbandwidth",
    "filtersrambanknum",
    "filtersrambankport",
    "sparserep",
    "optimizedmapping",
    "blocksize",
    "randomnumbergeneratorseed",
    "nonzeroelems",
    "sram_row_size",
    "sram_bank_size",
    "dram_row_size",
    "dram_bank_size",
    "topologycsvloc",
];

/// Keys that turn on what is not modelled, with what that is.
const NOT_MODELLED: [(&str, &str, &str); 6] = [
    (LAYOUT, "IfmapCustomLayout", "layouts"),
    (LAYOUT, "FilterCustomLayout", "layouts"),
    // Where versions before 3 have them.
    (ARCHITECTURE, "IfmapCustomLayout", "layouts"),
    (ARCHITECTURE, "FilterCustomLayout", "layouts"),
    (SPARSITY, "SparsitySupport", "sparsity"),
    (RUN, "UseRamulatorTrace", "Ramulator"),
];

impl ScaleSimConfig {
    /// Reads the text of a file.
    ///
    /// ```
    /// use systoliq_import::scalesim::ScaleSimConfig;
    /// let text = "[general]\nrun_name = tiny\n\
    ///     [architecture_presets]\nArrayHeight: 4\nArrayWidth: 8\nDataflow: ws\n\
    ///     IfmapSramSzkB: 64\nFilterSramSzkB: 64\nOfmapSramSzkB: 32\n\
    ///     IfmapOffset: 0\nFilterOffset: 10000000\nOfmapOffset: 20000000\n\
    ///     [run_presets]\nInterfaceBandwidth: CALC\nUseRamulatorTrace: True\n";
    /// let config = ScaleSimConfig::parse(text)?;
    /// assert_eq!((config.array().rows, config.array().cols), (4, 8));
    /// assert_eq!(config.warnings, ["line 15: UseRamulatorTrace = True: Ramulator is not modelled"]);
    /// # Ok::<(), systoliq_import::scalesim::InputError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// With its line, whatever is not as the [module](self) describes it: a line that is no part of
    /// a file, a key that is missing or repeated, and a value that its key cannot have, such as a
    /// side of the array that is not 1 to [`SIDE_MAX`].
    pub fn parse(text: &str) -> Result<Self, InputError> {
        let mut keys = Keys::parse(text)?;
        let side = (1, SIDE_MAX as u64);
        let kb = (1, SCRATCHPAD_KB_MAX);
        let address = (0, u64::MAX);
        let interface = keys.word(
            RUN,
            "InterfaceBandwidth",
            &[("CALC", Interface::Calc), ("USER", Interface::User)],
        )?;
        let mut config = Self {
            run_name: keys.required(GENERAL, "run_name", "a name")?.value.to_owned(),
            rows: keys.number(ARCHITECTURE, "ArrayHeight", side)? as usize,
            cols: keys.number(ARCHITECTURE, "ArrayWidth", side)? as usize,
            ifmap_kb: keys.number(ARCHITECTURE, "IfmapSramSzkB", kb)?,
            filter_kb: keys.number(ARCHITECTURE, "FilterSramSzkB", kb)?,
            ofmap_kb: keys.number(ARCHITECTURE, "OfmapSramSzkB", kb)?,
            offsets: Offsets {
                ifmap: keys.number(ARCHITECTURE, "IfmapOffset", address)?,
                filter: keys.number(ARCHITECTURE, "FilterOffset", address)?,
                ofmap: keys.number(ARCHITECTURE, "OfmapOffset", address)?,
            },
            bandwidth_words: keys.bandwidth(interface)?,
            bank_words: None,
            interface,
            dataflow: keys.word(
                ARCHITECTURE,
                "Dataflow",
                &[
                    ("os", Dataflow::OutputStationary),
                    ("ws", Dataflow::WeightStationary),
                    ("is", Dataflow::InputStationary),
                ],
            )?,
            warnings: Vec::new(),
        };
        config.bank_words = keys.bank_words(interface, config.bandwidth_words)?;
        config.warnings = keys.into_warnings()?;
        Ok(config)
    }

    /// The array, with folds that neither overlap nor are trimmed, as SCALE-Sim has them.
    pub fn array(&self) -> Array {
        let (overlap, partial_folds) = (Overlap::None, PartialFolds::Full);
        let Self { rows, cols, dataflow, .. } = *self;
        Array { rows, cols, dataflow, overlap, partial_folds, fold_order: None, lanes: None }
    }
}

impl From<&ScaleSimConfig> for Accelerator {
    /// The same array and scratchpads; with [`Interface::User`] its bandwidth at DRAM, in words of
    /// one byte, else memory that nothing waits for.
    fn from(config: &ScaleSimConfig) -> Self {
        let ScaleSimConfig { ifmap_kb, filter_kb, ofmap_kb, .. } = *config;
        let [a_bytes, b_bytes, c_bytes] = [ifmap_kb, filter_kb, ofmap_kb].map(|kb| kb << 10);
        let bytes_per_cycle =
            config.bandwidth_words.filter(|_| config.interface == Interface::User);
        Self {
            array: config.array(),
            scratchpad: Scratchpads { a_bytes, b_bytes, c_bytes, ..Scratchpads::default() },
            dram: Dram { bytes_per_cycle, ..Dram::default() },
            layout: Layout::default(),
            residency: Residency::default(),
            update: UpdateOrder::default(),
            energy: EnergyModel::default(),
            node_nm: None,
            sram: None,
            clock_mhz: None,
            activity: Dependence::default(),
            toggles: Toggles::default(),
        }
    }
}

/// A key and its value as they are written.
#[derive(Clone, Copy, Debug)]
struct ConfigEntry<'a> {
    line: usize,
    key: &'a str,
    value: &'a str,
}

/// The entries of a file that have not been read yet, by section and key in lower case.
#[derive(Debug)]
struct Keys<'a> {
    entries: BTreeMap<(String, String), ConfigEntry<'a>>,
    /// Lines with what is wrong there.
    warnings: Vec<(usize, String)>,
}

impl<'a> Keys<'a> {
    fn parse(text: &'a str) -> Result<Self, InputError> {
        let mut section = None;
        let mut entries = BTreeMap::new();
        for (line, found) in lines(text) {
            let found = found.trim();
            if found.is_empty() || found.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = found.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = Some(name.trim());
                continue;
            }
            let Some((key, value)) = found.split_once(['=', ':']) else {
                return Err(InputError::Line { line, found: quoted(found) });
            };
            let (key, value) = (key.trim(), value.trim());
            let Some(section) = section else {
                return Err(InputError::NoSection { line, key: quoted(key) });
            };
            let name = (section.to_lowercase(), key.to_lowercase());
            if let Some(ConfigEntry { line: first, .. }) =
                entries.insert(name, ConfigEntry { line, key, value })
            {
                let (section, key) = (quoted(section), quoted(key));
                return Err(InputError::RepeatedKey { line, first, section, key });
            }
        }
        Ok(Self { entries, warnings: Vec::new() })
    }

    fn optional(&mut self, section: &str, key: &str) -> Option<ConfigEntry<'a>> {
        self.entries.remove(&(section.to_owned(), key.to_lowercase()))
    }

    fn required(
        &mut self,
        section: &'static str,
        key: &'static str,
        expected: &str,
    ) -> Result<ConfigEntry<'a>, InputError> {
        let missing = || InputError::MissingKey { section, key, expected: expected.to_owned() };
        self.optional(section, key).ok_or_else(missing)
    }

    fn number(
        &mut self,
        section: &'static str,
        key: &'static str,
        (min, max): (u64, u64),
    ) -> Result<u64, InputError> {
        let expected = format!("a whole number from {min} to {max}");
        self.required(section, key, &expected)?.number(key, (min, max))
    }

    /// One of some words, in any case.
    fn word<T: Copy>(
        &mut self,
        section: &'static str,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<T, InputError> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let expected = names.join(" or ");
        let entry = self.required(section, key, &expected)?;
        let found = words.iter().find(|(word, _)| entry.value.eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value).ok_or_else(|| entry.refused(key, expected))
    }

    /// `Bandwidth`, of which SCALE-Sim reads the first of a list.
    fn bandwidth(&mut self, interface: Interface) -> Result<Option<u64>, InputError> {
        const KEY: &str = "Bandwidth";
        let entry = match interface {
            Interface::Calc => self.optional(ARCHITECTURE, KEY),
            Interface::User => Some(self.required(ARCHITECTURE, KEY, "words per cycle")?),
        };
        let Some(entry) = entry else { return Ok(None) };
        let one = |value: &'a str| {
            ConfigEntry { value: value.trim(), ..entry }.number(KEY, (1, BANDWIDTH_MAX))
        };
        let all = entry.value.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        if all.iter().any(|&other| other != all[0]) {
            let problem = format!("of these, {} alone is read", all[0]);
            self.warn(entry, &problem);
        }
        Ok(Some(all[0]))
    }

    /// The bandwidths of version 3, which warn where version 2 would have others.
    fn bank_words(
        &mut self,
        interface: Interface,
        bandwidth: Option<u64>,
    ) -> Result<Option<BankWords>, InputError> {
        const KEYS: [&str; 2] = ["IfmapSRAMBankBandwidth", "FilterSRAMBankBandwidth"];
        let mut words = [None; 2];
        for (words, key) in words.iter_mut().zip(KEYS) {
            let Some(entry) = self.optional(LAYOUT, key) else { continue };
            let number = entry.number(key, (1, BANDWIDTH_MAX))?;
            if interface == Interface::User && bandwidth != Some(number) {
                self.warn(entry, "SCALE-Sim v3 takes this in place of Bandwidth, v2 does not");
            }
            *words = Some(number);
        }
        let [ifmap, filter] = words;
        Ok(ifmap.zip(filter).map(|(ifmap, filter)| BankWords { ifmap, filter }))
    }

    fn warn(&mut self, entry: ConfigEntry<'_>, problem: &str) {
        let ConfigEntry { line, key, value } = entry;
        let text = format!("line {line}: {} = {}: {problem}", quoted(key), quoted(value));
        self.warnings.push((line, text));
    }

    /// All warnings in the order of their lines, with those of keys that nothing has read.
    fn into_warnings(mut self) -> Result<Vec<String>, InputError> {
        for (section, key, what) in NOT_MODELLED {
            let Some(entry) = self.optional(section, key) else { continue };
            if entry.is_true(key)? {
                let verb = if what == "layouts" { "are" } else { "is" };
                self.warn(entry, &format!("{what} {verb} not modelled"));
            }
        }
        let banks = [
            (GENERAL, "MemoryBanks"),
            (ARCHITECTURE, "MemoryBanks"),
            (LAYOUT, "OnChipMemoryBanks"),
            (ARCHITECTURE, "OnChipMemoryBanks"),
        ];
        for (section, key) in banks {
            let banks = self.optional(section, key);
            if let Some(entry) = banks.filter(|entry| entry.value != "1") {
                self.warn(entry, "banks of memory are not modelled, one is taken");
            }
        }
        for ((_, key), entry) in std::mem::take(&mut self.entries) {
            if !INERT.contains(&key.as_str()) {
                self.warn(entry, "this key is not known, and not modelled");
            }
        }
        self.warnings.sort();
        Ok(self.warnings.into_iter().map(|(_, text)| text).collect())
    }
}

impl ConfigEntry<'_> {
    fn refused(self, key: &'static str, expected: String) -> InputError {
        InputError::Value { line: self.line, key, found: quoted(self.value), expected }
    }

    fn number(self, key: &'static str, (min, max): (u64, u64)) -> Result<u64, InputError> {
        whole_number(self.value, min, max).map_err(|expected| self.refused(key, expected))
    }

    /// The words for true and false of Python's `configparser`.
    fn is_true(self, key: &'static str) -> Result<bool, InputError> {
        match self.value.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(self.refused(key, "true or false".to_owned())),
        }
    }
}
