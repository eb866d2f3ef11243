//! Data files that are missing, cut short or corrupt, and data that do not fit the network.

use serde_json::json;

use super::Case;
use crate::shell;

/// Training on idx files, one of which `spoil` may change.
fn on_idx(spoil: &str, bytes: Option<Vec<u8>>, says: &[&str]) -> Case {
    let mut case = Case::edit("/dataset", json!({"kind": "idx", "dir": "mnist"}), says);
    for (name, good) in shell::idx_files(40, 10, 8) {
        let bytes = if name == spoil.trim_end_matches(".gz") { bytes.clone() } else { Some(good) };
        let name = if name == spoil.trim_end_matches(".gz") { spoil } else { name };
        if let Some(bytes) = bytes {
            case = case.file(&format!("mnist/{name}"), bytes);
        }
    }
    case
}

/// Spoilt idx files, plain and gzip.
pub(crate) fn idx() -> Vec<Case> {
    let images = shell::images(40, 8);
    let packed = shell::gzip(&images);
    let mut corrupt = packed.clone();
    corrupt[10] = 0xff; // the first block, after the header: of a kind that is none
    let middle = packed.len() / 2;
    let mut wrong_sum = packed.clone();
    let end = wrong_sum.len() - 6;
    wrong_sum[end] ^= 1;
    let mut labels = shell::labels(40);
    labels[8 + 5] = 10;
    let (image, label) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    let zipped = "train-images-idx3-ubyte.gz";
    let cut = |bytes: &[u8], at: usize| Some(bytes[..at].to_vec());
    vec![
        on_idx(
            image,
            None,
            &[
                "x.json:",
                "dataset.dir: cannot find mnist/train-images-idx3-ubyte.gz or mnist/train-images-idx3-ubyte",
            ],
        ),
        on_idx("t10k-labels-idx1-ubyte", None, &["cannot find mnist/t10k-labels-idx1-ubyte"]),
        on_idx(
            image,
            cut(&images, 1000),
            &["mnist/train-images-idx3-ubyte: data are cut short, found 984 bytes", "states 2560"],
        ),
        on_idx(image, cut(&images, 7), &["the header is cut short, found 7 bytes, expected 16"]),
        on_idx(image, Some(shell::labels(40)), &["the magic number is 2049, expected 2051"]),
        on_idx(image, Some([&images[..], b"more"].concat()), &["data go on after the 2560 bytes"]),
        on_idx(
            image,
            Some(shell::idx(2051, &[u32::MAX; 3], &[])),
            &["the header states 4294967295 samples of 4294967295 x 4294967295 bytes"],
        ),
        on_idx(
            zipped,
            cut(&packed, middle),
            &["mnist/train-images-idx3-ubyte.gz: gzip data are corrupt or cut short"],
        ),
        on_idx(zipped, Some(corrupt), &["train-images-idx3-ubyte.gz: gzip data are corrupt"]),
        on_idx(zipped, Some(wrong_sum), &["train-images-idx3-ubyte.gz: gzip data are corrupt"]),
        on_idx(
            label,
            Some(labels),
            &["mnist/train-labels-idx1-ubyte: label 5 is 10, expected a class from 0 to 9"],
        ),
        on_idx(
            label,
            Some(shell::labels(39)),
            &["mnist/train-labels-idx1-ubyte has 39 labels, but", "train-images-idx3-ubyte has 40"],
        ),
    ]
}

/// Training of 2 inputs and 3 classes on `table`.
fn on_csv(table: &[u8], says: &[&str]) -> Case {
    let mut experiment = shell::experiment();
    experiment["dataset"] = json!({"kind": "csv", "path": "d.csv", "classes": 3, "test": 1});
    experiment["network"]["input"] = json!([2]);
    experiment["network"]["layers"][2] = json!({"dense": {"units": 3}});
    experiment["training"]["batch"] = json!(2);
    Case::text(&shell::text(&experiment), says).file("d.csv", table)
}

/// Spoilt tables.
pub(crate) fn csv() -> Vec<Case> {
    let place = "x.json:11:5: dataset.path: ";
    vec![
        on_csv(
            b"1,2,0\n1,NaN,1\n1,2,2\n",
            &[place, "d.csv: line 2, column 2 is `NaN`, expected a finite number"],
        ),
        on_csv(
            b"1,2,0\ninf,2,1\n1,2,2\n",
            &["d.csv: line 2, column 1 is `inf`, expected a finite"],
        ),
        on_csv(
            b"a,b,label\n1,2,0\n1,2,1\n1,2,1\n",
            &["d.csv: line 1, column 1 is `a`, expected a"],
        ),
        on_csv(b"1,2,0\n\n1,2\n1,2,0\n", &["d.csv: line 3 has 2 columns, expected 3"]),
        on_csv(
            b"1,2,0\n1,2,3\n1,2,0\n",
            &["d.csv: line 2, column 3 is `3`, expected a class from 0 to 2"],
        ),
        on_csv(
            b"1,2,0\n1,2,-1\n1,2,0\n",
            &["d.csv: line 2, column 3 is `-1`, expected a class from 0 to 2"],
        ),
        on_csv(
            b"1,2,0\n1,2,0.5\n1,2,0\n",
            &["d.csv: line 2, column 3 is `0.5`, expected a class from 0 to 2"],
        ),
        on_csv(b"1,2,0\n1,\xff,1\n1,2,2\n", &["d.csv: line 2 is not UTF-8 text"]),
        on_csv(b"", &["d.csv: no samples"]),
        on_csv(b"0\n1\n2\n", &["d.csv: 1 columns are too few"]),
        on_csv(b"1,2,0\n", &["0 validation and 1 test samples leave too few of the 1 of"]),
        on_csv(b"1,2,0\n1,2,1\n", &["training.batch is 2, but data set", "has 1 training samples"]),
    ]
}

/// Good data that do not fit the network or the training.
pub(crate) fn fit() -> Vec<Case> {
    let regression = json!({"kind": "fir", "taps": [1, 0.5], "noise": 0, "train": 64, "test": 8});
    let point = |label: i64| json!({"kind": "points", "inputs": [[1, 2], [3, 4]], "labels": [0, label], "classes": 2});
    vec![
        Case::edit(
            "/training/batch",
            json!(1198),
            &["x.json:", "training.batch is 1198, but data set `digits` has 1197 training samples"],
        ),
        Case::edit(
            "/network/input",
            json!([63]),
            &["data set `digits` has 64 values per sample, but the network reads 63"],
        ),
        Case::edit(
            "/network/layers/2/dense/units",
            json!(9),
            &["data set `digits` has 10 classes, but the network's last layer has 9 units"],
        ),
        Case::edit(
            "/network/loss",
            json!("mse"),
            &["loss mse needs real targets, but data set `digits` has class labels"],
        ),
        Case::edit(
            "/dataset",
            regression,
            &["loss softmax_cross_entropy needs class labels, but data set `fir` has real targets"],
        ),
        Case::edit("/dataset", point(2), &["dataset.labels[1] is 2, expected a class from 0 to 1"]),
        Case::edit(
            "/dataset",
            json!({
                "kind": "points", "inputs": [[1, 2], [3]], "labels": [0, 1], "classes": 2
            }),
            &["dataset.inputs[1] has 1 entries, expected 2 as in dataset.inputs[0]"],
        ),
        Case::edit(
            "/dataset",
            json!({
                "kind": "clusters", "classes": 10, "features": 1_i64 << 40, "spread": 1, "train": 1, "test": 1
            }),
            &["dataset.features is 1099511627776, expected 1 to"],
        ),
    ]
}
