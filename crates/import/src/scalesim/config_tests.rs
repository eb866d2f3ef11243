//! Configurations: what SCALE-Sim reads is read alike, and what is wrong is refused at its place.

use systoliq_array::{Array, Dataflow};
use systoliq_keyed_random::Key;

use super::config::{BankWords, Interface, Offsets};
use super::{InputError, ScaleSimConfig};

/// With every key that version 3 reads.
const FULL: &str = "\
[general]
run_name = all_of_it

[architecture_presets]
ArrayHeight:    16
ArrayWidth :    32
IfmapSramSzkB:   64
FilterSramSzkB:  128
OfmapSramSzkB:   256
IfmapOffset:    0
FilterOffset:   10000000
OfmapOffset:    20000000
Bandwidth : 10
Dataflow : ws
MemoryBanks:   1
ReadRequestBuffer: 32
WriteRequestBuffer: 32

[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2

[sparsity]
SparsitySupport : false
SparseRep : ellpack_block
OptimizedMapping : false
BlockSize : 8
RandomNumberGeneratorSeed : 40

[run_presets]
InterfaceBandwidth: USER
UseRamulatorTrace: False
";

#[track_caller]
fn read(text: &str) -> ScaleSimConfig {
    ScaleSimConfig::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// [`FULL`] with a piece replaced.
#[track_caller]
fn with(piece: &str, other: &str) -> String {
    assert!(FULL.contains(piece), "{piece}");
    FULL.replacen(piece, other, 1)
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = ScaleSimConfig::parse(text).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn every_key_is_read() {
    let config = ScaleSimConfig {
        run_name: "all_of_it".into(),
        rows: 16,
        cols: 32,
        ifmap_kb: 64,
        filter_kb: 128,
        ofmap_kb: 256,
        offsets: Offsets { ifmap: 0, filter: 10_000_000, ofmap: 20_000_000 },
        bandwidth_words: Some(10),
        bank_words: Some(BankWords { ifmap: 10, filter: 10 }),
        interface: Interface::User,
        dataflow: Dataflow::WeightStationary,
        warnings: vec![],
    };
    assert_eq!(read(FULL), config);
    let array = Array { dataflow: Dataflow::WeightStationary, ..Array::new(16, 32).unwrap() };
    assert_eq!(config.array(), array);
    array.validate().unwrap();
}

#[test]
fn writing_it_otherwise_changes_nothing() {
    let config = read(FULL);
    let remarks = FULL.replace("\n[", "\n# a = 1\n  ; [b]\n\n[");
    for text in [
        FULL.replace('\n', "\r\n"),
        format!("\u{feff}{FULL}"),
        FULL.replace(':', " ="),
        FULL.replace(": ", ":\t"),
        FULL.to_lowercase(),
        FULL.to_uppercase().replace("ALL_OF_IT", "all_of_it"),
        FULL.replace('\n', "  \n"),
        remarks,
        FULL.trim_end().to_owned(),
    ] {
        assert_eq!(read(&text), config, "{text}");
    }
}

#[test]
fn files_without_the_sections_of_version_3_are_read() {
    let before = |section: &str| FULL.split(section).next().unwrap().to_owned();
    let text = before("[layout]") + "[run_presets]\nInterfaceBandwidth: CALC\nSRAM_row_size: 2\n";
    let config = read(&text.replace("Bandwidth : 10\n", ""));
    assert_eq!(config.interface, Interface::Calc);
    assert_eq!((config.bandwidth_words, config.bank_words), (None, None));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn dataflows_are_those_of_the_array() {
    for (word, dataflow) in [
        ("os", Dataflow::OutputStationary),
        ("ws", Dataflow::WeightStationary),
        ("is", Dataflow::InputStationary),
    ] {
        let config = read(&with("Dataflow : ws", &format!("Dataflow : {word}")));
        assert_eq!((config.dataflow, config.array().dataflow), (dataflow, dataflow));
    }
}

#[test]
fn what_is_not_modelled_is_named_with_its_line() {
    let bank = "SCALE-Sim v3 takes this in place of Bandwidth, v2 does not";
    for (piece, other, expected) in [
        (
            "SparsitySupport : false",
            "SparsitySupport : true",
            "line 30: SparsitySupport = true: sparsity is not modelled".to_owned(),
        ),
        (
            "IfmapCustomLayout: False",
            "IfmapCustomLayout: Yes",
            "line 20: IfmapCustomLayout = Yes: layouts are not modelled".to_owned(),
        ),
        (
            "MemoryBanks:   1",
            "filtercustomlayout = 1",
            "line 15: filtercustomlayout = 1: layouts are not modelled".to_owned(),
        ),
        (
            "MemoryBanks:   1",
            "MemoryBanks:   4",
            "line 15: MemoryBanks = 4: banks of memory are not modelled, one is taken".to_owned(),
        ),
        (
            "IfmapCustomLayout: False",
            "OnChipMemoryBanks: 16",
            "line 20: OnChipMemoryBanks = 16: banks of memory are not modelled, one is taken"
                .to_owned(),
        ),
        (
            "UseRamulatorTrace: False",
            "UseRamulatorTrace: True",
            "line 38: UseRamulatorTrace = True: Ramulator is not modelled".to_owned(),
        ),
        (
            "UseRamulatorTrace: False",
            "TimeLinearModel: TPUv4",
            "line 38: TimeLinearModel = TPUv4: this key is not known, and not modelled".to_owned(),
        ),
        (
            "Bandwidth : 10",
            "Bandwidth : 10, 20",
            "line 13: Bandwidth = 10, 20: of these, 10 alone is read".to_owned(),
        ),
        (
            "IfmapSRAMBankBandwidth: 10",
            "IfmapSRAMBankBandwidth: 100",
            format!("line 21: IfmapSRAMBankBandwidth = 100: {bank}"),
        ),
    ] {
        assert_eq!(read(&with(piece, other)).warnings, [expected]);
    }
    // Banks count where the array waits for them.
    let calculated = with("USER", "CALC").replace("BankBandwidth: 10", "BankBandwidth: 100");
    let config = read(&calculated);
    assert_eq!(config.bank_words, Some(BankWords { ifmap: 100, filter: 100 }));
    assert_eq!(config.warnings, Vec::<String>::new());
    // Several warnings come in the order of their lines.
    let many = with("[general]", "[gpu]\nCores: 2\n[general]").replace("Trace: False", "Trace: on");
    let warnings = read(&many).warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("line 2: Cores") && warnings[1].starts_with("line 40: Use"));
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    for (piece, other, expected) in [
        (
            "ArrayHeight:    16",
            "ArrayHeight: 0",
            "line 5: ArrayHeight: found \"0\", expected a whole number from 1 to 1024",
        ),
        (
            "ArrayWidth :    32",
            "ArrayWidth : 1025",
            "line 6: ArrayWidth: found \"1025\", expected a whole number from 1 to 1024",
        ),
        (
            "IfmapSramSzkB:   64",
            "IfmapSramSzkB: 64 kB",
            "line 7: IfmapSramSzkB: found \"64 kB\", expected a whole number from 1 to 1073741824",
        ),
        (
            "IfmapOffset:    0",
            "IfmapOffset: -1",
            "line 10: IfmapOffset: found \"-1\", expected a whole number from 0 to 18446744073709551615",
        ),
        (
            "Bandwidth : 10",
            "Bandwidth : 10,",
            "line 13: Bandwidth: found \"\", expected a whole number from 1 to 16777216",
        ),
        (
            "Dataflow : ws",
            "Dataflow : rs",
            "line 14: Dataflow: found \"rs\", expected os or ws or is",
        ),
        ("Dataflow : ws", "Dataflow :", "line 14: Dataflow: found \"\", expected os or ws or is"),
        (
            "SparsitySupport : false",
            "SparsitySupport : maybe",
            "line 30: SparsitySupport: found \"maybe\", expected true or false",
        ),
        (
            "InterfaceBandwidth: USER",
            "InterfaceBandwidth: AUTO",
            "line 37: InterfaceBandwidth: found \"AUTO\", expected CALC or USER",
        ),
        ("run_name = all_of_it\n", "", "[general] run_name is missing: expected a name"),
        (
            "ArrayHeight:    16\n",
            "",
            "[architecture_presets] ArrayHeight is missing: expected a whole number from 1 to 1024",
        ),
        (
            "Bandwidth : 10\n",
            "",
            "[architecture_presets] Bandwidth is missing: expected words per cycle",
        ),
        (
            "InterfaceBandwidth: USER\n",
            "",
            "[run_presets] InterfaceBandwidth is missing: expected CALC or USER",
        ),
        (
            "MemoryBanks:   1",
            "arrayheight = 8",
            "line 15: [architecture_presets] arrayheight stands in line 5 already",
        ),
        (
            "MemoryBanks:   1",
            "MemoryBanks",
            "line 15: found \"MemoryBanks\", expected [section], key = value, or a comment",
        ),
        ("[general]\n", "", "line 1: key \"run_name\" stands above the first [section]"),
    ] {
        refused(&with(piece, other), expected);
    }
    refused("", "[run_presets] InterfaceBandwidth is missing: expected CALC or USER");
}

#[test]
fn no_damage_to_a_file_panics() {
    let pieces =
        ["", "\n", "=", ":", "[", "]", "#", "-", "0", "99999999999999999999", ",", "é", "\r"];
    let key = Key::new(7).with_name("damage");
    let mut read = 0;
    for case in 0..20_000_u64 {
        let key = key.with(case);
        let word = |at, below: usize| key.word(at) as usize % below;
        let mut characters: Vec<char> = FULL.chars().collect();
        for change in 0..=word(1, 4) as u64 {
            let from = word(10 + 3 * change, characters.len() + 1);
            let to = (from + word(11 + 3 * change, 8)).min(characters.len());
            let piece = pieces[word(12 + 3 * change, pieces.len())];
            characters.splice(from..to, piece.chars());
        }
        let text: String = characters.into_iter().collect();
        match ScaleSimConfig::parse(&text) {
            Ok(config) => {
                read += 1;
                assert!(config.array().validate().is_ok(), "case {case}: {text}");
                let waits = config.interface == Interface::User;
                assert!(!waits || config.bandwidth_words.is_some(), "case {case}: {text}");
            }
            Err(InputError::Value { line, .. } | InputError::Line { line, .. }) => {
                assert!(text.lines().nth(line - 1).is_some(), "case {case}: {text}");
            }
            Err(_) => {}
        }
    }
    assert!(read > 100, "{read} of these were read");
}
