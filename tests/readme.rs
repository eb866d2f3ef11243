//! The figures of README.md are those that its first command prints.

use std::process::Command;

use crate::support::models;

/// From the table of cycles on, everything follows from integers and is the same on every machine;
/// above it stand figures of the golden model, whose last digits may depend on the CPU's features.
#[test]
fn cycles_energy_and_tensors_in_the_readme_are_what_the_command_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_systoliq-under-test"))
        .arg("train")
        .arg(models().join("digits-mlp.json"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let readme = include_str!("../README.md");
    let from = |text: &str| text[text.find("  cycles ").unwrap()..].to_owned();
    let shown = from(readme);
    let shown = &shown[..shown.find("```").unwrap()];
    assert_eq!(shown, from(&printed));
    let heading = printed.lines().next().unwrap();
    assert!(readme.contains(heading), "{heading}");
}
