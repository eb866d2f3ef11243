//! `systoliq report`: the figures of a run, a sweep or a search.

use std::fs;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, bail};
use clap::Args;
use systoliq_explore::{Analysis, Lines};
use systoliq_figures::{Page, of_run, of_search, of_sweep};

use crate::failure::Failure;
use crate::load::files::{open_regular, read_text};
use crate::whole::{check_place, write_whole};

/// Draws the figures of a run, a sweep or a search: one page that needs no other file, and SVG for papers.
///
/// Of a run: learning curves, energy, cycles, roofline, what rounding did to each tensor, histograms of
/// codes. Of a sweep: accuracy lost along each axis, Pareto fronts, energy on the front, sensitivities.
/// Of a search: the proof of its plan, the plan's bits, what was tried.
/// Beside each figure stand its numbers.
#[derive(Clone, Debug, Args)]
#[command(
    name = "report",
    after_help = "\
Examples:
  systoliq report runs/digits                     writes runs/digits/report.html
  systoliq report runs/bits -o bits.html          the same, somewhere else
  systoliq report runs/bits --svg docs/figures    and every figure as a file of its own"
)]
pub struct ReportCommand {
    /// Folder that `systoliq train`, `sweep` or `search` has written with --out.
    folder: PathBuf,

    /// The page [default: report.html in DIR].
    #[arg(short, long, value_name = "FILE.html")]
    output: Option<PathBuf>,

    /// Folder for the figures as files, NAME-FIGURE.svg; made if it is not there.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

/// What a run leaves.
const RUN: &str = "report.json";

/// What a sweep leaves at its end.
const SWEEP: &str = "analysis.json";

/// What a search leaves.
const SEARCH: &str = "search.json";

/// The runs of a sweep or a search.
const STORE: &str = "points.jsonl";

impl ReportCommand {
    /// Draws and writes everything; returns what was written.
    pub fn run(&self) -> Result<String, Failure> {
        let output = self.output.clone().unwrap_or_else(|| self.folder.join("report.html"));
        let page = self.read().map_err(Failure::input)?;
        check_place(&output).map_err(Failure::input)?;
        if let Some(folder) = &self.svg {
            let made = fs::create_dir_all(folder);
            made.with_context(|| format!("cannot write to the folder {}", folder.display()))
                .map_err(Failure::input::<Error>)?;
        }
        let mut written = vec![output.clone()];
        write(&output, &page.html()).map_err(Failure::run)?;
        for figure in page.figures() {
            let Some(folder) = &self.svg else { continue };
            let path = folder.join(format!("{}-{}.svg", file_name(page.title()), figure.name()));
            write(&path, &figure.svg()).map_err(Failure::run)?;
            written.push(path);
        }
        Ok(written.iter().map(|path| format!("{}\n", path.display())).collect())
    }

    fn read(&self) -> Result<Page, Error> {
        let folder = self.folder.display();
        if !self.folder.is_dir() {
            bail!(
                "{folder} is no folder; expected one that a run, a sweep or a search was written to"
            );
        }
        let has = |name: &str| self.folder.join(name).exists();
        let all = [RUN, SWEEP, SEARCH];
        let present: Vec<&str> = all.into_iter().filter(|name| has(name)).collect();
        match present.as_slice() {
            [RUN] => {
                let file = self.folder.join(RUN);
                of_run(&read_text(&file)?).with_context(|| file.display().to_string())
            }
            [SWEEP] => sweep(&self.folder),
            [SEARCH] => {
                let file = self.folder.join(SEARCH);
                let found = serde_json::from_str(&read_text(&file)?);
                Ok(of_search(&found.with_context(|| file.display().to_string())?))
            }
            [_, ..] => bail!("{folder} has {}; expected one of them", present.join(" and ")),
            [] if has(STORE) => bail!(
                "{folder} has a sweep or a search that did not end, without {SWEEP} or {SEARCH}; \
                 --resume goes on with it"
            ),
            [] => bail!(
                "{folder} has no {RUN} of a run, {SWEEP} of a sweep or {SEARCH} of a search; \
                 expected one of them"
            ),
        }
    }
}

fn sweep(folder: &Path) -> Result<Page, Error> {
    let open = |name: &str| {
        let path = folder.join(name);
        let file =
            open_regular(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, Error>((BufReader::new(file), path))
    };
    let (file, path) = open(SWEEP)?;
    let analysis: Analysis =
        serde_json::from_reader(file).with_context(|| path.display().to_string())?;
    let (file, path) = open(STORE)?;
    let mut lines = Lines::default();
    lines.read(file).with_context(|| path.display().to_string())?;
    Ok(of_sweep(&analysis, &lines))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_whole(path, |file| file.write_all(text.as_bytes()))
}

/// A name as files may have it: letters, digits, hyphens and underscores, at most 64 of them.
fn file_name(name: &str) -> String {
    let allowed = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => character,
        _ => '-',
    };
    let name: String = name.chars().take(64).map(allowed).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_of_files_name_no_other_folder() {
        assert_eq!(file_name("../a b/<c>"), "---a-b--c-");
        assert_eq!(file_name("digits-bits_2"), "digits-bits_2");
        assert_eq!(file_name(""), "unnamed");
        assert_eq!(file_name(&"é".repeat(100)).len(), 64);
    }
}
