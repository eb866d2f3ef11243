//! Topologies: what SCALE-Sim reads is read alike, and what is wrong is refused at its place.

use std::fmt::Write as _;
use std::num::NonZero;

use systoliq_keyed_random::Key;
use systoliq_program::{ConvolutionShape, GemmShape};

use super::topology::{CONVOLUTION_HEADER, GEMM_HEADER, LAYERS_MAX, Layer, LayerShape, OutputSize};
use super::{InputError, Topology};

/// Rows below the header of convolutions.
fn convolutions(rows: &str) -> Result<Topology, InputError> {
    Topology::parse(&format!("{CONVOLUTION_HEADER}\n{rows}"))
}

/// Rows below the header of GEMMs.
fn gemms(rows: &str) -> Result<Topology, InputError> {
    Topology::parse(&format!("{GEMM_HEADER}\n{rows}"))
}

#[track_caller]
fn only(topology: Result<Topology, InputError>) -> Layer {
    let mut topology = topology.unwrap();
    assert_eq!(topology.layers.len(), 1);
    topology.layers.remove(0)
}

#[track_caller]
fn refused(topology: Result<Topology, InputError>, expected: &str) {
    assert_eq!(topology.unwrap_err().to_string(), expected);
}

const CONV1: ConvolutionShape = ConvolutionShape {
    batch: 1,
    image: [9, 13],
    channels: 7,
    filters: 11,
    kernel: [3, 5],
    stride: [2; 2],
    dilation: [1; 2],
    padding: [0; 2],
    end_padding: [0; 2],
    groups: NonZero::<usize>::MIN,
};

#[test]
fn a_convolution_is_a_gemm_of_pixels_windows_and_filters() {
    let layer = only(convolutions("Conv1, 9, 13, 3, 5, 7, 11, 2,"));
    assert_eq!((layer.name(), layer.line(), layer.repeats()), ("Conv1", 2, 1));
    assert_eq!(layer.shape(), LayerShape::Convolution(CONV1));
    let gemm = GemmShape { m: 4 * 5, k: 3 * 5 * 7, n: 11 };
    assert_eq!(layer.gemm(OutputSize::Floor), gemm);
    assert_eq!(layer.macs(OutputSize::Floor), 20 * 105 * 11);
}

#[test]
fn a_gemm_has_its_n_before_its_k() {
    let layer = only(gemms("QKT, 128, 64, 512,"));
    let gemm = GemmShape { m: 128, k: 512, n: 64 };
    assert_eq!(layer.shape(), LayerShape::Gemm(gemm));
    for size in [OutputSize::Floor, OutputSize::Ceiling] {
        assert_eq!(layer.gemm(size), gemm);
    }
}

#[test]
fn outputs_are_counted_as_windows_are_placed() {
    for ifmap in 1..=12_usize {
        for filter in 1..=ifmap {
            for stride in 1..=5_usize {
                // Windows by the place of their first input, whole ones and those that begin
                // before the last whole one could end.
                let whole = (0..ifmap).step_by(stride).filter(|at| at + filter <= ifmap).count();
                let begun = (0..).step_by(stride).take_while(|at| at + filter < ifmap + stride);
                let row = format!("x, {ifmap}, 20, {filter}, 20, 1, 1, {stride},");
                let layer = only(convolutions(&row));
                assert_eq!(layer.gemm(OutputSize::Floor).m, whole, "{row}");
                assert_eq!(layer.gemm(OutputSize::Ceiling).m, begun.count(), "{row}");
            }
        }
    }
}

/// Every way of writing a table that a file of SCALE-Sim's has.
#[test]
fn its_files_are_read_as_they_are_written() {
    let conv = "Layer name,Ifmap height,ifmap width,filter height,filter width";
    for (text, names, macs, warnings) in [
        // Blanks around cells, after the last comma, and a tab before a name.
        (
            format!("{CONVOLUTION_HEADER} \n\tConv1     ,8         ,8  ,1,1  ,2  ,3 ,1  , \n"),
            vec!["Conv1"],
            8 * 8 * 2 * 3,
            0,
        ),
        // Other case, and singular and plural.
        (format!("{conv},channel,num filters,strides,\nA/B,4,4,4,4,2,3,1,\n"), vec!["A/B"], 96, 0),
        (format!("{conv},channels,num filters,strides,\nx,4,4,4,4,2,3,1,\n"), vec!["x"], 96, 0),
        // The first of two widths is the height; sizes of 2 x 1 and a filter as high.
        (
            "Layer, IFMAP Width, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, \
             Strides,\nfc,2,1,2,1,1,5,1,"
                .into(),
            vec!["fc"],
            10,
            0,
        ),
        // No last commas, in the header, in rows, or in both.
        ("Layer,M,N,K\n1,2,3,4\n2,1,1,1\n".into(), vec!["1", "2"], 25, 0),
        (format!("{CONVOLUTION_HEADER}\nx,4,4,1,1,1,1,1\ny,4,4,1,1,1,1,1,"), vec!["x", "y"], 32, 0),
        // Blank lines and rows of commas, carriage returns, and a byte order mark.
        (
            "\u{feff}Layer Name, M, N, K,\r\n\r\n,,,\r\nTest 1, 2, 3, 4,\r\n\r\n".into(),
            vec!["Test 1"],
            24,
            0,
        ),
        // A remark past the last comma.
        (
            format!("{CONVOLUTION_HEADER}\nConv2_dw, 4, 4, 3, 3, 1, 1, 1,#dw\n"),
            vec!["Conv2_dw"],
            36,
            0,
        ),
        // Columns of another program, named and not; a stray number.
        (
            format!(
                "{},,,Eh,Ew\nx,4,4,1,1,1,1,1,,,4,4\n",
                CONVOLUTION_HEADER.trim_end_matches(',')
            ),
            vec!["x"],
            16,
            2,
        ),
        (
            format!("{CONVOLUTION_HEADER}, Target\nx,4,4,1,1,1,1,1, NPU\ny,4,4,1,1,1,1,1, GPU"),
            vec!["x", "y"],
            32,
            1,
        ),
        (format!("{CONVOLUTION_HEADER}\nx,4,4,1,1,1,1,2, 2\n"), vec!["x"], 4, 1),
        // Tabs between cells.
        (
            "Layer name\t IFMAP Height\t IFMAP Width\t Filter Height\t Filter Width\t Channels\t \
             Num Filter\t Strides\t \nx\t4\t4\t1\t1\t1\t1\t1\t\n"
                .into(),
            vec!["x"],
            16,
            0,
        ),
        // As SCALE-Sim writes them back: two strides.
        (
            format!("{conv},Channels,Num filter,Stride height,Stride width,\nx,5,5,1,1,1,1,2,4,\n"),
            vec!["x"],
            6,
            0,
        ),
        // Dense weights; a batch; names twice.
        (format!("{GEMM_HEADER} Sparsity,\na,1,5,16,2:2,\na,1,5,16,1,\n"), vec!["a", "a"], 160, 0),
        (
            format!("{CONVOLUTION_HEADER} Batch Size,\na,2,2,1,1,3,4,1,       1,\n"),
            vec!["a"],
            48,
            0,
        ),
    ] {
        let topology = Topology::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found: Vec<_> = topology.layers.iter().map(Layer::name).collect();
        assert_eq!(found, names, "{text}");
        assert_eq!(topology.macs(OutputSize::Floor), macs, "{text}");
        assert_eq!(topology.warnings.len(), warnings, "{text}: {:?}", topology.warnings);
    }
}

#[test]
fn what_is_not_read_is_named_once_with_its_place() {
    let rows = "x,4,4,1,1,1,1,1, NPU\ny,4,4,1,1,1,1,1, GPU, 7\nz,4,4,1,1,1,1,1,# GPU, 8, 9";
    let expected =
        ["line 2: \"NPU\" in column 9 is not read", "line 3: \"7\" in column 10 is not read"];
    assert_eq!(convolutions(rows).unwrap().warnings, expected);
    let named = format!("{CONVOLUTION_HEADER} Note\n{rows}");
    let expected = "line 2: \"NPU\" in column 9, \"Note\", is not read";
    assert_eq!(Topology::parse(&named).unwrap().warnings[0], expected);
    let topology = gemms("\nTransformer,\nx, 1, 1, 1,").unwrap();
    assert_eq!(topology.layers.len(), 1);
    assert_eq!(topology.warnings, ["line 3: \"Transformer\" has no sizes and is no layer"]);
}

#[test]
fn a_name_that_makes_layers_depthwise_is_said_and_lines_after_a_hash_are_comments() {
    let rows =
        "# first\nDPN92, 6, 6, 3, 3, 32, 2, 1,\n #off, 6, 6, 3, 3, 8, 2, 1,\nx_DP,1,1,1,1,2,1,1,";
    let topology = convolutions(rows).unwrap();
    assert_eq!(topology.layers.iter().map(Layer::name).collect::<Vec<_>>(), ["DPN92", "x_DP"]);
    let expected = "line 3: \"DP\" in the name \"DPN92\" makes the layer depthwise, as in SCALE-Sim: \
                    32 layers of one channel; likewise 1 more";
    assert_eq!(topology.warnings, [expected]);
    let commented = format!("# a remark, with commas\n{GEMM_HEADER}\na, 2, 2, 2,");
    assert_eq!(Topology::parse(&commented).unwrap().layers.len(), 1);
    assert_eq!(convolutions("dpn, 6, 6, 3, 3, 32, 2, 1,").unwrap().warnings, Vec::<String>::new());
}

#[test]
fn columns_past_the_sizes_are_known_by_their_names() {
    let plain = ConvolutionShape { channels: 8, filters: 12, ..CONV1 };
    let both = |padding| ConvolutionShape { padding, end_padding: padding, ..plain };
    let columns = [
        ("Padding", 1, both([1, 1])),
        ("Pad", 2, both([2, 2])),
        ("Pad Height", 2, both([2, 0])),
        ("Padding (Width)", 3, both([0, 3])),
        ("Padding Top", 1, ConvolutionShape { padding: [1, 0], ..plain }),
        ("Pad_Right", 2, ConvolutionShape { end_padding: [0, 2], ..plain }),
        ("Dilation", 2, ConvolutionShape { dilation: [2, 2], ..plain }),
        ("Dilation Height", 3, ConvolutionShape { dilation: [3, 1], ..plain }),
        ("Dilated Width", 3, ConvolutionShape { dilation: [1, 3], ..plain }),
        ("Groups", 4, ConvolutionShape { groups: 4.try_into().unwrap(), ..plain }),
        ("Num Groups", 2, ConvolutionShape { groups: 2.try_into().unwrap(), ..plain }),
        ("Batch", 5, ConvolutionShape { batch: 5, ..plain }),
    ];
    for (column, cell, shape) in columns {
        let row = format!("a, 9, 13, 3, 5, 8, 12, 2, {cell},");
        let topology = Topology::parse(&format!("{CONVOLUTION_HEADER} {column},\n{row}")).unwrap();
        assert_eq!(topology.warnings, Vec::<String>::new(), "{column}");
        assert_eq!(topology.layers[0].shape(), LayerShape::Convolution(shape), "{column}");
        // A product has a batch, and no windows.
        let row = format!("a, 4, 5, 6, {cell},");
        let gemm = Topology::parse(&format!("{GEMM_HEADER} {column},\n{row}"));
        match column {
            "Batch" => {
                let gemm = only(gemm).gemm(OutputSize::Floor);
                assert_eq!(gemm, GemmShape { m: 5 * 4, k: 6, n: 5 });
            }
            _ => assert!(gemm.unwrap_err().to_string().contains(&format!("found \"{cell}\""))),
        }
    }
    let text = |cells: &str| format!("{CONVOLUTION_HEADER} Padding, Dilation, Groups,\n{cells},");
    let layer = only(Topology::parse(&text("a, 56, 56, 3, 3, 64, 64, 1, 1, 1, 1")));
    assert_eq!(layer.gemm(OutputSize::Floor), GemmShape { m: 3136, k: 576, n: 64 });
    // With padding 2 and dilation 2 as many outputs as inputs; groups of 16 channels.
    let layer = only(Topology::parse(&text("a, 9, 9, 3, 3, 64, 32, 1, 2, 2, 4")));
    assert_eq!(layer.gemm(OutputSize::Floor), GemmShape { m: 81, k: 144, n: 8 });
    assert_eq!(layer.repeats(), 4);
    for (row, problem) in [
        ("a, 9, 9, 3, 3, 64, 32, 1, same, 1, 1", "column \"Padding\": found \"same\""),
        ("a, 9, 9, 3, 3, 64, 32, 1, 0, 0, 1", "column \"Dilation\": found \"0\""),
        ("a, 9, 9, 3, 3, 64, 32, 1, 0, 5, 1", "filter of 11 x 11 on an input of 9 x 9"),
        ("a, 9, 9, 3, 3, 64, 32, 1, 0, 1, 5", "64 channels and 32 filters in 5 groups"),
        ("DP, 9, 9, 3, 3, 64, 32, 1, 0, 1, 2", "64 channels and 32 filters in 2 groups"),
    ] {
        let error = Topology::parse(&text(row)).unwrap_err().to_string();
        assert!(error.contains(problem), "{row}: {error}");
    }
}

#[test]
fn depthwise_layers_run_once_a_channel() {
    let layer = only(convolutions("Conv2_DP, 6, 6, 3, 3, 32, 2, 1,"));
    assert_eq!(layer.repeats(), 32);
    assert_eq!(layer.gemm(OutputSize::Floor), GemmShape { m: 16, k: 9, n: 2 });
    assert_eq!(layer.macs(OutputSize::Floor), 32 * 16 * 9 * 2);
    // Neither another case nor a table of GEMMs makes a layer depthwise.
    assert_eq!(only(convolutions("Conv2_dp, 6, 6, 3, 3, 32, 1, 1,")).repeats(), 1);
    assert_eq!(only(gemms("DP, 6, 6, 3,")).repeats(), 1);
    let text = format!("{CONVOLUTION_HEADER} Batch\nDP, 6, 6, 3, 3, 32, 2, 1, 5,");
    let layer = only(Topology::parse(&text));
    assert_eq!(layer.repeats(), 32);
    assert_eq!(layer.gemm(OutputSize::Floor), GemmShape { m: 5 * 16, k: 9, n: 2 });
}

#[test]
fn sparse_layers_are_refused_whether_or_not_the_header_names_their_column() {
    for header in ["Sparsity,", ""] {
        for ratio in ["1:4", "2:4", "4:1", "0:0", ":", "a:a", "-1:-1"] {
            let text = format!("{GEMM_HEADER}{header}\nx, 1, 1, 1, {ratio},");
            let expected = format!(
                "line 2: column \"Sparsity\": found \"{ratio}\", expected N:N such as 1:1, since \
                 sparsity is not modelled"
            );
            refused(Topology::parse(&text), &expected);
        }
        only(Topology::parse(&format!("{GEMM_HEADER}{header}\nx, 1, 1, 1, 4 : 4,")));
    }
    assert!(Topology::parse(&format!("{GEMM_HEADER}Sparsity\nx, 1, 1, 1, 2,")).is_err());
    for header in ["Batch, SparsityRatio,", "Batch, N:M Sparsity,", "Batch, whatever,"] {
        assert!(Topology::parse(&format!("{GEMM_HEADER}{header}\nx, 1, 1, 1, 2, 2:4,")).is_err());
    }
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    let number = "a whole number from 1 to 16777216";
    for found in ["x", "0", "-3", "3.5", "1e3", "16777217", "99999999999999999999", ""] {
        let expected = format!("line 3: column \"Channels\": found {found:?}, expected {number}");
        refused(convolutions(&format!("\nx, 4, 4, 1, 1, {found}, 1, 1,")), &expected);
    }
    refused(
        convolutions("x, 4, 4, 1, 1"),
        &format!("line 2: column \"Channels\": found a row of 5 cells, expected {number}"),
    );
    refused(
        gemms("x, 1"),
        &format!("line 2: column \"N\": found a row of 2 cells, expected {number}"),
    );
    refused(
        convolutions("x, 4, 4, 1, 5, 1, 1, 1,"),
        "line 2: filter of 1 x 5 on an input of 4 x 4: expected a filter no larger than the input, \
         with dilation and padding",
    );
    let known = format!("expected \"{CONVOLUTION_HEADER}\" or \"{GEMM_HEADER}\"");
    refused(Topology::parse(" \n,,,\n"), &format!("no header: {known}"));
    refused(Topology::parse(""), &format!("no header: {known}"));
    for header in ["x, 4, 4, 1, 1, 1, 1, 1,", "Layer, M, K, N,", "Layer, M, N", "{}", "Layer name"]
    {
        let expected = format!("line 2: unknown header {header:?}: {known}");
        refused(Topology::parse(&format!("\n{header}\nx, 1, 1, 1,")), &expected);
    }
    refused(convolutions("\n ,,, \nTransformer,\n"), "no layers below the header in line 1");
    let message = gemms(&format!("x, {}, 1, 1", "9".repeat(1000))).unwrap_err().to_string();
    assert!(message.len() < 200, "{message}");
}

#[test]
fn layers_are_refused_above_the_limits_and_accepted_at_them() {
    let limits =
        "expected matrices of at most 2^40 elements, and at most 2^48 multiply-accumulates";
    let of_map = " elements: expected at most 2^40";
    for (row, accepted) in [
        ("1048576, 1, 1048576", true),
        ("1048576, 1, 1048577", false),
        ("1048577, 1048576, 1", false),
        ("1, 1048577, 1048576", false),
        ("65536, 65536, 65536", true),
        ("65536, 65537, 65536", false),
    ] {
        match gemms(&format!("x, {row},")) {
            Ok(_) => assert!(accepted, "{row}"),
            Err(error) => {
                assert!(!accepted && error.to_string().ends_with(limits), "{row}: {error}");
            }
        }
    }
    let most = 1 << 24;
    for row in [
        format!("x, {most}, {most}, 1, 1, {most}, {most}, 1,"),
        format!("x, {most}, {most}, {most}, {most}, {most}, {most}, 1,"),
        format!("x, {most}, {most}, {most}, {most}, {most}, {most}, {most},"),
        format!("DP, 2, 2, 1, 1, {most}, {most}, 1,"),
    ] {
        let message = convolutions(&row).unwrap_err().to_string();
        assert!(message.ends_with(limits) || message.ends_with(of_map), "{row}: {message}");
    }
    // Its 2^24 channels run one multiply-accumulate each.
    let layer = only(convolutions(&format!("DP, 1, 1, 1, 1, {most}, 1, {most},")));
    assert_eq!(layer.macs(OutputSize::Ceiling), most);
    let batched = format!("{GEMM_HEADER} Batch\nx, 65536, 65536, 65536, 2,");
    assert!(Topology::parse(&batched).unwrap_err().to_string().contains("m = 131072"));
}

#[test]
fn layers_are_counted_up_to_their_limit() {
    let mut text = format!("{GEMM_HEADER}\n");
    for _ in 0..LAYERS_MAX {
        text.push_str("x, 65536, 65536, 65536,\n");
    }
    let full = Topology::parse(&text).unwrap();
    assert_eq!(full.macs(OutputSize::Floor), (LAYERS_MAX as u64) << 48);
    writeln!(text, "x, 1, 1, 1,").unwrap();
    let line = LAYERS_MAX + 2;
    assert_eq!(Topology::parse(&text), Err(InputError::TooManyLayers { line }));
}

#[test]
fn no_damage_to_a_file_panics() {
    let whole = [
        format!(
            "\u{feff}{CONVOLUTION_HEADER}Sparsity, Batch,\r\nConv, 9, 9, 3, 3, 4, 8, 2, 1:1, 2,\r\n"
        ),
        format!("{CONVOLUTION_HEADER}\nA_DP, 224, 224, 11, 11, 3, 96, 4,#dw\n,,,\nB,1,1,1,1,1,1,1"),
        format!("{GEMM_HEADER}\nQKT, 128, 64, 512,\nx, 1, 1, 1, 4, y"),
        include_str!("../../../../models/topologies/mobilenet_v1.csv").to_owned(),
    ];
    let pieces = ["", ",", "\n", "\t", ":", "-", "0", "99999999", "16777216", "DP", "é", "#", "\r"];
    let key = Key::new(7).with_name("damage");
    for case in 0..20_000_u64 {
        let key = key.with(case);
        let word = |at, below: usize| key.word(at) as usize % below;
        let mut characters: Vec<char> = whole[word(0, whole.len())].chars().collect();
        for change in 0..=word(1, 4) as u64 {
            let from = word(10 + 3 * change, characters.len() + 1);
            let to = (from + word(11 + 3 * change, 4)).min(characters.len());
            let piece = pieces[word(12 + 3 * change, pieces.len())];
            characters.splice(from..to, piece.chars());
        }
        let text: String = characters.into_iter().collect();
        if let Ok(topology) = Topology::parse(&text) {
            let [floor, ceiling] =
                [OutputSize::Floor, OutputSize::Ceiling].map(|size| topology.macs(size));
            assert!(0 < floor && floor <= ceiling, "case {case}: {text:?}");
        }
    }
}
