//! What the published figures demand of the profiles other than the default, and of other nodes.

use super::super::{DramKind, EnergyUnit, FloatFormat, Picojoules, Profile, SramTables};
use super::{accesses, close};

/// Jouppi et al., ISCA 2021, Table 2.
#[test]
fn at_7_nm_published_operations_are_met() {
    let seven = Profile::named("tpuv4i-7").unwrap();
    assert_eq!(seven.node_nm(), 7.0);
    close(seven.multiply(8, 8), 0.07, 1e-8);
    close(seven.multiply(32, 32), 1.48, 1e-8);
    close(seven.add(8), 0.007, 1e-8);
    close(seven.add(32), 0.03, 1e-8);
    for (format, multiply, add) in [
        (FloatFormat::Float32, 1.31, 0.38),
        (FloatFormat::Bfloat16, 0.21, 0.11),
        (FloatFormat::Float16, 0.34, 0.16),
    ] {
        close(seven.float_multiply(format), multiply, 1e-8);
        close(seven.float_add(format), add, 1e-8);
    }
    let base = Profile::horowitz45();
    close(seven.relu(8), 0.348 * base.relu(8).0, 1e-12);
    close(seven.register_clock(8), 0.348 * base.register_clock(8).0, 1e-12);
    for kind in DramKind::ALL {
        assert_eq!(seven.dram_bit(kind), base.dram_bit(kind));
        assert_eq!(seven.dram_activate(kind), base.dram_activate(kind));
    }
    let scaled = base.at_node(7.0).unwrap();
    assert_eq!(seven.multiply(13, 5), scaled.multiply(13, 5));
    assert_eq!(accesses(&seven, 5000, 40), accesses(&scaled, 5000, 40));
}

#[test]
fn at_45_nm_nothing_changes_and_there_and_back_is_where_it_was() {
    for name in ["horowitz45", "nangate45", "nangate45-glitch"] {
        let base = Profile::named(name).unwrap();
        assert_eq!(base.clone().at_node(45.0).unwrap(), base, "{name}");
        for node in [7.0, 22.0, 130.0] {
            let other = base.clone().at_node(node).unwrap();
            assert_eq!(other.node_nm(), node);
            assert_ne!(other.multiply(8, 8), base.multiply(8, 8), "{name} at {node} nm");
            assert_eq!(other.at_node(45.0).unwrap(), base, "{name} from {node} nm");
        }
    }
}

#[test]
fn logic_costs_more_at_every_larger_node() {
    let nodes = (7..=130).map(|nm| Profile::horowitz45().at_node(f64::from(nm)).unwrap());
    let nodes: Vec<_> = nodes.collect();
    for pair in nodes.windows(2) {
        for bits in [2, 8, 17, 32] {
            assert!(pair[0].multiply(bits, 8) < pair[1].multiply(bits, 8), "{bits} bits");
            assert!(pair[0].add(bits) < pair[1].add(bits), "{bits} bits");
            assert!(pair[0].multiply_area(bits, 8) < pair[1].multiply_area(bits, 8));
        }
    }
}

/// Exact at CACTI's nodes, geometric between them; Stillmaker & Baas above 90 nm.
#[test]
fn scratchpads_follow_cacti_from_22_to_90_nm() {
    let read = |node: f64| {
        Picojoules(accesses(&Profile::horowitz45().at_node(node).unwrap(), 1024, 64)[0])
    };
    for (node, pj) in [(22.0, 0.23513), (45.0, 0.7871), (90.0, 3.1395)] {
        assert_eq!(read(node), Picojoules(pj), "{node} nm");
    }
    close(read((22.0_f64 * 32.0).sqrt()), (read(22.0).0 * read(32.0).0).sqrt(), 1e-9);
    close(read(130.0), 3.1395 * 7.3169 / 3.7298, 1e-4);
    close(read((7.0_f64 * 22.0).sqrt()), (read(7.0).0 * read(22.0).0).sqrt(), 1e-9);
}

#[test]
fn nodes_without_data_and_profiles_of_other_nodes_are_refused() {
    let refusal = |name, node| Profile::named(name).unwrap().at_node(node).unwrap_err().to_string();
    for node in [5.0, 180.0, 0.0, -7.0, f64::INFINITY, f64::NAN] {
        let message = format!("scaled to {node} nm, expected 7 to 130 nm");
        assert_eq!(refusal("horowitz45", node), message);
    }
    let message = "eyeriss-rel is of 65 nm, expected a profile of 45 nm to be scaled";
    assert_eq!(refusal("eyeriss-rel", 7.0), message);
}

/// Chen et al., ISCA 2016, normalized energies: MAC 1, register file 1, inter-PE 2, global buffer
/// 6, DRAM 200, each for 16 bits.
#[test]
fn eyeriss_has_its_relative_costs_and_half_the_bits_cost_half() {
    let eyeriss = Profile::named("eyeriss-rel").unwrap();
    assert_eq!((eyeriss.unit(), eyeriss.unit().to_string()), (EnergyUnit::Mac16, "mac16".into()));
    assert_eq!(Profile::horowitz45().unit(), EnergyUnit::Picojoule);
    let ratios = |bits: u32| {
        let register = eyeriss.register_clock(bits) + eyeriss.register_write(bits);
        let hop = register + eyeriss.wire(bits, 123.0);
        let buffer = Picojoules(accesses(&eyeriss, 108 << 10, bits)[0]);
        assert_eq!(buffer.0, accesses(&eyeriss, 1 << 30, bits)[1]);
        let dram = DramKind::ALL.map(|kind| eyeriss.dram_bit(kind) * u64::from(bits));
        assert_eq!(dram, [dram[0]; 6]);
        [register.0, hop.0, buffer.0, dram[0].0]
    };
    assert_eq!(eyeriss.multiply(16, 16) + eyeriss.add(40), Picojoules(1.0));
    assert_eq!(ratios(16), [1.0, 2.0, 6.0, 200.0]);
    assert_eq!(ratios(8), [0.5, 1.0, 3.0, 100.0]);
    assert_eq!(eyeriss.multiply(8, 8), Picojoules(0.25));
    assert_eq!(eyeriss.multiply(4, 16), Picojoules(0.25));
    let free = [
        eyeriss.requantize(32, true, true),
        eyeriss.random_word(),
        eyeriss.relu(8),
        eyeriss.maximum(8),
        eyeriss.clock_tree(8),
        eyeriss.dram_activate(DramKind::Ddr4),
    ];
    assert_eq!(free, [Picojoules(0.0); 6]);
    assert_eq!(eyeriss.logic_leakage(1e6).0, 0.0);
    assert_eq!(eyeriss.sram_leakage(1 << 20).unwrap().0, 0.0);
    let rows = eyeriss.provenance(&Default::default()).unwrap();
    let relu = rows.iter().find(|row| row.event == "relu").unwrap();
    assert!(relu.source.contains("not priced by Chen et al."), "{relu:?}");
}

/// float32 over the 16-bit MAC is as in horowitz45.
#[test]
fn eyeriss_takes_floats_from_horowitz() {
    let (eyeriss, base) = (Profile::named("eyeriss-rel").unwrap(), Profile::horowitz45());
    let mac = base.multiply(16, 16).0 + base.add(16).0;
    for format in FloatFormat::ALL {
        close(eyeriss.float_multiply(format), base.float_multiply(format).0 / mac, 1e-5);
        close(eyeriss.float_add(format), base.float_add(format).0 / mac, 1e-5);
    }
}

#[test]
fn flat_scratchpads_have_any_size_but_none() {
    let eyeriss = Profile::named("eyeriss-rel").unwrap();
    let refusal = |bytes, bits| eyeriss.sram(bytes, bits).unwrap_err().to_string();
    assert!(eyeriss.sram(1, 8).is_ok());
    assert!(refusal(0, 8).starts_with("scratchpad of 0 bytes, accepted are 1 to"));
    assert!(refusal(1, 9).ends_with("accepted are 1 to 8 bits"));
    let table = SramTables::cacti().at(45.0).unwrap();
    assert!(eyeriss.with_sram(table).is_err());
}
