//! Rules of the tree, each of which a reader would otherwise have to watch.

use crate::shell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Which crates of the workspace each may depend on, but in its tests.
const MAY_DEPEND_ON: [(&str, &[&str]); 15] = [
    ("keyed-random", &[]),
    ("fxp", &["keyed-random"]),
    ("nn", &["keyed-random"]),
    ("program", &["keyed-random", "fxp", "nn"]),
    ("engine", &["keyed-random", "fxp", "program"]),
    ("array", &["keyed-random", "fxp", "program"]),
    ("energy", &[]),
    ("hardware", &["fxp", "program", "array", "energy"]),
    ("import", &["nn", "program", "array", "hardware"]),
    ("run", &["fxp", "nn", "program", "engine", "array", "energy", "hardware"]),
    ("study", &["fxp", "nn", "program", "engine", "array", "energy", "hardware", "import", "run"]),
    ("explore", &["keyed-random", "fxp", "nn", "program", "energy", "hardware", "run", "study"]),
    ("figures", &["fxp", "nn", "energy", "run", "study", "explore"]),
    ("load", &["energy", "hardware", "run"]),
    (
        "cli",
        &[
            "keyed-random",
            "fxp",
            "nn",
            "program",
            "array",
            "energy",
            "hardware",
            "import",
            "load",
            "run",
            "study",
            "explore",
            "figures",
        ],
    ),
];

/// The most lines of a file.
const LINES_MAX: usize = 700;

/// The most lines of a crate, without its tests.
const CRATE_LINES_MAX: usize = 9000;

/// Files of the project below these, from the root.
const FOLDERS: [&str; 6] = ["crates", "tests", "models", "docs", "traces", ".ci"];

/// Every file of the project, from the root.
fn files() -> Vec<PathBuf> {
    let root = shell::root();
    let below = FOLDERS.iter().filter(|folder| root.join(folder).is_dir()).flat_map(|folder| {
        shell::tree(&root.join(folder)).into_iter().map(move |path| Path::new(folder).join(path))
    });
    let top = fs::read_dir(&root).expect("the root can be listed");
    let top = top.map(|entry| PathBuf::from(entry.expect("an entry can be read").file_name()));
    below.chain(top).filter(|path| root.join(path).is_file()).collect()
}

/// Every file with one of these endings, with its text.
fn texts(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let ends = |path: &PathBuf| {
        path.extension().is_some_and(|ending| endings.iter().any(|known| *known == ending))
    };
    let read = |path: PathBuf| {
        let text = fs::read_to_string(shell::root().join(&path)).expect("sources are UTF-8");
        (path, text)
    };
    files().into_iter().filter(ends).map(read).collect()
}

/// Every source of a crate, without unit tests, which are modules at the end of a file or files of their own: the
/// crate, the path from the root, and the text.
fn product() -> Vec<(String, PathBuf, String)> {
    let of_crate = |(path, mut text): (PathBuf, String)| {
        let below = path.strip_prefix("crates").ok()?;
        let name = below.iter().next()?;
        let inner = below.strip_prefix(name).ok()?;
        let of_tests = inner.iter().any(|part| part.to_string_lossy().contains("tests"));
        let end = text.find("\n#[cfg(test)]\nmod tests {\n").map_or(text.len(), |at| at + 1);
        text.truncate(end);
        (inner.starts_with("src") && !of_tests)
            .then(|| (name.to_string_lossy().into_owned(), path.clone(), text))
    };
    texts(&["rs"]).into_iter().filter_map(of_crate).collect()
}

/// The name of the type that a line declares. An indented alias is an associated type, which belongs to its trait.
fn declared(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let public = code.starts_with("pub ") || code.starts_with("pub(");
    let code = if public { code.split_once(' ')?.1 } else { code };
    let (kind, rest) = code.strip_prefix("unsafe ").unwrap_or(code).split_once(' ')?;
    let declares = match kind {
        "struct" | "enum" | "union" | "trait" => true,
        "type" => !line.starts_with(' '),
        _ => false,
    };
    let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    (declares && end > 0).then(|| &rest[..end])
}

/// Fails with every line that breaks a rule.
fn assert_none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// `file:line: text` of every line in `texts` that `breaks` a rule.
fn lines(texts: &[(PathBuf, String)], breaks: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in texts {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| breaks(line)) {
            found.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
        }
    }
    found
}

/// The entries of a manifest by the table that they stand in, as `(table, key, value)`.
fn entries(manifest: &str) -> Vec<(String, String, String)> {
    let (mut table, mut found) = (String::new(), Vec::new());
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            found.push((table.clone(), key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

/// The manifest of every member, by its folder.
fn manifests() -> BTreeMap<PathBuf, Vec<(String, String, String)>> {
    let of_member = |path: &Path| path.file_name().is_some_and(|name| name == "Cargo.toml");
    let manifests = texts(&["toml"]).into_iter().filter(|(path, _)| of_member(path));
    manifests
        .filter_map(|(path, text)| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
            Some((folder.to_owned(), entries(&text)))
        })
        .collect()
}

#[test]
fn crates_depend_only_on_those_before_them() {
    let manifests = manifests();
    let known: BTreeSet<_> =
        MAY_DEPEND_ON.iter().map(|(name, _)| Path::new("crates").join(name)).collect();
    let found: BTreeSet<_> =
        manifests.keys().filter(|folder| folder.starts_with("crates")).cloned().collect();
    assert_eq!(found, known);
    for (name, allowed) in MAY_DEPEND_ON {
        for (table, key, _) in &manifests[&Path::new("crates").join(name)] {
            let crate_name = key.trim_end_matches(".workspace");
            if let Some(other) = crate_name.strip_prefix("systoliq-")
                && table.ends_with("dependencies")
                && table != "dev-dependencies"
            {
                assert!(allowed.contains(&other), "{name} depends on {other}");
            }
        }
    }
}

#[test]
fn random_words_depend_on_nothing_and_the_golden_model_on_no_fixed_point() {
    let manifests = manifests();
    let dependencies = |name: &str| -> BTreeSet<String> {
        let entries = &manifests[&Path::new("crates").join(name)];
        let own = entries.iter().filter(|(table, ..)| table == "dependencies");
        own.map(|(_, key, _)| key.trim_end_matches(".workspace").to_owned()).collect()
    };
    assert_eq!(dependencies("keyed-random"), BTreeSet::new());
    for name in ["fixed", "systoliq-fxp", "systoliq-program", "systoliq-array"] {
        assert!(!dependencies("nn").contains(name), "nn depends on {name}");
    }
}

#[test]
fn every_dependency_comes_from_the_workspace_and_is_pinned() {
    for (folder, entries) in manifests() {
        let inherits = |(table, key, value): &(String, String, String)| {
            !table.ends_with("dependencies")
                || (key.ends_with(".workspace") && value == "true")
                || value.contains("workspace = true")
        };
        let other: Vec<_> = entries.iter().filter(|entry| !inherits(entry)).collect();
        assert!(other.is_empty(), "{}: {other:?}", folder.display());
    }
    let root = fs::read_to_string(shell::root().join("Cargo.toml")).expect("a manifest");
    let shared: Vec<_> = entries(&root)
        .into_iter()
        .filter(|(table, ..)| table == "workspace.dependencies")
        .collect();
    assert!(!shared.is_empty());
    for (_, name, value) in shared {
        let (ours, pinned) = (value.contains("path = "), value.contains("\"="));
        assert!(ours != pinned, "{name} = {value}: expected a path, or a version pinned by `=`");
    }
}

#[test]
fn every_member_has_the_lints_of_the_workspace() {
    for (folder, entries) in manifests() {
        let lints = ("lints".to_owned(), "workspace".to_owned(), "true".to_owned());
        assert!(entries.contains(&lints), "{}", folder.display());
    }
}

#[test]
fn no_test_is_forgotten() {
    let tests = shell::root().join("tests");
    let main = fs::read_to_string(tests.join("integration.rs")).expect("the binary's source");
    let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let named: BTreeSet<_> = modules.map(|name| format!("{name}.rs")).collect();
    let files = fs::read_dir(&tests).expect("the folder can be listed");
    let names = files.map(|file| file.expect("an entry can be read").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let found: BTreeSet<_> = names
        .filter(|name| name.ends_with(".rs"))
        .filter(|name| name != "integration.rs" && name != "under_test.rs")
        .collect();
    assert_eq!(found, named, "files in tests/ and the modules of its binary");
}

#[test]
fn every_source_file_says_what_it_is() {
    let bare = |(path, text): (PathBuf, String)| {
        (!text.starts_with("//!")).then(|| path.display().to_string())
    };
    assert_none("no module documentation", texts(&["rs"]).into_iter().filter_map(bare).collect());
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = |(path, text): (PathBuf, String)| {
        let count = text.lines().count();
        (count > LINES_MAX).then(|| format!("{}: {count} lines", path.display()))
    };
    let texts = texts(&["rs", "md"]);
    assert_none("too long", texts.into_iter().filter_map(long).collect());
}

#[test]
fn no_crate_is_too_large_to_know() {
    let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _, text) in product() {
        *sizes.entry(name).or_default() += text.lines().count();
    }
    assert_eq!(sizes.len(), MAY_DEPEND_ON.len());
    let large = |(name, lines): (&String, &usize)| {
        (*lines > CRATE_LINES_MAX).then(|| format!("{name}: {lines} lines"))
    };
    assert_none("too large", sizes.iter().filter_map(large).collect());
}

#[test]
fn a_line_that_declares_a_type_is_known_by_it() {
    let lines = [
        ("pub struct Tensor {", Some("Tensor")),
        ("    pub(super) enum Rows<'a> {", Some("Rows")),
        ("        struct Visitor;", Some("Visitor")),
        ("pub unsafe trait Kernel {", Some("Kernel")),
        ("union Word {", Some("Word")),
        ("pub(crate) type Pair = [i16; 2];", Some("Pair")),
        ("    type Output = Self;", None),
        ("/// struct Tensor", None),
        ("use super::Tensor;", None),
        ("impl Tensor {", None),
        ("        pub enum $name {", None),
    ];
    for (line, name) in lines {
        assert_eq!(declared(line), name, "{line}");
    }
}

#[test]
fn a_type_has_a_name_of_its_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, path, text) in product() {
        for (at, line) in text.lines().enumerate() {
            if let Some(name) = declared(line) {
                let place = format!("{}:{}", path.display(), at + 1);
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    let errors = places.remove("Error").expect("errors of crates");
    assert!(errors.len() > 1, "{errors:?}");
    let shared = |(name, places): (&String, &Vec<String>)| {
        (places.len() > 1).then(|| format!("{name}: {}", places.join(", ")))
    };
    assert_none("types of one name", places.iter().filter_map(shared).collect());
}

/// Where code chooses among operations without naming each: an arm for all others beside arms that name
/// some, or a pattern that may not match.
fn unnamed_operations(text: &str) -> Vec<usize> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    // The indents of matches that are open and name an operation.
    let mut open: Vec<usize> = Vec::new();
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        open.retain(|&arms| arms <= indent(line));
        let code = line.trim_start();
        let names = line.contains("Operation::");
        if names && code.contains("=>") && !open.contains(&indent(line)) {
            open.push(indent(line));
        }
        let all_others = ["_ =>", "(_, _) =>", "other =>", "_ if "];
        let catches =
            open.contains(&indent(line)) && all_others.iter().any(|a| code.starts_with(a));
        let may_fail = names && (code.contains("let Operation::") || code.contains("matches!("));
        if catches || may_fail {
            found.push(at + 1);
        }
    }
    found
}

#[test]
fn code_that_chooses_among_operations_names_each() {
    let arms = "match of {\n    Operation::Loss(_) => 1,\n    Operation::Update(_) => 2,\n";
    assert_eq!(unnamed_operations(&format!("{arms}    _ => 3,\n}}\n")), [4]);
    let apart = format!("{arms}}}\nmatch it {{\n    _ => 3,\n}}\n");
    assert!(unnamed_operations(&apart).is_empty());
    assert_eq!(unnamed_operations("if let Operation::Loss(loss) = of {"), [1]);
    assert_eq!(unnamed_operations("matches!(of, Operation::Loss(_))"), [1]);
    let mut broken = Vec::new();
    for (_, path, text) in product() {
        let at = unnamed_operations(&text).into_iter();
        broken.extend(at.map(|line| format!("{}:{line}", path.display())));
    }
    assert_none("a new operation would be taken for another here", broken);
}

/// Beside these, hardware asks an operation what it reads and writes.
#[test]
fn hardware_chooses_among_operations_only_where_it_charges_them() {
    let elsewhere = product().into_iter().filter(|(name, path, _)| {
        name == "hardware" && !path.to_string_lossy().contains("src/cost")
    });
    let texts: Vec<_> = elsewhere.map(|(_, path, text)| (path, text)).collect();
    assert!(texts.len() > 5, "{texts:?}");
    let chooses = |line: &str| line.contains("Operation::") && line.contains("=>");
    assert_none("hardware outside `cost` chooses among operations", lines(&texts, chooses));
}

#[test]
fn nothing_is_left_to_do() {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["todo", "!("], ["unimplemented", "!("]];
    let marks = marks.map(|halves| halves.concat());
    let left = |line: &str| marks.iter().any(|mark| line.contains(mark));
    assert_none("left to do", lines(&texts(&["rs", "md", "toml", "json", "py", "sh"]), left));
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    let places = ["work", "root", "tmp", "home"].map(|name| format!("/{name}/"));
    let named = |line: &str| places.iter().any(|place| line.contains(place));
    let mut texts = texts(&["rs", "md", "toml", "json", "py", "sh"]);
    texts.extend(
        fs::read_to_string(shell::root().join(".ci/run")).map(|text| (".ci/run".into(), text)),
    );
    assert_none("a path of one machine", lines(&texts, named));
}

#[test]
fn only_loading_the_command_and_tests_open_files() {
    let of_libraries = |path: &Path| {
        let mut parts = path.iter().map(|part| part.to_string_lossy());
        parts.next().is_some_and(|part| part == "crates")
            && parts.next().is_some_and(|part| part != "cli" && part != "load")
            && parts.next().is_some_and(|part| part == "src")
    };
    let sources: Vec<_> =
        texts(&["rs"]).into_iter().filter(|(path, _)| of_libraries(path)).collect();
    let opens = |line: &str| {
        ["std::fs", "fs::", "File::", "OpenOptions"].iter().any(|name| line.contains(name))
    };
    assert_none("files opened by a library", lines(&sources, opens));
}

#[test]
fn every_experiment_passes_its_check() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in shell::idx_files(600, 200, 28) {
        fs::write(folder.path().join(name), bytes).expect("a new file");
    }
    let mut checked = 0;
    for (path, text) in texts(&["json"]) {
        let value: Value = serde_json::from_str(&text).expect("models are JSON");
        if !path.starts_with("models") || value.get("training").is_none() {
            continue;
        }
        let mut arguments = vec!["check".to_owned(), path.display().to_string()];
        if value["dataset"]["kind"] == "idx" {
            // Data that are not part of the project: files of the same shape stand in.
            let files = folder.path().display();
            let sizes = ["validation", "train_limit"].map(|key| value["dataset"].get(key));
            arguments.extend(["--set".to_owned(), format!("dataset.dir={files}")]);
            if sizes[0].is_some() {
                arguments.extend(["--set".to_owned(), "dataset.validation=100".to_owned()]);
            }
        }
        shell::printed(&shell::root(), &arguments);
        checked += 1;
    }
    assert!(checked > 0, "no experiments in models/");
}
