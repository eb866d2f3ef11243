//! `systoliq report`: the figures of a run, a sweep or a search.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, anyhow, bail};
use clap::Args;
use systoliq_explore::SearchReport;
use systoliq_figures::{Page, of_run, of_search, of_sweep};

use super::finished::{FinishedSweep, RUN, STORE, SWEEP, result};
use super::panel::all_cores;
use crate::durable::make_folder;
use crate::failure::{Failure, is_printable};
use crate::folder::PAGE;
use crate::whole::{check_place, write_whole};
use systoliq_load::files::read_text;

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

/// What a run leaves after each epoch.
const CHECKPOINTS: &str = "checkpoints";

/// What a search leaves.
const SEARCH: &str = "search.json";

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
            [SWEEP] => {
                let FinishedSweep { analysis, lines } = FinishedSweep::read(&self.folder)?;
                // A sweep of another program has figures, and no machines of this one.
                let panel = analysis.panel(&lines, &[], &all_cores()).ok();
                Ok(of_sweep(&analysis, &lines, panel.as_ref()))
            }
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
