//! Figures of one run, one sweep or one search: drawings, and one page with all of them.
//!
//! [`of_run`] takes the text of a `report.json`, [`of_sweep`] an analysis and its store, [`of_search`] what
//! a search found; all give a [`Page`], which is HTML that needs no other file, and whose [figures](PageFigure) are SVG files for
//! themselves. Every mark of a drawing tells its settings and numbers, and a table beside each figure
//! has the numbers behind it. Names of components, causes, passes and tensors are those of the data.
//!
//! *Invariants:* the same input gives the same bytes; nothing here opens a file.

mod chart;
mod number;
mod page;
mod panel;
mod run;
mod scale;
mod search;
mod style;
mod sweep;
mod xml;

pub use page::{Page, PageFigure};
pub use run::of_run;
pub use search::of_search;
pub use sweep::of_sweep;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no report of a run as this version writes it.
    #[error("no report of a run that this version can read: {0}")]
    Report(#[from] serde_json::Error),
    /// The report is of another layout.
    #[error("{0}")]
    Layout(String),
    /// No run has such a report.
    #[error("no report of a run: {0}")]
    Impossible(String),
}
