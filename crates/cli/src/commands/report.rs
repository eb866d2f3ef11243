//! `systoliq report`: the figures of a run, a sweep or a search.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use systoliq_explore::{Analysis, Lines, SearchReport, Sweep, SweepSpec};
use systoliq_figures::{Page, of_run, of_search, of_sweep};

use super::sweep::trial;
use crate::durable::make_folder;
use crate::failure::{Failure, is_printable, warn};
use crate::folder::{PAGE, difference};
use crate::whole::{check_place, write_whole};
use systoliq_load::files::{open_regular, read_text};

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

/// What says of which sweep a folder is.
const MANIFEST: &str = "sweep.json";

/// What a run leaves after each epoch.
const CHECKPOINTS: &str = "checkpoints";

/// What a search leaves.
const SEARCH: &str = "search.json";

/// The runs of a sweep or a search.
const STORE: &str = "points.jsonl";

impl ReportCommand {
    /// Draws and writes everything; returns what was written.
    pub fn run(&self) -> Result<String, Failure> {
        let output = self.output.clone().unwrap_or_else(|| self.folder.join(PAGE));
        let page = self.read().map_err(Failure::input)?;
        check_place(&output).map_err(Failure::input)?;
        let html = |ending: &std::ffi::OsStr| ending == "html" || ending == "htm";
        if !output.extension().is_some_and(html) {
            let name = output.display();
            let problem = "expected a name that ends in .html, so that no result is overwritten";
            return Err(Failure::input(anyhow!("cannot write {name}: {problem}")));
        }
        if let Some(folder) = &self.svg {
            let made = make_folder(folder);
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
                Ok(of_search(&result(&self.folder.join(SEARCH), "search", SearchReport::LAYOUT)?))
            }
            [_, ..] => bail!("{folder} has {}; expected one of them", present.join(" and ")),
            [] if has(CHECKPOINTS) => bail!(
                "{folder} has a run that did not end, without {RUN}; `systoliq train --resume` goes \
                 on with it"
            ),
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
    let analysis: Analysis = result(&folder.join(SWEEP), "sweep", Analysis::LAYOUT)?;
    let path = folder.join(STORE);
    let mut lines = Lines::default();
    lines.read(opened(&path)?).with_context(|| path.display().to_string())?;
    let mends = "`systoliq sweep --resume` mends the folder";
    let done = analysis.points.iter().filter(|point| point.costs.is_some());
    if let Some(key) = done.flat_map(|point| &point.keys).find(|key| lines.done(**key).is_none()) {
        bail!("{}: no run {key}, which {SWEEP} has; {mends}", path.display());
    }
    let sweep = subject(folder)?;
    let key = |point, seed| trial(&sweep, point, seed).key();
    let again = analysis.again(&sweep, &lines, &key);
    let [ours, theirs] = [&again, &analysis].map(serde_json::to_value);
    if let Some(difference) = difference(&ours?, &theirs?) {
        let path = folder.join(SWEEP);
        let other =
            format!("other figures than {STORE} gives, by which is drawn: {difference}; {mends}");
        warn(&path.display(), &[other]);
    }
    Ok(of_sweep(&again, &lines))
}

/// The sweep that a folder is of.
fn subject(folder: &Path) -> Result<Sweep, Error> {
    #[derive(Deserialize)]
    struct Manifest {
        sweep: SweepSpec,
    }
    let path = folder.join(MANIFEST);
    let what = || format!("{}: no sweep that this version can read", path.display());
    let Manifest { sweep } = serde_json::from_reader(opened(&path)?).with_context(what)?;
    Sweep::new(sweep, true).with_context(what)
}

/// What a sweep or a search has found, of the layout that is known.
fn result<T: DeserializeOwned>(path: &Path, of: &str, known: u32) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        schema_version: u64,
    }
    let what = || format!("{}: no results of a {of} that this version can read", path.display());
    let Versioned { schema_version } = serde_json::from_reader(opened(path)?).with_context(what)?;
    if schema_version != u64::from(known) {
        let path = path.display();
        bail!("{path}: layout {schema_version} of a {of}'s results, expected {known}");
    }
    serde_json::from_reader(opened(path)?).with_context(what)
}

fn opened(path: &Path) -> Result<BufReader<File>, Error> {
    let file = open_regular(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_whole(path, |file| file.write_all(text.as_bytes()))
}

/// The most characters of a name as files have it, and the most bytes: the name of a figure follows.
const NAME_MAX: (usize, usize) = (64, 160);

/// A name as files may have it: letters, marks and digits of any script, hyphens and underscores, not
/// too many of them, and no hyphen first, as options have.
fn file_name(name: &str) -> String {
    let of_ascii = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let of_others = |c: char| !c.is_ascii() && !c.is_whitespace() && is_printable(c);
    let allowed = |c: char| if of_ascii(c) || of_others(c) { c } else { '-' };
    let name: String = name.chars().take(NAME_MAX.0).map(allowed).collect();
    let name = name[..name.floor_char_boundary(NAME_MAX.1)].trim_start_matches('-');
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_of_files_name_no_other_folder() {
        assert_eq!(file_name("../a b/<c>"), "a-b--c-");
        assert_eq!(file_name("-rf"), "rf");
        assert_eq!(file_name("digits-bits_2"), "digits-bits_2");
        assert_eq!(file_name(""), "unnamed");
        assert_eq!(file_name("größe 精度 हिन्दी"), "größe-精度-हिन्दी");
        assert_eq!(file_name("a\u{202e}\u{1b}\u{a0}b"), "a---b");
        assert_eq!(file_name(&("x".to_owned() + &"é".repeat(100))).chars().count(), 64);
        assert!(file_name(&"精".repeat(100)).len() <= 160);
    }
}
