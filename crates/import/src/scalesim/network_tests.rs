//! The networks of `models/topologies/` have the shapes and the counts that are published.

use std::collections::BTreeSet;

use super::Topology;
use super::topology::{Layer, LayerShape, OutputSize};

const ALEXNET: &str = include_str!("../../../../models/topologies/alexnet.csv");
const VGG16: &str = include_str!("../../../../models/topologies/vgg16.csv");
const RESNET18: &str = include_str!("../../../../models/topologies/resnet18.csv");
const RESNET50: &str = include_str!("../../../../models/topologies/resnet50.csv");
const MOBILENET_V1: &str = include_str!("../../../../models/topologies/mobilenet_v1.csv");
const BERT_BASE: &str = include_str!("../../../../models/topologies/bert_base.csv");

#[track_caller]
fn read(text: &str) -> Topology {
    let topology = Topology::parse(text).unwrap();
    // Depthwise layers are said, and nothing else is odd.
    let odd = topology.warnings.iter().filter(|warning| !warning.contains("\"DP\" in the name"));
    assert_eq!(odd.collect::<Vec<_>>(), Vec::<&String>::new());
    topology
}

/// Multiply-accumulates of the layers whose name has a beginning.
fn macs(topology: &Topology, beginning: &str) -> u64 {
    let named = topology.layers.iter().filter(|layer| layer.name().starts_with(beginning));
    named.map(|layer| layer.macs(OutputSize::Floor)).sum()
}

/// Weights of all layers.
fn weights(topology: &Topology) -> u64 {
    let of_layer = |layer: &Layer| {
        let gemm = layer.gemm(OutputSize::Floor);
        (gemm.k * gemm.n) as u64 * layer.repeats()
    };
    topology.layers.iter().map(of_layer).sum()
}

/// A. Krizhevsky et al., NIPS 2012. Y.-H. Chen et al., "Eyeriss", ISSCC 2016: 666 million in the
/// convolutions. V. Sze et al., "Efficient processing of deep neural networks", Proc. IEEE 2017:
/// 58.6 million in the others.
#[test]
fn alexnet_has_its_published_multiply_accumulates() {
    let alexnet = read(ALEXNET);
    let sides = [(55, 11 * 11 * 3, 96), (27, 25 * 48, 256), (13, 9 * 256, 384), (13, 9 * 192, 384)];
    let convolutions = sides.iter().map(|(side, k, n)| side * side * k * n).sum::<u64>();
    let last = 13 * 13 * 9 * 192 * 256;
    assert_eq!(macs(&alexnet, "Conv"), convolutions + last);
    assert_eq!(macs(&alexnet, "Conv"), 665_784_864);
    assert_eq!(macs(&alexnet, "FC"), 9216 * 4096 + 4096 * 4096 + 4096 * 1000);
    // 60,965,224 parameters, of which 10,568 are biases.
    assert_eq!(weights(&alexnet), 60_965_224 - 10_568);
}

/// K. Simonyan and A. Zisserman, ICLR 2015. Chen et al., as above: 15.3 billion in the
/// convolutions. Parameters: 138,357,544 in the documentation of torchvision.
#[test]
fn vgg16_has_its_published_multiply_accumulates() {
    let vgg16 = read(VGG16);
    assert_eq!(macs(&vgg16, "Conv"), 15_346_630_656);
    assert_eq!(macs(&vgg16, "FC"), 25_088 * 4096 + 4096 * 4096 + 4096 * 1000);
    assert_eq!(vgg16.macs(OutputSize::Floor), 15_470_264_320);
    let biases = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 2 * 4096 + 1000;
    assert_eq!(weights(&vgg16), 138_357_544 - biases);
}

/// K. He et al., CVPR 2016, Table 1: 1.8 and 3.8 billion, one FLOP being a multiplication and an
/// addition; Sze et al., as above: 3.86 billion in the convolutions of ResNet-50. Parameters:
/// 11,689,512 and 25,557,032 in the documentation of torchvision, which has the stride of a
/// ResNet-50 elsewhere, but the same weights.
#[test]
fn resnets_have_their_published_multiply_accumulates() {
    let resnet18 = read(RESNET18);
    assert_eq!(resnet18.layers.len(), 18 + 3);
    assert_eq!(resnet18.macs(OutputSize::Floor), 1_814_073_344);
    // Two of each normalized channel, and the biases of the last layer.
    let normalized = 64 + 4 * 64 + 5 * (128 + 256 + 512);
    assert_eq!(weights(&resnet18), 11_689_512 - 2 * normalized - 1000);

    let resnet50 = read(RESNET50);
    assert_eq!(resnet50.layers.len(), 50 + 4);
    assert_eq!(resnet50.macs(OutputSize::Floor), 3_857_973_248);
    let blocks = [(3, 64), (4, 128), (6, 256), (3, 512)];
    let normalized = 64 + blocks.map(|(count, width)| (6 * count + 4) * width).iter().sum::<u64>();
    assert_eq!(weights(&resnet50), 25_557_032 - 2 * normalized - 1000);
}

/// A. Howard et al., arXiv:1704.04861, Table 4: 569 million multiply-adds and 4.2 million
/// parameters; Table 2: pointwise layers have 94.86 % of the former and depthwise ones 3.06 %.
#[test]
fn mobilenet_has_its_published_multiply_accumulates() {
    let mobilenet = read(MOBILENET_V1);
    assert_eq!(mobilenet.layers.len(), 28);
    let total = mobilenet.macs(OutputSize::Floor);
    assert_eq!(total, 568_740_352);
    let share = |ending: &str| {
        let named = mobilenet.layers.iter().filter(|layer| layer.name().ends_with(ending));
        let macs: u64 = named.map(|layer| layer.macs(OutputSize::Floor)).sum();
        macs as f64 / total as f64
    };
    assert!((share("_1x1") - 0.9486).abs() < 5e-5, "{}", share("_1x1"));
    assert!((share("_DP") - 0.0306).abs() < 5e-5, "{}", share("_DP"));
    // 4,253,864 parameters in Keras: four of each normalized channel, and 1000 biases.
    assert_eq!(weights(&mobilenet), 4_253_864 - 4 * 10_944 - 1000);
}

/// J. Devlin et al., NAACL 2019: 12 layers, 768 wide, 12 heads. Z. Sun et al., "MobileBERT", ACL
/// 2020: 22.5 billion operations at length 128, which is 11.25 billion multiply-accumulates, with
/// what is not a GEMM.
#[test]
fn bert_base_has_its_published_multiply_accumulates() {
    let bert = read(BERT_BASE);
    assert_eq!(bert.layers.len(), 12 * (3 + 12 * 2 + 3));
    let (length, width) = (128, 768);
    let projections = 4 * length * width * width;
    let attention = 2 * length * length * width;
    let feed_forward = 2 * length * width * 4 * width;
    let total = bert.macs(OutputSize::Floor);
    assert_eq!(total, 12 * (projections + attention + feed_forward));
    assert_eq!(total, 11_173_625_856);
    assert!((2.0 * total as f64 / 22.5e9 - 1.0).abs() < 0.01);
}

/// The sides of the maps in the papers' tables. SCALE-Sim counts one more where a stride of 2 does
/// not end at the last input, which the padding of MobileNet avoids.
#[test]
fn maps_are_as_large_as_published_and_larger_with_scale_sim_in_residual_networks_alone() {
    for (text, sides, macs) in [
        (ALEXNET, vec![55, 27, 13, 1], 724_406_816),
        (VGG16, vec![224, 112, 56, 28, 14, 1], 15_470_264_320),
        (RESNET18, vec![112, 56, 28, 14, 7, 1], 1_850_023_104),
        (RESNET50, vec![112, 56, 28, 14, 7, 1], 3_927_755_968),
        (MOBILENET_V1, vec![112, 56, 28, 14, 7, 1], 568_740_352),
    ] {
        let topology = read(text);
        let side = |layer: &Layer, size| layer.gemm(size).m.isqrt();
        let found: BTreeSet<_> =
            topology.layers.iter().map(|layer| side(layer, OutputSize::Floor)).collect();
        assert_eq!(found.into_iter().rev().collect::<Vec<_>>(), sides);
        for layer in &topology.layers {
            let [floor, ceiling] =
                [OutputSize::Floor, OutputSize::Ceiling].map(|size| side(layer, size));
            let LayerShape::Convolution(convolution) = layer.shape() else { unreachable!() };
            let halved = convolution.stride == [2, 2] && text != MOBILENET_V1;
            assert_eq!(ceiling, floor + usize::from(halved), "{}", layer.name());
        }
        assert_eq!(topology.macs(OutputSize::Ceiling), macs);
    }
}
