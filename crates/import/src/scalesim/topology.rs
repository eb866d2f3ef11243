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
//! warning, are those of a name alone, which version 1 takes as headings. Past the columns of
//! sizes there may be a column "Sparsity", in which N:N is accepted, and one called "Batch" or
//! "Batch size", by which the GEMM repeats. Columns called "Padding" or "Dilation" are refused where
//! they would change a size. What else stands there is not read, and [`Topology::warnings`] says so,
//! except for a cell that begins with `#` and all after it.
//!
//! A layer of a convolution whose name contains "DP", in capitals, is depthwise: SCALE-Sim takes it as
//! so many layers as it has channels, each with one channel and all of the row's filters. Here it is
//! one [`Layer`] that repeats, and a warning says so. Sparsity is absent, and so are layers without a GEMM.
//!
//! Source: scalesim-project/SCALE-Sim, `scalesim/topology_utils.py`, and the files below
//! `topologies/` there, in scalesim-project/scale-sim-v2 and in ARM-software/SCALE-Sim.

use std::collections::BTreeSet;

use systoliq_program::GemmShape;

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

/// A layer: one GEMM that runs once, or several times on other operands.
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
    repeats: u64,
    floor: GemmShape,
    ceiling: GemmShape,
}

/// The sizes of a layer as its row states them; of a depthwise layer, one channel of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerShape {
    /// A row below [`CONVOLUTION_HEADER`].
    Convolution(Convolution),
    /// A row below [`GEMM_HEADER`].
    Gemm(GemmShape),
}

/// The sizes of a convolution, in elements. Pairs are height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// The input map with its padding.
    pub ifmap: [usize; 2],
    /// The filter, no larger than the input map.
    pub filter: [usize; 2],
    /// Channels of the input.
    pub channels: usize,
    /// Filters, which are the channels of the output.
    pub filters: usize,
    /// The steps from one window to the next.
    pub strides: [usize; 2],
}

impl Topology {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// With its line, whatever is not as the [module](self) describes it: an unknown header, no
    /// layers or more than [`LAYERS_MAX`], a missing cell, a size that is not a whole number from 1
    /// to [`SIZE_MAX`], a filter larger than its input, a sparse layer, and a layer with a matrix
    /// above 2⁴⁰ elements or above 2⁴⁸ multiply-accumulates with its repeats.
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

    /// Multiply-accumulates of all layers, with their repeats.
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

    /// How often the GEMM runs, each time on other operands: the batch, times the channels of a
    /// depthwise layer. SCALE-Sim's cycles and counts of a depthwise layer are so many times those
    /// of the GEMM.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// The GEMM that runs. Of a convolution, m is the number of output pixels, k the number of
    /// inputs of one output, n the number of filters.
    pub fn gemm(&self, size: OutputSize) -> GemmShape {
        match size {
            OutputSize::Floor => self.floor,
            OutputSize::Ceiling => self.ceiling,
        }
    }

    /// Multiply-accumulates, with repeats.
    pub fn macs(&self, size: OutputSize) -> u64 {
        self.gemm(size).macs() * self.repeats
    }
}

impl OutputSize {
    /// The outputs along one axis, of a filter that is no larger than the input.
    pub fn along(self, ifmap: usize, filter: usize, stride: usize) -> usize {
        match self {
            Self::Floor => (ifmap - filter) / stride + 1,
            Self::Ceiling => (ifmap - filter).div_ceil(stride) + 1,
        }
    }
}

impl LayerShape {
    /// The GEMM, if it and `repeats` of it are within the limits.
    fn gemm(self, line: usize, size: OutputSize, repeats: u64) -> Result<GemmShape, InputError> {
        let (pixels, inputs, filters) = match self {
            Self::Gemm(GemmShape { m, k, n }) => ([m, 1], [k, 1, 1], n),
            Self::Convolution(Convolution { ifmap, filter, channels, filters, strides }) => {
                let along = |axis| size.along(ifmap[axis], filter[axis], strides[axis]);
                ([along(0), along(1)], [filter[0], filter[1], channels], filters)
            }
        };
        // None of three sizes is above 2^24, nor either of two outputs above 2^24 + 1: no product
        // of m, k and n leaves 128 bits, nor the last, which is made if the others are small.
        let of = |sizes: &[usize]| sizes.iter().map(|&size| size as u128).product::<u128>();
        let (m, k, n, repeats) = (of(&pixels), of(&inputs), filters as u128, u128::from(repeats));
        let fits = m * k <= ELEMENTS_MAX
            && k * n <= ELEMENTS_MAX
            && m * n <= ELEMENTS_MAX
            && m * k * n * repeats <= MACS_MAX;
        let sizes = [m, k, n].map(|size| usize::try_from(size).ok().filter(|_| fits));
        match sizes {
            [Some(m), Some(k), Some(n)] => Ok(GemmShape { m, k, n }),
            _ => Err(InputError::LayerTooLarge { line, m, k, n, repeats }),
        }
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
    /// A column that changes sizes, with the one value that does not.
    Refused {
        name: &'static str,
        neutral: &'static str,
        reason: &'static str,
    },
    /// No name.
    Unnamed,
    /// Something that is not read.
    Unknown,
}

const BATCH: &str = "Batch";

const PADDING: Extra = Extra::Refused {
    name: "Padding",
    neutral: "0",
    reason: "padding is part of the input's height and width",
};

const DILATION: Extra =
    Extra::Refused { name: "Dilation", neutral: "1", reason: "dilation is not modelled" };

const GROUPS: Extra = Extra::Refused {
    name: "Groups",
    neutral: "1",
    reason: "each group is a layer of its own channels and filters",
};

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
        let extra = |name: &String| match name.as_str() {
            name if name.contains("sparsity") => Extra::Sparsity,
            "batch" | "batchsize" => Extra::Batch,
            name if name.starts_with("pad") || name.contains("padding") => PADDING,
            name if name.contains("dilat") => DILATION,
            name if name.contains("group") => GROUPS,
            "" => Extra::Unnamed,
            _ => Extra::Unknown,
        };
        let extras = names[1 + columns.len()..].iter().map(extra).collect();
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
        let batch = self.extras(line, &cells)?;
        let (shape, channels) = self.shape(line, name, &sizes)?;
        if !self.is_gemm && name.contains("DP") {
            self.depthwise.push((line, name.to_owned(), channels));
        }
        // At most 2^48.
        let repeats = batch as u64 * channels as u64;
        let gemm = |size| shape.gemm(line, size, repeats);
        let (floor, ceiling) = (gemm(OutputSize::Floor)?, gemm(OutputSize::Ceiling)?);
        Ok(Layer { name: name.to_owned(), line, shape, repeats, floor, ceiling })
    }

    /// What the sizes of a row mean, and as how many channels the layer runs.
    fn shape(
        &self,
        line: usize,
        name: &str,
        sizes: &[usize],
    ) -> Result<(LayerShape, usize), InputError> {
        if self.is_gemm {
            let (m, n, k) = (sizes[0], sizes[1], sizes[2]);
            return Ok((LayerShape::Gemm(GemmShape { m, k, n }), 1));
        }
        let (ifmap, filter) = ([sizes[0], sizes[1]], [sizes[2], sizes[3]]);
        if filter[0] > ifmap[0] || filter[1] > ifmap[1] {
            return Err(InputError::FilterTooLarge { line, filter, ifmap });
        }
        let strides = [sizes[6], *sizes.get(7).unwrap_or(&sizes[6])];
        let (channels, repeats) = if name.contains("DP") { (1, sizes[4]) } else { (sizes[4], 1) };
        let convolution = Convolution { ifmap, filter, channels, filters: sizes[5], strides };
        Ok((LayerShape::Convolution(convolution), repeats))
    }

    /// Reads what follows the sizes in a row, and returns the batch.
    fn extras(&mut self, line: usize, cells: &[&str]) -> Result<usize, InputError> {
        let first = 1 + self.columns.len();
        let mut batch = 1;
        for (at, &cell) in cells.iter().enumerate().skip(first) {
            if cell.starts_with('#') {
                break;
            }
            let extra = self.extras.get(at - first).copied().unwrap_or(Extra::Unnamed);
            match extra {
                _ if cell.is_empty() => {}
                Extra::Sparsity => dense(line, cell)?,
                // SCALE-Sim reads a ratio behind the sizes whatever the header says.
                Extra::Unnamed if at == first && cell.contains(':') => dense(line, cell)?,
                Extra::Unnamed | Extra::Unknown if is_ratio(cell) => dense(line, cell)?,
                Extra::Refused { neutral, .. } if cell == neutral => {}
                Extra::Refused { name, neutral, reason } => {
                    let expected = format!("{neutral}, since {reason}");
                    return Err(InputError::Cell {
                        line,
                        column: name,
                        found: quoted(cell),
                        expected,
                    });
                }
                Extra::Batch => batch = size(line, BATCH, cells.len(), Some(cell))?,
                Extra::Unnamed | Extra::Unknown => self.warn(line, at, cell),
            }
        }
        Ok(batch)
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

/// The size in a cell, if a row of so many cells has it.
fn size(
    line: usize,
    column: &'static str,
    cells: usize,
    cell: Option<&str>,
) -> Result<usize, InputError> {
    let read = whole_number(cell.unwrap_or(""), 1, SIZE_MAX as u64);
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
