//! Small inputs that mislead easily, and what the command has to say of each: one table.
//!
//! `$MODELS` in a command is the folder of the experiments that ship with the project.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shell::root;

/// How long a judged command may take, built without optimization and on a busy machine.
const AT_MOST: Duration = Duration::from_secs(8);

/// An input and what is right.
#[derive(Default)]
struct Case {
    right: &'static str,
    files: Vec<(&'static str, String)>,
    /// Commands that must succeed before.
    before: Vec<&'static str>,
    /// What happens to their files then.
    edit: Option<fn(&Path)>,
    /// The command that is judged.
    command: &'static str,
    status: i32,
    /// Parts of what it prints, each run of spaces as one.
    says: Vec<&'static str>,
    /// What it must not print.
    never: Vec<&'static str>,
    /// Values in the JSON that it prints.
    json: Vec<(&'static str, Value)>,
    /// Two files that then are the same.
    same: Option<[&'static str; 2]>,
}

impl Case {
    fn new(right: &'static str, command: &'static str) -> Self {
        Self { right, command, ..Self::default() }
    }

    fn file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    fn says(mut self, parts: &[&'static str]) -> Self {
        self.says.extend(parts);
        self
    }

    fn never(mut self, parts: &[&'static str]) -> Self {
        self.never.extend(parts);
        self
    }

    fn refused(self, parts: &[&'static str]) -> Self {
        Self { status: 2, ..self }.says(parts)
    }

    fn json(mut self, pointer: &'static str, value: impl Into<Value>) -> Self {
        self.json.push((pointer, value.into()));
        self
    }

    fn check(&self) {
        let Self { right, command, .. } = self;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).expect("a new file");
        }
        for command in &self.before {
            let (code, _, said) = ended(start(folder, command));
            assert_eq!(code, Some(0), "{right}: `{command}` says {said}");
        }
        if let Some(edit) = self.edit {
            edit(folder);
        }
        let began = Instant::now();
        let (code, printed, said) = ended(start(folder, command));
        let took = began.elapsed();
        assert_eq!(code, Some(self.status), "{right}: `{command}` says {said}");
        assert!(took < AT_MOST, "{right}: `{command}` takes {took:?}");
        for part in &self.says {
            assert!(said.contains(part), "{right}: `{command}` says {said}, expected {part}");
        }
        for part in &self.never {
            assert!(!said.contains(part), "{right}: `{command}` says {said}, with {part}");
        }
        for (pointer, expected) in &self.json {
            let value: Value = serde_json::from_str(&printed).expect("JSON");
            assert_eq!(value.pointer(pointer), Some(expected), "{right}: {pointer}");
        }
        if let Some(files) = self.same {
            let [one, other] = files.map(|name| fs::read(folder.join(name)).expect("a file"));
            assert!(one == other, "{right}: {files:?} differ");
        }
    }
}

/// The command as a process of its own.
fn start(folder: &Path, command: &str) -> Child {
    let models = root().join("models");
    let models = models.to_str().expect("text");
    let arguments = command.split_whitespace().map(|word| word.replace("$MODELS", models));
    let mut process = Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"));
    process.args(arguments).current_dir(folder);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.spawn().expect("the command starts")
}

/// Its exit status, what it printed, and all that it said with runs of spaces as one.
fn ended(process: Child) -> (Option<i32>, String, String) {
    let output = process.wait_with_output().expect("the command ends");
    let [printed, message] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    let said = format!("{message}{printed}").split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.code(), printed, said)
}

/// A layer of units on data of a file.
fn experiment(dataset: &Value, inputs: usize, units: usize, precision: &Value) -> String {
    let mut all = json!({ "kind": "csv", "path": "data.csv", "test": 1, "shuffle": false });
    let members = dataset.as_object().expect("an object").clone();
    all.as_object_mut().expect("an object").extend(members);
    let loss = if dataset["targets"].is_null() { "softmax_cross_entropy" } else { "mse" };
    let bias = dataset["targets"].is_null();
    json!({
        "name": "case", "seed": 1,
        "dataset": all,
        "network": {
            "input": [inputs], "layers": [{ "dense": { "units": units, "bias": bias } }], "loss": loss
        },
        "training": { "epochs": 1, "batch": 2, "rate": 0.1 },
        "precision": precision,
        "accelerator": { "array": { "rows": 8, "cols": 8 } }
    })
    .to_string()
}

const GEMMS: &str = "Layer, M, N, K,\n";
const CONVOLUTIONS: &str = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, \
                            Channels, Num Filter, Strides,";

const EDGE: &str = "workload net.csv --accelerator $MODELS/accelerators/edge-16x16.json";

/// A topology of products.
fn gemms(right: &'static str, command: &'static str, rows: &str) -> Case {
    Case::new(right, command).file("net.csv", format!("{GEMMS}{rows}"))
}

/// What a workload takes of memory.
fn memory() -> Vec<Case> {
    const AUTO: &str = "workload net.csv --accelerator $MODELS/accelerators/edge-16x16.json \
                        --dataflow auto --json";
    const KEEP: &str = "workload net.csv --accelerator keep.json";
    let keep = |residency: &str| {
        json!({
            "array": { "rows": 16, "cols": 16 },
            "scratchpad": { "a_bytes": 65536, "b_bytes": 65536, "c_bytes": 65536 },
            "dram": { "kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 25,
                      "latency_cycles": 50 },
            "residency": residency
        })
        .to_string()
    };
    let toggles = || {
        json!({
            "array": { "rows": 16, "cols": 16 }, "activity": "toggles", "toggles": "exact"
        })
        .to_string()
    };
    vec![
        gemms(
            "auto counts stalls, and of equal flows takes the first",
            AUTO,
            "fc, 1, 1024, 1024,\n",
        )
        .json("/products/0/dataflow", "os")
        .json("/products/0/cycles", 66_431),
        gemms(
            "residency has no effect here, which is said",
            KEEP,
            "a, 64, 64, 64,\nb, 64, 64, 64,\n",
        )
        .file("keep.json", keep("keep-if-next"))
        .says(&["warning: keep.json: residency: it has no effect here"]),
        gemms("nor have toggles without data", KEEP, "a, 64, 64, 64,\n")
            .file("keep.json", toggles())
            .says(&[
                "keep.json: activity: it has no effect",
                "keep.json: toggles: it has no effect",
            ]),
        Case::new("nor of a single product", "gemm --m 8 --n 8 --k 8 --accelerator keep.json")
            .file("keep.json", toggles())
            .says(&[
                "keep.json: activity: it has no effect",
                "keep.json: toggles: it has no effect",
            ]),
        gemms("nothing is said of the default", KEEP, "a, 64, 64, 64,\n")
            .file("keep.json", keep("none"))
            .never(&["warning", "residency"]),
    ]
}

/// What a topology says.
fn topologies() -> Vec<Case> {
    const OS: &str = "workload net.csv --accelerator $MODELS/accelerators/edge-16x16.json \
                      --dataflow os";
    let convolutions = |right, command, more: &str, row: &str| {
        Case::new(right, command).file("net.csv", format!("{CONVOLUTIONS}{more}\n{row}\n"))
    };
    vec![
        gemms("a layer behind # is off", EDGE, "# second block\ng1, 8, 8, 8,\n#g2, 8, 8, 8,\n")
            .says(&["g1 forward 8 8 8", " 512 MACs"])
            .never(&["g2", "warning"]),
        Case::new("comments stand anywhere", EDGE)
            .file("net.csv", format!("# by hand\n\n{GEMMS}# first\ng1, 8, 8, 8, # eight\n"))
            .says(&["g1 forward 8 8 8", " 512 MACs"])
            .never(&["by hand", "first", "warning"]),
        // Down and along, 56 + 55 + 55 pairs of a tap and an output meet a pixel.
        convolutions(
            "padding makes outputs, and no products",
            EDGE,
            " Padding,",
            "c, 56, 56, 3, 3, 64, 64, 1, 1,",
        )
        .says(&["c forward 3136 64 576", " 112,869,376 MACs"])
        .never(&["warning"]),
        convolutions(
            "dilation takes outputs",
            EDGE,
            " Dilation,",
            "c, 56, 56, 3, 3, 64, 64, 1, 2,",
        )
        .says(&["c forward 2704 64 576", " 99,680,256 MACs"])
        .never(&["warning"]),
        convolutions(
            "a column that is not known is named",
            EDGE,
            " Bias,",
            "c, 4, 4, 1, 1, 2, 2, 1, 1,",
        )
        .says(&["warning: net.csv: line 2: \"1\" in column 9, \"Bias\", is not read"]),
        Case::new("a product has no padding", EDGE)
            .file("net.csv", "Layer, M, N, K, Padding,\nc, 4, 4, 4, 1,\n")
            .refused(&["line 2: column \"Padding\": found \"1\", expected 0"]),
        convolutions("no padding is no fault", EDGE, " Padding,", "c, 56, 56, 3, 3, 64, 64, 1, 0,")
            .says(&["107,495,424 MACs"])
            .never(&["warning"]),
        convolutions(
            "DP in a name makes 16 layers of one channel: said",
            OS,
            "",
            "DPN92_conv1, 8, 8, 3, 3, 16, 32, 1,",
        )
        .says(&["warning: net.csv: line 2: \"DP\" in the name \"DPN92_conv1\"", "depthwise"])
        .says(&["DPN92_conv1 x 16 forward 36 32 9"]),
        convolutions(
            "in small letters it is a name",
            OS,
            "",
            "dpn92_conv1, 8, 8, 3, 3, 16, 32, 1,",
        )
        .says(&["dpn92_conv1 forward 36 32 144"])
        .never(&["warning", "depthwise"]),
    ]
}

/// What training a topology takes.
fn training() -> Vec<Case> {
    const CLOUD: &str = "workload net.csv --accelerator $MODELS/accelerators/cloud-128x128.json \
                         --training --json";
    const TRAIN: &str =
        "workload net.csv --accelerator $MODELS/accelerators/edge-16x16.json --training";
    let head = "head, 4, 4, 1, 1, 4, 8, 1,";
    let convolutions = |right, command, rows: &str| {
        Case::new(right, command).file("net.csv", format!("{CONVOLUTIONS}\n{head}\n{rows}\n"))
    };
    let gradient = |case: Case, at: [&'static str; 4], [m, n, k]: [u64; 3]| {
        case.json(at[0], m).json(at[1], n).json(at[2], k).json(at[3], m * n * k)
    };
    let fc = ["/products/4/m", "/products/4/n", "/products/4/k", "/products/4/macs"];
    let lstm = ["/products/8/m", "/products/8/n", "/products/8/k", "/products/8/macs"];
    vec![
        gradient(
            convolutions(
                "a filter as large as its map meets each input once",
                CLOUD,
                "fc, 6, 6, 6, 6, 32, 64, 1,",
            ),
            fc,
            [1, 32 * 36, 64],
        )
        .json("/total/macs", 3 * 73_728 + 2 * 512),
        gradient(
            gradient(
                convolutions(
                    "a map of rows and a filter of one row are matrices",
                    CLOUD,
                    "gemm, 128, 1600, 1, 1600, 1, 6400, 1,\nlstm, 1, 512, 1, 512, 1, 4, 1,",
                ),
                fc,
                [128, 1600, 6400],
            ),
            lstm,
            [1, 512, 4],
        ),
        convolutions("what is not stated of training is said", TRAIN, "fc, 6, 6, 6, 6, 32, 64, 1,")
            .says(&["fc update 64 1152 - - 0 "])
            .says(&["training: no activation functions", "SGD without momentum on masters"]),
        convolutions(
            "a large map whose rows are no multiple of a tile takes no time",
            TRAIN,
            "big, 2046, 2046, 3, 3, 64, 64, 1,",
        )
        .says(&["462,046,299,136 MACs"]),
        Case::new(
            "gradients of weights may stay for their step",
            "workload net.csv --accelerator keep.json --training",
        )
        .file("net.csv", format!("{GEMMS}a, 64, 64, 64,\n"))
        .file(
            "keep.json",
            json!({ "array": { "rows": 8, "cols": 8 }, "residency": "keep-if-next" }).to_string(),
        )
        .says(&["warning: keep.json: residency: it keeps no more than gradients of weights"]),
    ]
}

/// A classifier on these rows, to be checked.
fn rows(right: &'static str, dataset: &Value, precision: &Value, rows: &str) -> Case {
    let inputs = rows.lines().next().expect("a row").split(',').count() - 1;
    let classes = dataset["classes"].as_u64().expect("classes") as usize;
    Case::new(right, "check case.json")
        .file("case.json", experiment(dataset, inputs, classes, precision))
        .file("data.csv", rows)
}

/// Signs of formats.
fn formats() -> Vec<Case> {
    let two = json!({ "classes": 2 });
    let signed = "1,-1,0\n-0.5,0.5,1\n1,-1,0\n-0.5,0.5,1\n";
    let far = "-1,9,0\n9,0.5,1\n9,1,0\n0.5,9,1\n";
    let six = json!({ "bits": 8, "frac": 6 });
    let unsigned =
        |key: &str, value: &str| json!({ "input": { "bits": 8, "signed": false, key: value } });
    let mut wrapped = unsigned("overflow", "wrap");
    wrapped["input"]["frac"] = json!(6);
    let hidden = experiment(&two, 2, 2, &json!({ "input": "Q2.6", "activations": six }))
        .replace(r#""layers":["#, r#""layers":[{"dense":{"units":2}},"relu","#);
    vec![
        rows("bits and frac are signed", &two, &json!({ "input": six }), signed)
            .says(&["x input batch x 2 Q2.6 static", "none outside Q2.6"])
            .never(&["UQ2.6"]),
        rows("of activations, too", &two, &json!({}), signed)
            .file("case.json", hidden)
            .says(&["y0 activations batch x 2 Q2.6 static"])
            .never(&["UQ2.6"]),
        rows("what has no sign cuts negative inputs", &two, &json!({ "input": "UQ2.6" }), signed)
            .says(&["4 of 8 outside UQ2.6", "4 of 8 inputs are negative, and UQ2.6 has no"])
            .says(&["they become 0"])
            .never(&["are above"]),
        rows("no scale gives a sign", &two, &unsigned("scale", "dynamic"), signed)
            .says(&["4 of 8 inputs are negative", "they become 0"]),
        rows("nor one that remembers", &two, &unsigned("scale", "history"), signed)
            .says(&["4 of 8 inputs are negative"]),
        rows("what wraps does not become 0", &two, &wrapped, signed)
            .says(&["4 of 8 inputs are negative", "they wrap to positive ones"])
            .never(&["become 0"]),
        rows("a few negatives hide nothing", &two, &json!({ "input": "UQ2.6" }), far)
            .says(&["5 of 8 outside UQ2.6", "1 of 8 inputs are negative"])
            .says(&["4 of 8 inputs are above UQ2.6, which ends at 3.984375"]),
    ]
}

/// Samples that are odd.
fn samples() -> Vec<Case> {
    let classes = |count: usize| json!({ "classes": count });
    let plain = json!({});
    let rare = "0,1,0\n".repeat(150) + "1,0,1\n" + &"1,1,0\n".repeat(49) + "1,0,1\n";
    vec![
        rows("one class alone teaches nothing", &classes(3), &plain, "1,0,0\n0,1,0\n1,1,0\n")
            .says(&["training samples by class: 2, 0, 0"])
            .says(&[
                "classes 1, 2 never occur in the training part; all its 2 samples are of class 0",
            ]),
        rows("a class below 1 % is named", &classes(2), &plain, &rare)
            .says(&["class 1 has at most 1 of the 200 training samples, less than 1 %"]),
        rows("constant columns are counted", &classes(2), &plain, "0,7,1,0\n1,7,1,1\n0,7,1,0\n")
            .says(&["warning: case: data.csv: 2 of 3 columns of inputs hold one value alone"]),
        rows("of the training part alone", &classes(2), &plain, "0,7,1,0\n1,7,1,1\n0,7,2,0\n")
            .says(&["2 of 3 columns of inputs hold one value alone in the training part"]),
        rows("columns numbered from 1", &classes(5), &plain, "1,2,3,4\n.5,.1,0,0\n.1,.3,0,1\n")
            .says(&["it is read as a sample, but counts 1, 2, 3, … in equal steps"]),
        rows("two columns", &classes(2), &plain, "0,1\n.5,0\n.7,1\n.1,1\n")
            .says(&["it is read as a sample, but counts 0, 1 in equal steps"]),
        rows("wavelengths", &classes(2), &plain, "400,410,420,1\n.3,.5,.5,0\n.8,.3,0,1\n")
            .says(&["it is read as a sample, but counts 400, 410, 420, … in equal steps"]),
        rows("samples like others", &classes(2), &plain, "0,1\n.5,0\n0,1\n1,0\n")
            .never(&["it is read as a sample"]),
        rows("a class with a name", &classes(2), &plain, "0,1,kind\n1,0,0\n0,1,1\n")
            .refused(&["line 1, column 3 is `kind`, expected a class", "\"header\": true"]),
        rows(
            "the heading of pandas is no sample",
            &classes(3),
            &plain,
            "0,1,2\n1,0,0\n0,1,1\n1,1,0\n",
        )
        .says(&["it is read as a sample, but counts 0, 1, 2", "\"header\": true"]),
        rows(
            "a sample is no heading",
            &json!({ "classes": 2, "header": true }),
            &plain,
            "1,0,0\n0,1,1\n1,1,0\n0,1,1\n",
        )
        .says(&["it is passed over as the names of the columns, but holds numbers alone"]),
        rows(
            "plain data have no remark",
            &json!({ "classes": 2, "test": 2 }),
            &plain,
            "0,1,0\n1,0,1\n1,1,0\n0,0,1\n0,1,0\n1,1,1\n",
        )
        .says(&["samples: 4 training, 2 test", "training samples by class: 2, 2"])
        .never(&["warning"]),
    ]
}

/// Every command that loads data.
fn readers() -> Vec<Case> {
    let commands = [
        "check case.json",
        "train case.json --json",
        "precision case.json --json",
        "trace case.json --op 0.forward --format text",
        "trace case.json --format perfetto -o t.json",
        "point case.json --out points --json",
        "search case.json --margin 0.5 --seeds 1 --held-back 1 --runs 4 --out found --json",
        "sweep sweep.json --json",
    ];
    let sweep = json!({
        "name": "s", "experiment": "case.json",
        "axes": [{ "path": "precision.weights.bits", "values": [4, 8] }]
    });
    let dataset = json!({ "classes": 2, "validation": 4, "test": 4 });
    let constant = "0,1,0\n1,1,1\n".repeat(8);
    let case = |command| {
        Case { command, ..rows("what was read is said", &dataset, &json!({}), &constant) }
            .file("sweep.json", sweep.to_string())
            .says(&["data.csv: samples: 8 training, 4 validation, 4 test; 2 inputs each"])
            .says(&["warning: case: data.csv: 1 of 2 columns of inputs hold one value alone"])
    };
    commands.map(case).into()
}

/// Updates that are lost, and runs that go on.
fn runs() -> Vec<Case> {
    let decay = |frac: u32| {
        let master = json!({ "bits": frac + 2, "frac": frac, "rounding": "nearest-even" });
        let plan = json!({ "input": "Q2.6", "weights": "Q2.6", "master": master });
        let text = experiment(&json!({ "targets": 1 }), 1, 1, &plan);
        let text = text.replace(r#""rate":0.1"#, r#""rate":0.1,"weight_decay":0.01"#);
        Case::new("decay that changes no code is stalled", "train case.json --json")
            .file("case.json", text)
            .file("data.csv", "0,0\n".repeat(5))
            .json("/precision/1/name", "m0")
    };
    let separable = json!({ "classes": 2, "validation": 4, "test": 4 });
    let resumed = |right, command| Case {
        before: vec![
            "train $MODELS/binary-classifier.json --set training.epochs=6 --out long",
            "train $MODELS/binary-classifier.json --set training.epochs=3 --out run",
        ],
        ..Case::new(right, command)
    };
    vec![
        decay(6).json("/precision/1/stalled_rate", 1.0),
        Case { right: "decay that a finer master holds is not", ..decay(16) }
            .json("/precision/1/stalled_rate", 0.0),
        Case {
            right: "decay that momentum rounds away is stalled, too",
            command: "train case.json --json --set training.momentum=0.5 --set precision.momentum=Q2.6",
            ..decay(6)
        }
        .json("/precision/1/stalled_rate", 1.0),
        Case {
            same: Some(["run/report.json", "long/report.json"]),
            ..resumed(
                "a run goes on to more epochs",
                "train $MODELS/binary-classifier.json --set training.epochs=6 --out run --resume",
            )
        },
        resumed(
            "it does not go back to fewer",
            "train $MODELS/binary-classifier.json --set training.epochs=2 --out run --resume",
        )
        .refused(&["cannot resume", "3 are done, and training.epochs is 2"]),
        Case {
            before: vec![
                "train $MODELS/lms.json --set training.rate=0.45 --set training.epochs=60 \
                 --set dataset.train=100 --set dataset.test=50 --out div",
            ],
            ..Case::new("losses of 1e291 are drawn at once", "report div --svg svg")
        },
        Case {
            before: vec![SEARCH],
            edit: Some(|folder| {
                let path = folder.join("s/points.jsonl");
                let store = fs::read_to_string(&path).expect("a store");
                let (first, rest) = store.split_once('\n').expect("lines");
                let mut line: Value = serde_json::from_str(first).expect("JSON");
                line["outcome"]["done"]["tensors"][0]["step_elements"] = u64::MAX.into();
                fs::write(&path, format!("{line}\n{rest}")).expect("a file");
            }),
            ..Case::new("counts of a store that overflow are refused", RESUMED)
        }
        .file("case.json", experiment(&separable, 2, 2, &json!({})))
        .file("data.csv", "0,1,0\n1,0,1\n".repeat(8))
        .refused(&["line 1 of the store", "step_elements"])
        .never(&["panicked"]),
    ]
}

const SEARCH: &str = "search case.json --margin 0.5 --seeds 2 --held-back 2 --runs 8 --out s";
const RESUMED: &str =
    "search case.json --margin 0.5 --seeds 2 --held-back 2 --runs 8 --out s --resume";

#[test]
fn each_case_is_answered_rightly() {
    let table = [memory(), topologies(), training(), formats(), samples(), readers(), runs()];
    for case in table.into_iter().flatten() {
        case.check();
    }
    two_traces_to_one_file_leave_one_of_them_whole();
}

fn two_traces_to_one_file_leave_one_of_them_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let commands = ["0.forward", "1.forward"]
        .map(|op| format!("trace $MODELS/digits-mlp.json --op {op} --format vcd -o t.vcd"));
    let alone = commands.each_ref().map(|command| {
        assert_eq!(ended(start(folder, command)).0, Some(0), "{command}");
        fs::read(folder.join("t.vcd")).expect("a trace")
    });
    for round in 0..3 {
        for process in commands.each_ref().map(|command| start(folder, command)) {
            let (code, _, said) = ended(process);
            assert_eq!(code, Some(0), "round {round}: {said}");
        }
        let found = fs::read(folder.join("t.vcd")).expect("a trace");
        assert!(alone.contains(&found), "round {round}: a mixture of both");
    }
}
