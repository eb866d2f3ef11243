//! What can be wrong with a file made for SCALE-Sim, with the line at which it stands.

use super::topology::{CONVOLUTION_HEADER, GEMM_HEADER, LAYERS_MAX};

/// Why a topology or a configuration is refused. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A topology of blank lines alone.
    #[error("no header: expected \"{CONVOLUTION_HEADER}\" or \"{GEMM_HEADER}\"")]
    NoHeader,
    /// The first line that is not blank is no header.
    #[error(
        "line {line}: unknown header {found:?}: expected \"{CONVOLUTION_HEADER}\" or \
         \"{GEMM_HEADER}\""
    )]
    Header {
        /// Where it stands.
        line: usize,
        /// What stands there, up to a limit.
        found: String,
    },
    /// A topology without layers.
    #[error("no layers below the header in line {line}")]
    NoLayers {
        /// Where the header stands.
        line: usize,
    },
    /// A topology with too many layers.
    #[error("line {line}: expected at most {LAYERS_MAX} layers")]
    TooManyLayers {
        /// The first one too many.
        line: usize,
    },
    /// A row ends before a column that it needs.
    #[error("line {line}: column {column:?}: found a row of {cells} cells, expected {expected}")]
    MissingCell {
        /// Where the row stands.
        line: usize,
        /// The column.
        column: &'static str,
        /// Cells of the row.
        cells: usize,
        /// What may stand there.
        expected: String,
    },
    /// A cell of a row is not what its column holds.
    #[error("line {line}: column {column:?}: found {found:?}, expected {expected}")]
    Cell {
        /// Where the row stands.
        line: usize,
        /// The column.
        column: &'static str,
        /// What stands there, up to a limit.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// No window of the filter fits on the input.
    #[error(
        "line {line}: filter of {} x {} on an input of {} x {}: expected a filter no larger than \
         the input, with dilation and padding", filter[0], filter[1], ifmap[0], ifmap[1]
    )]
    FilterTooLarge {
        /// Where the row stands.
        line: usize,
        /// Height and width of the filter, from its first tap to its last.
        filter: [usize; 2],
        /// Height and width of the padded input.
        ifmap: [usize; 2],
    },
    /// Channels or filters that are no multiple of the groups, or groups of a depthwise layer that are
    /// not its channels.
    #[error(
        "line {line}: {channels} channels and {filters} filters in {groups} groups: expected \
         multiples of the groups, and of a depthwise layer a group a channel"
    )]
    Groups {
        /// Where the row stands.
        line: usize,
        /// Channels of the input.
        channels: usize,
        /// Filters.
        filters: usize,
        /// Groups.
        groups: usize,
    },
    /// An input whose elements do not fit.
    #[error("line {line}: an input of {elements} elements: expected at most 2^40")]
    MapTooLarge {
        /// Where the row stands.
        line: usize,
        /// Elements of the input, all samples of the batch together.
        elements: u128,
    },
    /// A layer whose counts do not fit.
    #[error(
        "line {line}: {repeats} times m = {m}, k = {k}, n = {n}: expected matrices of at most 2^40 \
         elements, and at most 2^48 multiply-accumulates"
    )]
    LayerTooLarge {
        /// Where the row stands.
        line: usize,
        /// Outputs of one channel, all samples of the batch together.
        m: u128,
        /// Inputs of one output.
        k: u128,
        /// Filters.
        n: u128,
        /// How often the GEMM runs.
        repeats: u128,
    },
    /// A line of a configuration that is none of its parts.
    #[error("line {line}: found {found:?}, expected [section], key = value, or a comment")]
    Line {
        /// Where it stands.
        line: usize,
        /// What stands there, up to a limit.
        found: String,
    },
    /// A key of a configuration above its first section.
    #[error("line {line}: key {key:?} stands above the first [section]")]
    NoSection {
        /// Where it stands.
        line: usize,
        /// The key, up to a limit.
        key: String,
    },
    /// A key that stands twice in one section.
    #[error("line {line}: [{section}] {key} stands in line {first} already")]
    RepeatedKey {
        /// Where it stands again.
        line: usize,
        /// Where it stood first.
        first: usize,
        /// The section, up to a limit.
        section: String,
        /// The key, up to a limit.
        key: String,
    },
    /// A key that a configuration must have.
    #[error("[{section}] {key} is missing: expected {expected}")]
    MissingKey {
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
        /// What may stand there.
        expected: String,
    },
    /// A value of a configuration that its key cannot have.
    #[error("line {line}: {key}: found {found:?}, expected {expected}")]
    Value {
        /// Where it stands.
        line: usize,
        /// The key.
        key: &'static str,
        /// What stands there, up to a limit.
        found: String,
        /// What may stand there.
        expected: String,
    },
}

/// The most characters of a file that an error repeats.
const QUOTED_MAX: usize = 60;

/// Text as an error repeats it: its beginning, if it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// A whole number from `min` to `max`, or what was expected.
pub(super) fn whole_number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| match min == max {
        true => min.to_string(),
        false => format!("a whole number from {min} to {max}"),
    })
}

/// The lines of a file with their numbers, without the byte order mark that may begin it.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}
