//! SCALE-Sim's topology files: the layers of a network, and the GEMM that each of them is.
//!
//! A file is a table of cells between commas, or tabs where its header has no comma, below one of
//! two headers: [`CONVOLUTION_HEADER`], or with a stride for height and one for width, and
//! [`GEMM_HEADER`]. SCALE-Sim never reads a header; here it says which of the two tables follows,
//! and must name the columns in this order, in whatever case and spacing. The spellings of the
//! files that come with SCALE-Sim are known, among them two columns "IFMAP Width", of which the
//! first is the height. Lines that begin with `#` are comments.
//!
//! Cells may be padded with blanks. Rows may lack their last comma, which SCALE-Sim needs, since it
//! drops whatever follows the last one. Rows of blank cells are passed over, and so, with a
//! warning, are those of a name alone, which version 1 takes as headings.
//!
//! Columns past those of sizes are known by their names: "Batch" or "Batch size", the samples;
//! "Padding", zeros around a map that are not part of its size, also by axis ("Padding Height") or
//! side ("Padding Left"); "Dilation", from one tap to the next; "Groups" of channels and filters; and
//! "Sparsity", in which N:N is accepted. What else stands there is not read, and
//! [`Topology::warnings`] says so, except for a cell that begins with `#` and all after it.
//!
//! A layer of a convolution whose name contains "DP", in capitals, is depthwise: SCALE-Sim takes it as
//! so many layers as it has channels, each with one channel and all of the row's filters. Here it is
//! one [`Layer`] with so many groups, and a warning says so. Sparsity is absent, and so are layers without a GEMM.
//!
//! Source: scalesim-project/SCALE-Sim, `scalesim/topology_utils.py`, and the files below
//! `topologies/` there, in scalesim-project/scale-sim-v2 and in ARM-software/SCALE-Sim.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::ops::RangeInclusive;

use systoliq_program::convolution::ViewedGemm;
use systoliq_program::{ConvolutionShape, GemmShape};

use super::InputError;
use super::error::{lines, quoted, whole_number};
use systoliq_hardware::{cost::ELEMENTS_MAX, cost::MACS_MAX};

/// The header of a topology of convolutions. The size of an input map includes its padding.
pub const CONVOLUTION_HEADER: &str = "Layer name, IFMAP Height, IFMAP Width, Filter Height, \
                                      Filter Width, Channels, Num Filter, Strides,";

/// The header of a topology of GEMMs, C\[m, n\] = A\[m, k\] · B\[k, n\].
pub const GEMM_HEADER: &str = "Layer, M, N, K,";

/// The most layers of a topology: their multiply-accumulates still add up within 64 bits.
pub const LAYERS_MAX: usize = 50_000;

/// The largest size in a cell.
pub const SIZE_MAX: usize = 1 << 24;

/// A network as SCALE-Sim's files describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Its layers in their order: at least one, at most [`LAYERS_MAX`].
    pub layers: Vec<Layer>,
    /// What the file has that is not read, with its line.
    pub warnings: Vec<String>,
}

/// How many outputs a convolution has along one axis, for an input of I, a filter of F and a
/// stride of S. The two differ where S does not divide I − F.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputSize {
    /// ⌊(I − F) / S⌋ + 1: every output has a whole window of inputs.
    Floor,
    /// ⌈(I − F + S) / S⌉, as SCALE-Sim has it: the last window may reach beyond the input.
    Ceiling,
}

/// A layer: one GEMM that runs once, or once for each group.
///
/// ```
/// use systoliq_import::scalesim::topology::{OutputSize, Topology};
/// // Of 4 inputs and a filter of 1, a stride of 2 meets two, and SCALE-Sim counts a third.
/// let text = "Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, \
///             Num Filter, Strides,\n shortcut, 4, 4, 1, 1, 64, 128, 2,";
/// let layer = &Topology::parse(text)?.layers[0];
/// let gemm = layer.gemm(OutputSize::Floor);
/// assert_eq!((gemm.m, gemm.k, gemm.n), (2 * 2, 64, 128));
/// assert_eq!(layer.gemm(OutputSize::Ceiling).m, 3 * 3);
/// # Ok::<(), systoliq_import::scalesim::InputError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    name: String,
    line: usize,
    shape: LayerShape,
}

/// The sizes of a layer as its row states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerShape {
    /// A row below [`CONVOLUTION_HEADER`]; of a depthwise layer, with a group for each channel.
    Convolution(ConvolutionShape),
    /// A row below [`GEMM_HEADER`], with the rows of all samples.
    Gemm(GemmShape),
}

impl Topology {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// With its line, whatever is not as the [module](self) describes it: an unknown header, no
    /// layers or more than [`LAYERS_MAX`], a missing cell, a size that is not a whole number from 1
    /// to [`SIZE_MAX`], a filter larger than its padded input, groups that do not divide, a sparse layer,
    /// and a layer with an input or a matrix above 2⁴⁰ elements or above 2⁴⁸ multiply-accumulates.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        let is_comment = |line: &str| line.trim_start().starts_with('#');
        let mut rows = lines(text).filter(|(_, line)| !is_blank(line) && !is_comment(line));
        let (line, found) = rows.next().ok_or(InputError::NoHeader)?;
        let mut table = TopologyTable::new(line, found)?;
        let mut layers = Vec::new();
        for (line, row) in rows {
            if layers.len() == LAYERS_MAX {
                return Err(InputError::TooManyLayers { line });
            }
            if !table.is_heading(line, row) {
                layers.push(table.layer(line, row)?);
            }
        }
        if layers.is_empty() {
            return Err(InputError::NoLayers { line });
        }
        let warnings = table.depthwise_warning().into_iter().chain(table.warnings).collect();
        Ok(Self { layers, warnings })
    }

    /// Multiply-accumulates that all layers ask for, those on padding included.
    pub fn macs(&self, size: OutputSize) -> u64 {
        self.layers.iter().map(|layer| layer.macs(size)).sum()
    }
}

impl Layer {
    /// Its name, which other layers may have too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line of the file that it stands in, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The sizes that its row states.
    pub fn shape(&self) -> LayerShape {
        self.shape
    }

    /// The forward pass, the input gradient and the weight gradient. A convolution that is a dense
    /// layer is one.
    pub fn products(&self, size: OutputSize) -> [ViewedGemm; 3] {
        match self.shape {
            LayerShape::Gemm(gemm) => gemm.dense(),
            LayerShape::Convolution(convolution) => {
                let convolution = size.of(convolution);
                let dense = convolution.dense().map(GemmShape::dense);
                let views = || convolution.products().expect("a window, as was checked");
                dense.unwrap_or_else(views)
            }
        }
    }

    /// How often the GEMM runs, each time on other operands: once a group. SCALE-Sim's cycles and
    /// counts of a depthwise layer are so many times those of the GEMM.
    pub fn repeats(&self) -> u64 {
        self.products(OutputSize::Floor)[0].repeats.count.get() as u64
    }

    /// The GEMM that runs. Of a convolution, m is the number of output pixels of the batch, k the number
    /// of inputs of one output, n the number of filters of a group.
    pub fn gemm(&self, size: OutputSize) -> GemmShape {
        self.products(size)[0].shape
    }

    /// Multiply-accumulates that are asked for, those on padding included.
    pub fn macs(&self, size: OutputSize) -> u64 {
        self.gemm(size).macs() * self.repeats()
    }
}

impl OutputSize {
    /// A convolution with the zeros beyond its map that the last windows reach.
    fn of(self, convolution: ConvolutionShape) -> ConvolutionShape {
        let ConvolutionShape { image, stride, padding, end_padding, .. } = convolution;
        let beyond = |axis: usize| {
            let places = image[axis] + padding[axis] + end_padding[axis] - convolution.reach(axis);
            places.next_multiple_of(stride[axis]) - places
        };
        let more = match self {
            Self::Floor => [0; 2],
            Self::Ceiling => [beyond(0), beyond(1)],
        };
        let end_padding = [0, 1].map(|axis| end_padding[axis] + more[axis]);
        ConvolutionShape { end_padding, ..convolution }
    }
}

impl LayerShape {
    /// Refuses what leaves the limits, before any product of sizes is made.
    fn check(self, line: usize) -> Result<(), InputError> {
        // No size is above 2^24, so that no product of five of them leaves 128 bits.
        let of = |sizes: &[usize]| sizes.iter().map(|&size| size as u128).product::<u128>();
        let (m, k, n, repeats) = match self {
            Self::Gemm(GemmShape { m, k, n }) => (m as u128, k as u128, n as u128, 1),
            Self::Convolution(convolution) => {
                let ConvolutionShape { batch, image, channels, filters, kernel, groups, .. } =
                    convolution;
                let elements = of(&[batch, image[0], image[1], channels]);
                if elements > ELEMENTS_MAX {
                    return Err(InputError::MapTooLarge { line, elements });
                }
                let [height, width] =
                    OutputSize::Ceiling.of(convolution).outputs().expect("windows");
                let groups = groups.get();
                let k = of(&[kernel[0], kernel[1], channels / groups]);
                (of(&[batch, height, width]), k, of(&[filters / groups]), of(&[groups]))
            }
        };
        let matrices = [m.saturating_mul(k), k.saturating_mul(n), m.saturating_mul(n)];
        let macs = matrices[0].saturating_mul(n).saturating_mul(repeats);
        if matrices.into_iter().any(|elements| elements > ELEMENTS_MAX) || macs > MACS_MAX {
            return Err(InputError::LayerTooLarge { line, m, k, n, repeats });
        }
        Ok(())
    }
}

/// A column that every row has, and the spellings of its name, in lower case and letters alone.
#[derive(Debug)]
struct RequiredColumn {
    name: &'static str,
    spellings: &'static [&'static str],
}

const fn column(name: &'static str, spellings: &'static [&'static str]) -> RequiredColumn {
    RequiredColumn { name, spellings }
}

const LAYER: [&str; 2] = ["layer", "layername"];

const CONVOLUTION: [RequiredColumn; 7] = [
    column("IFMAP Height", &["ifmapheight", "ifmapwidth"]),
    column("IFMAP Width", &["ifmapwidth"]),
    column("Filter Height", &["filterheight"]),
    column("Filter Width", &["filterwidth"]),
    column("Channels", &["channels", "channel"]),
    column("Num Filter", &["numfilter", "numfilters"]),
    column("Strides", &["strides", "stride"]),
];

const STRIDES: [RequiredColumn; 2] =
    [column("Stride Height", &["strideheight"]), column("Stride Width", &["stridewidth"])];

const GEMM: [RequiredColumn; 3] = [column("M", &["m"]), column("N", &["n"]), column("K", &["k"])];

/// What a column past the sizes holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    Sparsity,
    Batch,
    /// Zeros at the beginning and at the end of each axis, where the name says so.
    Padding([[bool; 2]; 2]),
    /// The axes that it states.
    Dilation([bool; 2]),
    Groups,
    /// No name.
    Unnamed,
    /// Something that is not read.
    Unknown,
}

impl Extra {
    /// By the name of a column, in lower case and letters alone.
    fn named(name: &str) -> Self {
        let says = |words: [&str; 3]| words.into_iter().any(|word| name.contains(word));
        let down = says(["height", "top", "bottom"]);
        let along = says(["width", "left", "right"]);
        let axes = if down == along { [true; 2] } else { [down, along] };
        match name {
            name if name.contains("sparsity") => Self::Sparsity,
            "batch" | "batchsize" => Self::Batch,
            name if name.starts_with("pad") || name.contains("padding") => {
                let begins = !(name.contains("bottom") || name.contains("right"));
                let ends = !(name.contains("top") || name.contains("left"));
                Self::Padding(axes.map(|stated| [stated && begins, stated && ends]))
            }
            name if name.contains("dilat") => Self::Dilation(axes),
            name if name.contains("group") => Self::Groups,
            "" => Self::Unnamed,
            _ => Self::Unknown,
        }
    }
}

/// What the columns past the sizes of a row say.
#[derive(Clone, Copy, Debug)]
struct Extras {
    batch: usize,
    /// At the beginning and at the end of each axis.
    padding: [[usize; 2]; 2],
    dilation: [usize; 2],
    groups: usize,
}

const NO_EXTRAS: Extras = Extras { batch: 1, padding: [[0; 2]; 2], dilation: [1; 2], groups: 1 };

const BATCH: &str = "Batch";

/// A table below its header.
#[derive(Debug)]
struct TopologyTable {
    separator: char,
    is_gemm: bool,
    /// The columns of sizes, which follow the name.
    columns: Vec<&'static RequiredColumn>,
    /// What follows these.
    extras: Vec<Extra>,
    /// The names of all columns, as they stand.
    names: Vec<String>,
    /// Line, name and channels of the layers whose names make them depthwise.
    depthwise: Vec<(usize, String, usize)>,
    /// Columns that a warning has named.
    warned: BTreeSet<usize>,
    warnings: Vec<String>,
}

impl TopologyTable {
    fn new(line: usize, header: &str) -> Result<Self, InputError> {
        let separator = if header.contains('\t') && !header.contains(',') { '\t' } else { ',' };
        let letters = |cell: &str| {
            let letters = cell.chars().filter(|letter| letter.is_alphanumeric());
            letters.flat_map(char::to_lowercase).collect::<String>()
        };
        let names: Vec<String> = header.split(separator).map(letters).collect();
        let (sizes, last) = CONVOLUTION.split_at(6);
        let tables: [(bool, Vec<&RequiredColumn>); 3] = [
            (false, sizes.iter().chain(last).collect()),
            (false, sizes.iter().chain(&STRIDES).collect()),
            (true, GEMM.iter().collect()),
        ];
        let is_known = |columns: &[&RequiredColumn]| {
            names.len() > columns.len()
                && LAYER.contains(&names[0].as_str())
                && columns
                    .iter()
                    .zip(&names[1..])
                    .all(|(column, name)| column.spellings.contains(&name.as_str()))
        };
        let found = tables.into_iter().find(|(_, columns)| is_known(columns));
        let Some((is_gemm, columns)) = found else {
            return Err(InputError::Header { line, found: quoted(header.trim()) });
        };
        let extras = names[1 + columns.len()..].iter().map(|name| Extra::named(name)).collect();
        let names = header.split(separator).map(|name| name.trim().to_owned()).collect();
        let (depthwise, warned, warnings) = Default::default();
        Ok(Self { separator, is_gemm, columns, extras, names, depthwise, warned, warnings })
    }

    /// Says what the name of a layer has made of its shape.
    fn depthwise_warning(&self) -> Option<String> {
        let (line, name, channels) = self.depthwise.first()?;
        let others = match self.depthwise.len() - 1 {
            0 => String::new(),
            others => format!("; likewise {others} more"),
        };
        Some(format!(
            "line {line}: \"DP\" in the name {:?} makes the layer depthwise, as in SCALE-Sim: \
             {channels} layers of one channel{others}",
            quoted(name)
        ))
    }

    /// Whether a row is a name alone, which says so.
    fn is_heading(&mut self, line: usize, row: &str) -> bool {
        let (name, rest) = row.split_once(self.separator).unwrap_or((row, ""));
        if is_blank(rest) {
            let name = quoted(name.trim());
            self.warnings.push(format!("line {line}: {name:?} has no sizes and is no layer"));
        }
        is_blank(rest)
    }

    fn layer(&mut self, line: usize, row: &str) -> Result<Layer, InputError> {
        let cells: Vec<&str> = row.split(self.separator).map(str::trim).collect();
        let name = cells[0];
        let mut sizes = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            sizes.push(size(line, column.name, cells.len(), cells.get(1 + at).copied())?);
        }
        let extras = self.extras(line, &cells)?;
        let shape = match self.is_gemm {
            true => {
                let (m, n, k) = (extras.batch * sizes[0], sizes[1], sizes[2]);
                LayerShape::Gemm(GemmShape { m, k, n })
            }
            false => LayerShape::Convolution(self.convolution(line, name, &sizes, extras)?),
        };
        shape.check(line)?;
        Ok(Layer { name: name.to_owned(), line, shape })
    }

    /// What the sizes of a row mean.
    fn convolution(
        &mut self,
        line: usize,
        name: &str,
        sizes: &[usize],
        extras: Extras,
    ) -> Result<ConvolutionShape, InputError> {
        let Extras { batch, padding, dilation, groups } = extras;
        let (channels, filters) = (sizes[4], sizes[5]);
        let (filters, groups) = match name.contains("DP") {
            true if ![1, channels].contains(&groups) => {
                return Err(InputError::Groups { line, channels, filters, groups });
            }
            true => {
                self.depthwise.push((line, name.to_owned(), channels));
                (channels * filters, channels)
            }
            false => (filters, groups),
        };
        if !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(InputError::Groups { line, channels, filters, groups });
        }
        let shape = ConvolutionShape {
            batch,
            image: [sizes[0], sizes[1]],
            channels,
            filters,
            kernel: [sizes[2], sizes[3]],
            stride: [sizes[6], *sizes.get(7).unwrap_or(&sizes[6])],
            dilation,
            padding: padding.map(|[begins, _]| begins),
            end_padding: padding.map(|[_, ends]| ends),
            groups: NonZero::new(groups).expect("at least one group"),
        };
        let padded = [0, 1].map(|axis| shape.image[axis] + padding[axis][0] + padding[axis][1]);
        let filter = [0, 1].map(|axis| shape.reach(axis));
        if filter[0] > padded[0] || filter[1] > padded[1] {
            return Err(InputError::FilterTooLarge { line, filter, ifmap: padded });
        }
        Ok(shape)
    }

    /// Reads what follows the sizes in a row.
    fn extras(&mut self, line: usize, cells: &[&str]) -> Result<Extras, InputError> {
        let first = 1 + self.columns.len();
        let mut found = NO_EXTRAS;
        for (at, &cell) in cells.iter().enumerate().skip(first) {
            if cell.starts_with('#') {
                break;
            }
            let extra = self.extras.get(at - first).copied().unwrap_or(Extra::Unnamed);
            // Products have no windows.
            let least = |column, least: u64, neutral: usize| {
                let most = if self.is_gemm { neutral as u64 } else { SIZE_MAX as u64 };
                number(line, column, cells.len(), Some(cell), least..=most)
            };
            match extra {
                _ if cell.is_empty() => {}
                Extra::Sparsity => dense(line, cell)?,
                // SCALE-Sim reads a ratio behind the sizes whatever the header says.
                Extra::Unnamed if at == first && cell.contains(':') => dense(line, cell)?,
                Extra::Unnamed | Extra::Unknown if is_ratio(cell) => dense(line, cell)?,
                Extra::Padding(sides) => {
                    let zeros = least("Padding", 0, 0)?;
                    state(found.padding.as_flattened_mut(), sides.as_flattened(), zeros);
                }
                Extra::Dilation(axes) => {
                    state(&mut found.dilation, &axes, least("Dilation", 1, 1)?)
                }
                Extra::Groups => found.groups = least("Groups", 1, 1)?,
                Extra::Batch => found.batch = size(line, BATCH, cells.len(), Some(cell))?,
                Extra::Unnamed | Extra::Unknown => self.warn(line, at, cell),
            }
        }
        Ok(found)
    }

    /// Says once for every column that its cells are not read.
    fn warn(&mut self, line: usize, at: usize, cell: &str) {
        if self.warned.insert(at) {
            let (cell, column) = (quoted(cell), at + 1);
            let name = self.names.get(at).filter(|name| !name.is_empty());
            let name = name.map_or(String::new(), |name| format!(", {:?},", quoted(name)));
            let warning = format!("line {line}: {cell:?} in column {column}{name} is not read");
            self.warnings.push(warning);
        }
    }
}

fn is_blank(line: &str) -> bool {
    line.chars().all(|character| character == ',' || character.is_whitespace())
}

/// Puts a number where it is stated.
fn state(numbers: &mut [usize], stated: &[bool], number: usize) {
    let places = numbers.iter_mut().zip(stated).filter(|(_, stated)| **stated);
    places.for_each(|(place, _)| *place = number);
}

/// The size in a cell, if a row of so many cells has it.
fn size(
    line: usize,
    column: &'static str,
    cells: usize,
    cell: Option<&str>,
) -> Result<usize, InputError> {
    number(line, column, cells, cell, 1..=SIZE_MAX as u64)
}

/// The number in a cell, if a row of so many cells has it.
fn number(
    line: usize,
    column: &'static str,
    cells: usize,
    cell: Option<&str>,
    range: RangeInclusive<u64>,
) -> Result<usize, InputError> {
    let read = whole_number(cell.unwrap_or(""), *range.start(), *range.end());
    match (read, cell) {
        (Ok(size), _) => Ok(size as usize),
        (Err(expected), None) => Err(InputError::MissingCell { line, column, cells, expected }),
        (Err(expected), Some(cell)) => {
            Err(InputError::Cell { line, column, found: quoted(cell), expected })
        }
    }
}

/// Whether a cell is two whole numbers with a colon between them.
fn is_ratio(cell: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    cell.split_once(':').is_some_and(|(n, m)| digits(n) && digits(m))
}

/// Accepts N of N weights, written N:N, or 1 for all of them, and nothing less.
fn dense(line: usize, cell: &str) -> Result<(), InputError> {
    let ratio = cell.split_once(':').map(|(kept, of)| (kept.trim(), of.trim()));
    let all = match ratio {
        Some((kept, of)) => kept == of && whole_number(of, 1, SIZE_MAX as u64).is_ok(),
        None => cell == "1",
    };
    if all {
        return Ok(());
    }
    let expected = "N:N such as 1:1, since sparsity is not modelled".to_owned();
    Err(InputError::Cell { line, column: "Sparsity", found: quoted(cell), expected })
}
