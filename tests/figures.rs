//! Figures: a page of its own for a run and for a sweep, with every figure, the numbers of the results,
//! and nothing from elsewhere; the same figures as files.
//!
//! Without `chromium` the test of a browser fails.

use crate::shell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};

/// A folder with a run in `run`, of an experiment of this name.
fn run(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = shell::experiment();
    experiment["name"] = json!(name);
    experiment["training"]["epochs"] = json!(3);
    experiment["accelerator"]["dram"] = json!({
        "kind": "lpddr4", "burst_bytes": 32, "bytes_per_cycle": 8, "latency_cycles": 10
    });
    experiment["accelerator"]["scratchpad"]["buffer_bytes"] = json!(65536);
    fs::write(folder.path().join("x.json"), shell::text(&experiment)).unwrap();
    shell::printed(folder.path(), &["train", "x.json", "--out", "run"]);
    folder
}

/// A folder with a sweep in `sweep`.
fn sweep() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sweep = json!({
        "name": "small",
        "experiment": "x.json",
        "seeds": 2,
        "axes": [
            { "path": "precision.weights.bits", "name": "bits", "values": [2, 4, 8] },
            { "name": "machine", "bundles": [
                { "name": "8 x 8", "set": { "accelerator.array.rows": 8 } },
                { "name": "4 x 8", "set": { "accelerator.array.rows": 4 } }
            ] }
        ]
    });
    fs::write(folder.path().join("x.json"), shell::text(&shell::experiment())).unwrap();
    fs::write(folder.path().join("s.json"), shell::text(&sweep)).unwrap();
    shell::printed(folder.path(), &["sweep", "s.json", "--out", "sweep"]);
    folder
}

/// Draws what `folder` has in `of`; returns the page, and the figures by the names of their files.
fn drawn(folder: &Path, of: &str) -> (String, BTreeMap<String, String>) {
    let printed = shell::printed(folder, &["report", of, "--svg", "svg"]);
    let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    let page = read(&format!("{of}/report.html"));
    let files: BTreeMap<_, _> = printed
        .lines()
        .filter_map(|line| Some((line.strip_prefix("svg/")?.to_owned(), read(line))))
        .collect();
    (page, files)
}

fn parsed(text: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The ids of the figures of a page.
fn ids(page: &Document<'_>) -> Vec<String> {
    let figures = page.descendants().filter(|node| node.has_tag_name("figure"));
    figures.map(|figure| figure.attribute("id").expect("an id").to_owned()).collect()
}

const SVG: &str = "http://www.w3.org/2000/svg";

/// What every mark of a drawing tells, with the mark.
fn told<'a>(drawing: &'a Document<'a>) -> Vec<(&'a str, Node<'a, 'a>)> {
    let marks = drawing.descendants().filter(|node| node.attribute("class") == Some("mark"));
    let title = |mark: Node<'a, 'a>| {
        let title = mark.children().find(|child| child.has_tag_name((SVG, "title")));
        (title.and_then(|title| title.text()).expect("a mark tells something"), mark)
    };
    marks.map(title).collect()
}

/// The number before a unit: `48.42 µJ` in picojoules, `1,920 cycles`, `1.37 %`.
fn number(text: &str) -> f64 {
    let mut words = text.split_whitespace();
    let value: f64 = words.next().unwrap().replace(',', "").parse().unwrap();
    let units = [("nJ", 1e3), ("µJ", 1e6), ("mJ", 1e9), ("J", 1e12)];
    let unit = words.next().unwrap_or_default().trim_end_matches(',');
    value * units.iter().find(|(name, _)| *name == unit).map_or(1.0, |(_, size)| *size)
}

#[track_caller]
fn assert_near(found: f64, expected: f64, share: f64) {
    assert!((found - expected).abs() <= share * expected.abs() + 1e-9, "{found} and {expected}");
}

/// Nothing is loaded from elsewhere, and every drawing stays within its bounds.
fn assert_sound(name: &str, text: &str) {
    let document = parsed(text);
    for node in document.descendants().filter(Node::is_element) {
        for attribute in node.attributes() {
            let reference = ["href", "src", "srcset", "data"].contains(&attribute.name());
            assert!(!reference || attribute.value().starts_with('#'), "{name}: {attribute:?}");
        }
        if ["style", "script"].contains(&node.tag_name().name()) {
            let inner = node.text().unwrap();
            for word in ["http", "url(", "import", "fetch"] {
                assert!(!inner.contains(word), "{name}: {word}");
            }
        }
    }
    for svg in document.descendants().filter(|node| node.has_tag_name((SVG, "svg"))) {
        let size: Vec<f64> =
            svg.attribute("viewBox").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        for node in svg.descendants().filter(Node::is_element) {
            let at = |name: &str| node.attribute(name).map_or(0.0, |value| value.parse().unwrap());
            let (x, y) = (at("x") + at("cx"), at("y") + at("cy"));
            assert!(at("width") >= 0.0 || node.has_tag_name((SVG, "svg")), "{name}: {node:?}");
            let words = node.text().unwrap_or_default().chars().count() as f64;
            let width = if node.has_tag_name((SVG, "text")) { 5.5 * words } else { at("width") };
            let (left, right) = match (node.attribute("transform"), node.attribute("text-anchor")) {
                (Some(_), _) => (x, x),
                (None, Some("middle")) => (x - width / 2.0, x + width / 2.0),
                (None, Some("end")) => (x - width, x),
                _ => (x, x + width),
            };
            let inside = left >= 0.0 && right <= size[2] && y >= 0.0 && y + at("height") <= size[3];
            assert!(inside, "{name}: {:?} {:?} reaches {left}..{right}, {y}", node, node.text());
        }
    }
}

#[test]
fn a_run_has_every_figure_on_a_page_of_its_own_and_as_files() {
    let folder = run("small");
    let (page, files) = drawn(folder.path(), "run");
    assert_sound("page", &page);
    let expected = [
        "learning-loss",
        "learning-errors",
        "energy-components",
        "energy-factors",
        "energy-passes",
        "cycles-passes",
        "cycles-layers",
        "roofline",
        "machines",
        "tornado",
        "buffer",
        "conversions",
        "sqnr-layer-0",
        "sqnr-step-layer-0",
        "sqnr-layer-1",
        "sqnr-step-layer-1",
        "rates-saturation",
        "rates-underflow",
        "rates-stalled",
        "codes",
    ];
    let document = parsed(&page);
    assert_eq!(ids(&document), expected);
    for figure in document.descendants().filter(|node| node.has_tag_name("figure")) {
        let has = |name: &str| figure.descendants().any(|node| node.tag_name().name() == name);
        assert!(has("svg") && has("table") && has("figcaption"), "{:?}", figure.attribute("id"));
    }
    let names: BTreeSet<_> = expected.iter().map(|name| format!("small-{name}.svg")).collect();
    assert_eq!(files.keys().cloned().collect::<BTreeSet<_>>(), names);
    for (name, text) in &files {
        assert_sound(name, text);
        let told = told(&parsed(text)).len();
        assert!(told > 1, "{name} has {told} marks");
    }
    for rule in ["@media screen and (prefers-color-scheme:dark){", "@media print{"] {
        assert!(page.contains(rule), "{rule}");
    }
    let (again, _) = drawn(folder.path(), "run");
    assert!(page == again, "the same run gives the same bytes");
}

#[test]
fn figures_of_a_run_have_the_numbers_of_its_report() {
    let folder = run("small");
    let (_, files) = drawn(folder.path(), "run");
    let report = json_of(&folder.path().join("run/report.json"));

    let drawing = parsed(&files["small-energy-components.svg"]);
    let mut found = 0;
    for (label, key) in [("fixed point", "by_component"), ("float32", "float32_by_component")] {
        for (component, pj) in report["energy_pj"][key].as_object().unwrap() {
            let start = format!("{label}\n{}: ", component.replace('_', " "));
            let told = told(&drawing);
            let part = told.iter().find_map(|(text, _)| text.strip_prefix(&start));
            let pj = pj.as_f64().unwrap();
            assert_eq!(part.is_some(), pj > 0.0, "{start}");
            if let Some(part) = part {
                assert_near(number(part), pj, 5e-4);
                found += 1;
            }
        }
    }
    assert_eq!(found, told(&drawing).len());

    for name in ["passes", "layers"] {
        let drawing = parsed(&files[&format!("small-cycles-{name}.svg")]);
        let mut causes: BTreeMap<String, u64> = BTreeMap::new();
        let mut scale = None;
        for (text, mark) in told(&drawing) {
            let (cause, count) = text.lines().nth(1).unwrap().split_once(": ").unwrap();
            let cycles = number(count);
            *causes.entry(cause.to_owned()).or_default() += cycles as u64;
            // Widths are proportional to cycles.
            let bar = mark.descendants().find(|node| node.has_tag_name((SVG, "rect"))).unwrap();
            let width: f64 = bar.attribute("width").unwrap().parse().unwrap();
            if cycles > 1e4 {
                assert_near(width / cycles, *scale.get_or_insert(width / cycles), 0.01);
            }
        }
        let expected = report["cycles"]["by_cause"].as_object().unwrap();
        for (cause, cycles) in expected.iter().filter(|(_, cycles)| cycles.as_u64() != Some(0)) {
            assert_eq!(causes.remove(cause), cycles.as_u64(), "{name}: {cause}");
        }
        assert!(causes.is_empty(), "{causes:?}");
    }

    let drawing = parsed(&files["small-learning-loss.svg"]);
    for (text, _) in told(&drawing) {
        let (line, value) = text.split_once(": ").unwrap();
        let (line, epoch) = line.rsplit_once(", epoch ").unwrap();
        let epoch: usize = epoch.parse().unwrap();
        let (network, part) = line.split_once(", ").unwrap();
        let curve = &report[if network == "float" { "golden" } else { "fixed" }];
        let expected = match (part, epoch) {
            ("test", 0) => &curve["initial"]["loss_bits"],
            ("test", epoch) => &curve["loss_bits"][epoch - 1],
            (_, epoch) => &curve["training_loss"][epoch - 1],
        };
        assert_near(number(value), expected.as_f64().unwrap(), 5e-4);
    }
    assert_eq!(told(&drawing).len(), 2 * (4 + 3));

    let tensors = report["precision"].as_array().unwrap();
    for (name, said, key) in [
        ("saturation", "saturation", "saturation_rate"),
        ("underflow", "underflow", "underflow_rate"),
        ("stalled", "stalled updates", "stalled_rate"),
    ] {
        let drawing = parsed(&files[&format!("small-rates-{name}.svg")]);
        let told: BTreeSet<&str> = told(&drawing).into_iter().map(|(text, _)| text).collect();
        let mut expected = BTreeSet::new();
        for tensor in tensors {
            let rates = tensor["by_epoch"][key].as_array().map_or([].as_slice(), Vec::as_slice);
            let rates: Vec<f64> = rates.iter().map(|rate| rate.as_f64().unwrap()).collect();
            for (at, rate) in rates.iter().enumerate().filter(|_| rates.iter().any(|r| *r > 0.0)) {
                let [tensor, role, format] =
                    ["name", "role", "format"].map(|key| tensor[key].as_str().unwrap());
                expected.insert(format!(
                    "{tensor}, {role}, {format}\nepoch {}: {said} {:.2} %",
                    at + 1,
                    100.0 * rate
                ));
            }
        }
        assert!(!expected.is_empty() && told.into_iter().eq(&expected), "{name}: {expected:?}");
    }

    let drawing = parsed(&files["small-energy-passes.svg"]);
    for (words, pass) in [
        ("forward", "forward"),
        ("input gradient", "input_gradient"),
        ("weight gradient", "weight_gradient"),
        ("update", "update"),
    ] {
        for (words, key) in
            [(words.to_owned(), "by_pass"), (format!("{words}, float32"), "float32_by_pass")]
        {
            let start = words + "\n";
            let told = told(&drawing);
            let parts = told.iter().filter_map(|(text, _)| text.strip_prefix(&start));
            let total: f64 = parts.map(|part| number(part.split_once(": ").unwrap().1)).sum();
            assert_near(total, report["energy_pj"][key][pass].as_f64().unwrap(), 5e-4);
        }
    }

    let drawing = parsed(&files["small-machines.svg"]);
    let told_ratios: Vec<f64> = told(&drawing)
        .iter()
        .map(|(text, _)| number(text.split_once("float32 over fixed: ").unwrap().1))
        .collect();
    let ratios = report["panel"]["conclusions"][0]["figures"].as_array().unwrap();
    assert_eq!(told_ratios.len(), ratios.len());
    for (told, ratio) in told_ratios.into_iter().zip(ratios) {
        assert_near(told, ratio.as_f64().unwrap(), 5e-3);
    }

    let drawing = parsed(&files["small-tornado.svg"]);
    let swings = report["panel"]["swings"].as_array().unwrap();
    let said = told(&drawing);
    assert_eq!(said.len(), 4 * swings.len());
    for swing in swings {
        let figure = swing["figure"].as_str().unwrap();
        let of = said.iter().filter(|(text, _)| text.starts_with(&format!("{figure} of ")));
        let mut found: Vec<f64> =
            of.map(|(text, _)| number(text.split_once(" over fixed ").unwrap().1)).collect();
        let mut expected: Vec<f64> = ["float32", "bfloat16"]
            .into_iter()
            .flat_map(|format| swing[format].as_array().unwrap())
            .map(|end| end.as_f64().unwrap())
            .collect();
        assert_eq!(found.len(), expected.len(), "{figure}");
        expected.sort_by(f64::total_cmp);
        found.sort_by(f64::total_cmp);
        found.iter().zip(&expected).for_each(|(&a, &b)| assert_near(a, b, 5e-3));
    }

    let drawing = parsed(&files["small-codes.svg"]);
    let counted: f64 =
        told(&drawing).iter().map(|(text, _)| number(text.rsplit_once(": ").unwrap().1)).sum();
    let histograms = report["comparison"]["histograms"].as_array().unwrap();
    let counts = histograms.iter().flat_map(|one| one["counts"].as_array().unwrap());
    assert_eq!(counted as u64, counts.map(|count| count.as_u64().unwrap()).sum::<u64>());
}

/// The settings of a point as figures name them.
fn settings(point: &Value) -> String {
    format!(
        "bits {}, machine {}",
        point["settings"]["bits"],
        point["settings"]["machine"].as_str().unwrap()
    )
}

#[test]
fn figures_of_a_sweep_have_the_numbers_of_its_analysis() {
    let folder = sweep();
    let (page, files) = drawn(folder.path(), "sweep");
    assert_sound("page", &page);
    let analysis = json_of(&folder.path().join("sweep/analysis.json"));
    let expected = [
        "lost-axis-1",
        "lost-axis-2",
        "lost-map",
        "front-energy",
        "front-cycles",
        "front-bits-of-a-step",
        "front-area",
        "front-components",
        "sensitivity",
        "machines",
        "tornado",
    ];
    assert_eq!(ids(&parsed(&page)), expected);
    files.iter().for_each(|(name, text)| assert_sound(name, text));

    let points = analysis["points"].as_array().unwrap();
    for name in ["lost-axis-1", "lost-axis-2", "lost-map", "front-energy"] {
        let drawing = parsed(&files[&format!("small-{name}.svg")]);
        let told = told(&drawing);
        for point in points {
            let start = settings(point) + "\n";
            let text = told.iter().find_map(|(text, _)| text.strip_prefix(&start));
            let text = text.unwrap_or_else(|| panic!("{name} has no {start}"));
            let lost = text.lines().find_map(|line| line.strip_prefix("lost, test: ")).unwrap();
            let numbers: Vec<f64> =
                lost.trim_end_matches(" points").split(" ± ").map(|n| n.parse().unwrap()).collect();
            for (number, key) in numbers.iter().zip(["mean", "ci95"]) {
                let expected = 100.0 * point["test"][key].as_f64().unwrap();
                assert!((number - expected).abs() <= 0.0051, "{key}: {number} and {expected}");
            }
        }
    }
    let drawing = parsed(&files["small-lost-map.svg"]);
    assert_eq!(told(&drawing).len(), points.len());
}

#[test]
fn fronts_and_sensitivities_are_those_of_the_analysis() {
    let folder = sweep();
    let (_, files) = drawn(folder.path(), "sweep");
    let analysis = json_of(&folder.path().join("sweep/analysis.json"));
    let points = analysis["points"].as_array().unwrap();

    let drawing = parsed(&files["small-front-energy.svg"]);
    let ring = drawing.descendants().filter(|node| node.attribute("class") == Some("ring")).count();
    let cheapest = &analysis["within"]["cheapest"]["energy_pj"];
    // Around the point, and in the legend.
    assert_eq!(ring, 2 * usize::from(!cheapest.is_null()));
    if let Some(at) = cheapest.as_u64() {
        assert!(
            files["small-front-energy.svg"]
                .contains(&format!(">{}<", settings(&points[at as usize])))
        );
    }

    let drawing = parsed(&files["small-front-components.svg"]);
    let front = analysis["fronts"]["energy_pj"].as_array().unwrap();
    for at in front {
        let point = &points[at.as_u64().unwrap() as usize];
        let start = settings(point) + "\n";
        let parts = told(&drawing)
            .into_iter()
            .filter_map(|(text, _)| text.strip_prefix(&start).map(str::to_owned));
        let total: f64 = parts.map(|part| number(part.split_once(": ").unwrap().1)).sum();
        assert_near(total, point["costs"]["energy_pj"].as_f64().unwrap(), 5e-4);
    }

    let drawing = parsed(&files["small-sensitivity.svg"]);
    let steps = analysis["sensitivity"].as_array().unwrap();
    assert_eq!(told(&drawing).len(), 2 * steps.len());
}

#[test]
fn a_search_has_its_proof_its_plan_and_what_was_tried() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut experiment = shell::experiment();
    experiment["training"]["epochs"] = json!(4);
    fs::write(folder.join("x.json"), shell::text(&experiment)).unwrap();
    for (out, budget) in [("search", "0.05"), ("nothing", "0")] {
        let seeds = ["--seeds", "2", "--held-back", "2", "--runs", "30"];
        let search = [&["search", "x.json", "--out", out, "--loss-budget", budget], &seeds[..]];
        shell::systoliq(folder, &search.concat());
    }
    let report = json_of(&folder.join("search/search.json"));
    let (page, files) = drawn(folder, "search");
    assert_sound("page", &page);
    assert_eq!(ids(&parsed(&page)), ["proof", "widths", "descent", "plans"]);
    files.iter().for_each(|(name, text)| assert_sound(name, text));

    let drawing = parsed(&files["small-proof.svg"]);
    let held_back = &report["found"]["held_back"]["test"];
    let points = |key: &str| 100.0 * held_back[key].as_f64().unwrap();
    let said =
        format!("test, 2 held back\nlost: {:+.2} ± {:.2} points", points("mean"), points("ci95"));
    assert!(told(&drawing).iter().any(|(text, _)| *text == said), "{said}");
    let drawing = parsed(&files["small-widths.svg"]);
    for width in report["found"]["widths"].as_array().unwrap() {
        let role = width["place"]["role"].as_str().unwrap().replace('_', " ");
        let [layer, bits, from] =
            [&width["place"]["layer"], &width["bits"], &width["from"]].map(Value::to_string);
        let said = format!("{role}, layer {layer}: {bits} bits\nat the start: {from}");
        assert!(told(&drawing).iter().any(|(text, _)| *text == said), "{said}");
    }
    let steps = report["steps"].as_array().unwrap();
    let trained = steps.iter().filter(|step| step["cost"].is_number()).count();
    assert_eq!(told(&parsed(&files["small-descent.svg"])).len(), trained);
    assert_eq!(told(&parsed(&files["small-plans.svg"])).len(), trained + 1);

    let (page, _) = drawn(folder, "nothing");
    assert_eq!(ids(&parsed(&page)), ["descent", "plans"]);
    assert!(page.contains("Nothing is surely within the budget"));
}

#[test]
fn energy_has_the_unit_of_its_profile() {
    let folder = run("small");
    let relative = ["--set", "accelerator.energy=eyeriss-rel", "--out", "relative"];
    shell::printed(folder.path(), &[&["train", "x.json"], &relative[..]].concat());
    for (out, unit, other) in [("run", "µJ", "mac16"), ("relative", "mac16", "J")] {
        let (page, files) = drawn(folder.path(), out);
        for name in ["small-energy-components.svg", "small-energy-passes.svg"] {
            let drawing = parsed(&files[name]);
            for (text, _) in told(&drawing) {
                let energy = text.rsplit_once(": ").unwrap().1.split(',').next().unwrap();
                assert!(energy.ends_with(unit) || unit == "µJ" && energy.ends_with("J"), "{text}");
            }
        }
        assert!(page.contains(unit) && !page.contains(&format!(" {other}<")), "{out}");
    }
}

#[test]
fn a_map_of_three_axes_has_the_best_of_the_third() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = json!({
        "name": "three",
        "experiment": "x.json",
        "axes": [
            { "path": "training.rate", "name": "rate", "values": [0.25, 0.5] },
            { "path": "precision.weights.bits", "name": "bits", "values": [3, 5, 8] },
            { "path": "precision.gradients.bits", "name": "gradients", "values": [4, 6, 8] },
        ]
    });
    fs::write(folder.path().join("x.json"), shell::text(&shell::experiment())).unwrap();
    fs::write(folder.path().join("s.json"), shell::text(&sweep)).unwrap();
    shell::printed(folder.path(), &["sweep", "s.json", "--out", "sweep"]);
    let (_, files) = drawn(folder.path(), "sweep");
    let analysis = json_of(&folder.path().join("sweep/analysis.json"));
    let drawing = parsed(&files["three-lost-map.svg"]);
    let told: Vec<&str> = told(&drawing).into_iter().map(|(text, _)| text).collect();
    assert_eq!(told.len(), 9);
    let points = analysis["points"].as_array().unwrap();
    let lost = |point: &Value| point["validation"]["mean"].as_f64().unwrap();
    for pair in points[..9].iter().zip(&points[9..]) {
        let best = if lost(pair.0) <= lost(pair.1) { pair.0 } else { pair.1 };
        let of = |name: &str| best["settings"][name].to_string();
        let start =
            format!("rate {}, bits {}, gradients {}\n", of("rate"), of("bits"), of("gradients"));
        assert_eq!(told.iter().filter(|text| text.starts_with(&start)).count(), 1, "{start}");
    }
}

#[test]
fn a_store_without_the_runs_of_its_analysis_is_refused() {
    let folder = sweep();
    let store = folder.path().join("sweep/points.jsonl");
    let lines = fs::read_to_string(&store).unwrap();
    for kept in [0, lines.find('\n').unwrap() + 1, lines.len() - 5] {
        fs::write(&store, &lines[..kept]).unwrap();
        let output = shell::systoliq(folder.path(), &["report", "sweep"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with("error: sweep/points.jsonl: no run "), "{message}");
    }
}

#[test]
fn what_is_not_finite_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = json!({
        "name": "lms", "seed": 1,
        "dataset": { "kind": "fir", "taps": [0.5, 1.0, -0.5], "noise": 0.1,
                     "regressors": "independent", "train": 400, "test": 100 },
        "network": { "input": [3], "layers": [{ "dense": { "units": 1, "bias": false } }], "loss": "mse" },
        "training": { "epochs": 4, "batch": 1, "rate": 0.02, "golden": "f64" },
        "precision": { "input": "Q3.5", "weights": "Q2.6", "logits": "Q4.8", "targets": "Q4.8",
                       "error": "Q4.8", "weight_gradients": "Q6.10" },
        "accelerator": { "array": { "rows": 8, "cols": 8 } }
    });
    // The last two rates are far beyond those for which floating point converges.
    let sweep = json!({
        "name": "far", "experiment": "x.json", "seeds": 2,
        "axes": [{ "path": "training.rate", "values": [0.001, 0.01, 20, 50.0] }]
    });
    fs::write(folder.path().join("x.json"), shell::text(&experiment)).unwrap();
    fs::write(folder.path().join("s.json"), shell::text(&sweep)).unwrap();
    shell::printed(folder.path(), &["sweep", "s.json", "--out", "sweep"]);
    let (page, files) = drawn(folder.path(), "sweep");
    assert_sound("page", &page);
    let drawing = parsed(&files["far-lost-axis-1.svg"]);
    let hollow = |mark: &Node| {
        mark.descendants()
            .any(|node| node.attribute("class").is_some_and(|class| class.starts_with("hollow")))
    };
    let analysis = json_of(&folder.path().join("sweep/analysis.json"));
    let points = analysis["points"].as_array().unwrap();
    let finite = points.iter().filter(|point| point["test"]["mean"].is_number()).count();
    assert!((1..4).contains(&finite), "{analysis}");
    let told = told(&drawing);
    assert_eq!(told.iter().filter(|(_, mark)| hollow(mark)).count(), points.len() - finite);
    for (text, mark) in &told {
        assert_eq!(hollow(mark), text.contains("undefined") || text.contains("inf"), "{text}");
    }
    assert!(files["far-lost-axis-1.svg"].contains("no finite value, at the upper edge"));
    assert!(!page.contains("NaN"));
}

#[test]
fn names_are_text_and_nothing_else() {
    let nasty = "</title><script>alert('x')</script> & \"ü\"\u{7}../";
    let folder = run(nasty);
    let (page, files) = drawn(folder.path(), "run");
    assert_sound("page", &page);
    let document = parsed(&page);
    let of = |name: &str| {
        document.descendants().filter(|node| node.has_tag_name(name)).collect::<Vec<_>>()
    };
    assert_eq!(of("script").len(), 1);
    assert_eq!(of("h1")[0].text(), Some(nasty.replace('\u{7}', "\u{fffd}").as_str()));
    assert!(files.keys().all(|name| name.starts_with("title--script-")), "{files:?}");
}

#[test]
fn a_folder_without_results_is_refused() {
    let folder = run("small");
    let at = |name: &str| folder.path().join(name);
    let report = fs::read_to_string(at("run/report.json")).unwrap();
    for (name, file, text) in [
        ("empty", "note.txt", ""),
        ("damaged", "report.json", &report[..report.len() / 2]),
        ("other", "report.json", "{}"),
        (
            "later",
            "report.json",
            &report.replacen("\"schema_version\": ", "\"schema_version\": 9", 1),
        ),
        ("unfinished", "points.jsonl", ""),
        ("analysis", "analysis.json", "[]"),
        ("layout", "analysis.json", "{\"schema_version\": 7}"),
        ("killed", "checkpoints", ""),
        ("both", "report.json", &report),
    ] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join(file), text).unwrap();
    }
    fs::write(at("both/analysis.json"), "{}").unwrap();
    for (arguments, said) in [
        (
            vec!["nowhere"],
            "nowhere is no folder; expected one that a run, a sweep or a search was written to",
        ),
        (vec!["x.json"], "x.json is no folder"),
        (
            vec!["empty"],
            "empty has no report.json of a run, analysis.json of a sweep or search.json of a search",
        ),
        (
            vec!["damaged"],
            "damaged/report.json: no report of a run that this version can read: EOF",
        ),
        (vec!["other"], "other/report.json: schema_version is null, expected 3"),
        (vec!["later"], "later/report.json: schema_version is 93, expected 3"),
        (
            vec!["unfinished"],
            "unfinished has a sweep or a search that did not end, without analysis.json",
        ),
        (
            vec!["analysis"],
            "analysis/analysis.json: no results of a sweep that this version can read: ",
        ),
        (vec!["both"], "both has report.json and analysis.json; expected one of them"),
        (vec!["run", "-o", "nowhere/page.html"], "cannot write nowhere/page.html: no such folder"),
        (
            vec!["run", "-o", "run/report.json"],
            "cannot write run/report.json: expected a name that ends in .html",
        ),
        (vec!["killed"], "killed has a run that did not end, without report.json"),
        (vec!["layout"], "layout/analysis.json: layout 7 of a sweep's results, expected 2"),
        (vec!["run", "-o", "run"], "cannot write run: it is a folder, expected a file"),
        (vec!["run", "--svg", "x.json"], "cannot write to the folder x.json"),
    ] {
        let output = shell::systoliq(folder.path(), &[vec!["report"], arguments.clone()].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.starts_with(&format!("error: {said}")), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    assert!(!at("run/report.html").exists(), "a refusal leaves nothing");
}

/// The page after its script has run, and what the browser said on its console.
fn browsed(folder: &Path, page: &Path) -> (String, Vec<String>) {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", folder.join("browser").display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let console = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned);
    (String::from_utf8(output.stdout).unwrap(), console.collect())
}

#[test]
fn a_browser_shows_every_figure_and_has_nothing_to_complain_of() {
    assert!(
        Command::new("chromium").arg("--version").output().is_ok(),
        "Chromium is not installed: `apt-get install chromium` brings it, `--skip a_browser_shows` leaves this \
         test out"
    );
    for (folder, of) in [(run("small"), "run"), (sweep(), "sweep")] {
        let (page, _) = drawn(folder.path(), of);
        let path = folder.path().join(of).join("report.html").canonicalize().unwrap();
        let (shown, console) = browsed(folder.path(), &path);
        assert_eq!(console, [""; 0]);
        let names = ids(&parsed(&page));
        for name in &names {
            assert!(shown.contains(&format!("<figure id=\"{name}\">")), "{name}");
        }
        assert_eq!(shown.matches("<svg ").count(), names.len());
        // The script has moved every title to where it shows it from.
        let marks = page.matches("class=\"mark\"").count();
        assert_eq!(shown.matches("class=\"mark\" data-told=\"").count(), marks);
        // A page with a mistake is one that this would notice.
        let broken = folder.path().join("broken.html");
        fs::write(&broken, page.replace("(function(){", "(function(){console.error('seen');"))
            .unwrap();
        assert_eq!(browsed(folder.path(), &broken).1.len(), 1);
    }
}
