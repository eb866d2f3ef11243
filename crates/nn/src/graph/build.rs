//! From the entries that a user writes to operators whose shapes fit.

use std::collections::BTreeMap;

use super::{Graph, Shape, ValueId};
use crate::Error;
use crate::layer::{
    AvgPoolSpec, AxisSizes, Conv2dSpec, LayerSpec, MaxPoolSpec, OperatorSpec, Padding,
};
use crate::operator::{
    AvgPool, ClippedRelu, Conv2d, Dense, EdgeFunction, MaxPool, Operator, Squash, Window,
    WindowAxis,
};

/// The most taps of a window along one axis, and the most that strides, dilations and padding may be.
const WINDOW_MAX: usize = 1 << 12;

/// What is built so far.
pub(super) struct Builder {
    /// The shape that entries see of each value: behind a `flatten`, features.
    seen: Vec<Shape>,
    /// The entries by the names that they were given.
    pub(super) labels: BTreeMap<String, usize>,
    /// What each value is called in messages.
    said: Vec<String>,
    is_read: Vec<bool>,
    weights: usize,
}

impl Builder {
    pub(super) fn new(input: Shape) -> Self {
        let said = vec!["the input".to_owned()];
        Self { seen: vec![input], labels: BTreeMap::new(), said, is_read: vec![false], weights: 0 }
    }

    /// The operator of the next entry, and what it reads.
    pub(super) fn entry(&mut self, layer: &LayerSpec) -> Result<(Operator, Vec<ValueId>), Error> {
        let at = self.seen.len() - 1;
        self.label(at, layer)?;
        let reads = self.reads(at, layer)?;
        let shapes: Vec<Shape> = reads.iter().map(|read| self.seen[read.0]).collect();
        let operator = self.operator(at, &layer.operator, &reads)?;
        let shape = match operator {
            Operator::Function(_) => shapes[0],
            _ => operator.shape(&shapes),
        };
        let key = format!("network.layers[{at}]: values that it makes of a sample");
        Error::check_count(&key, shape.elements(), 1, Graph::EXTENT_MAX)?;
        reads.iter().for_each(|read| self.is_read[read.0] = true);
        self.seen.push(shape);
        self.is_read.push(false);
        let name = layer.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
        self.said.push(format!("network.layers[{at}] ({}{name})", layer.operator.key()));
        Ok((operator, reads))
    }

    /// Checks that everything but the last is read, and that the last can be the output.
    pub(super) fn finish(&self, layers: &[LayerSpec]) -> Result<(), Error> {
        let last = layers.len();
        if let Some(unread) = self.is_read[..last].iter().position(|is_read| !is_read) {
            let problem = format!("nobody reads {}", self.said[unread]);
            let expected = "an entry that reads it, or none that makes it";
            return Err(refused("network.layers".into(), &problem, expected));
        }
        let path = format!("network.layers[{}]", last - 1);
        let key = layers[last - 1].operator.key();
        match (&layers[last - 1].operator, self.seen[last]) {
            (OperatorSpec::MaxPool(_) | OperatorSpec::Flatten, _) => {
                let problem = format!("{key} is the last entry");
                Err(refused(path, &problem, "one that has values of its own, such as dense"))
            }
            (_, shape @ Shape::Image { .. }) => {
                let problem = format!("{key} makes {shape} and is the last entry, the output");
                Err(refused(path, &problem, "features, such as dense or global_avg_pool make"))
            }
            (_, Shape::Features(_)) => Ok(()),
        }
    }

    fn label(&mut self, at: usize, layer: &LayerSpec) -> Result<(), Error> {
        let Some(name) = &layer.name else { return Ok(()) };
        let path = format!("network.layers[{at}].name");
        let mut letters = name.chars();
        let starts = letters.next().is_some_and(|first| first.is_ascii_alphabetic());
        let goes_on = letters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !(starts && goes_on) || name == "x" {
            let expected = "a letter, then letters, digits, `_` or `-`, and not \"x\", the input";
            return Err(refused(path, &format!("\"{name}\""), expected));
        }
        if let Some(other) = self.labels.insert(name.clone(), at) {
            let problem = format!("\"{name}\", which network.layers[{other}] is called");
            return Err(refused(path, &problem, "a name of its own"));
        }
        Ok(())
    }

    fn reads(&self, at: usize, layer: &LayerSpec) -> Result<Vec<ValueId>, Error> {
        let is_add = layer.operator == OperatorSpec::Add;
        let path = format!("network.layers[{at}].reads");
        let Some(names) = &layer.reads else {
            return match is_add {
                true => Err(refused(path, "nothing stated", "what `add` reads: two or more")),
                false => Ok(vec![ValueId(at)]),
            };
        };
        match names.len() {
            0 | 1 if is_add => {
                let problem = format!("{} for add", counted(names.len()));
                return Err(refused(path, &problem, "two or more"));
            }
            1 => {}
            _ if is_add => {}
            count => {
                let problem = format!("{} for {}", counted(count), layer.operator.key());
                return Err(refused(path, &problem, "one"));
            }
        }
        let read = |(place, name): (usize, &String)| match &name[..] {
            "x" => Ok(ValueId::INPUT),
            "-" => Ok(ValueId(at)),
            name => match self.labels.get(name) {
                Some(&entry) if entry < at => Ok(ValueId::made_by(entry)),
                found => {
                    let is_itself = found == Some(&at);
                    let problem =
                        if is_itself { "is this entry itself" } else { "is no entry above" };
                    let problem = format!("\"{name}\" {problem}");
                    let above: Vec<_> =
                        self.labels.iter().filter(|&(_, &entry)| entry < at).collect();
                    let above: String =
                        above.iter().map(|(name, _)| format!(", \"{name}\"")).collect();
                    Err(refused(
                        format!("{path}[{place}]"),
                        &problem,
                        &format!("\"-\", \"x\"{above}"),
                    ))
                }
            },
        };
        names.iter().enumerate().map(read).collect()
    }

    fn operator(
        &mut self,
        at: usize,
        operator: &OperatorSpec,
        reads: &[ValueId],
    ) -> Result<Operator, Error> {
        let key = operator.key();
        let path = |setting: &str| format!("network.layers[{at}].{key}.{setting}");
        let function = |function| Ok(Operator::Function(function));
        match operator {
            OperatorSpec::Dense(spec) => {
                Error::check_count(&path("units"), spec.units, 1, Graph::EXTENT_MAX)?;
                let inputs = self.seen[reads[0].0].elements();
                self.count_weights(at, inputs, spec.units)?;
                Ok(Operator::Dense(Dense { inputs, units: spec.units, bias: spec.bias }))
            }
            OperatorSpec::Conv2d(spec) => self.convolution(at, spec, reads[0]),
            OperatorSpec::MaxPool(MaxPoolSpec { kernel, stride, padding }) => {
                let (window, channels) = self.pool(at, key, reads[0], (kernel, stride, padding))?;
                Ok(Operator::MaxPool(MaxPool { window, channels }))
            }
            OperatorSpec::AvgPool(AvgPoolSpec { kernel, stride, padding, count_padding }) => {
                let (window, channels) = self.pool(at, key, reads[0], (kernel, stride, padding))?;
                let counts_padding = *count_padding;
                Ok(Operator::AvgPool(AvgPool { window, channels, counts_padding, global: false }))
            }
            OperatorSpec::GlobalAvgPool => {
                let (height, width, channels) = self.image(at, key, reads[0])?;
                Ok(Operator::AvgPool(AvgPool::global(height, width, channels)))
            }
            OperatorSpec::Add => {
                let first = self.seen[reads[0].0];
                let Some(other) = reads.iter().find(|read| self.seen[read.0] != first) else {
                    return Ok(Operator::Add);
                };
                let [one, two] = [reads[0], *other].map(|read| &self.said[read.0]);
                let shape = self.seen[other.0];
                let problem = format!("{one} makes {first}, {two} makes {shape}");
                Err(refused(format!("network.layers[{at}].add"), &problem, "values of one shape"))
            }
            OperatorSpec::Flatten => Ok(Operator::Flatten),
            OperatorSpec::Relu => function(EdgeFunction::Relu),
            OperatorSpec::ClippedRelu(spec) => {
                let clipped = ClippedRelu::at(spec.max).ok_or(Error::Clip { at, max: spec.max })?;
                function(EdgeFunction::ClippedRelu(clipped))
            }
            OperatorSpec::Sigmoid => function(EdgeFunction::Squash(Squash::Sigmoid)),
            OperatorSpec::Tanh => function(EdgeFunction::Squash(Squash::Tanh)),
        }
    }

    fn count_weights(&mut self, at: usize, inputs: usize, units: usize) -> Result<(), Error> {
        self.weights = inputs.saturating_mul(units).saturating_add(self.weights);
        if self.weights > Graph::WEIGHTS_MAX {
            return Err(Error::TooManyWeights { at, inputs, units, weights: self.weights });
        }
        Ok(())
    }

    /// Height, width and channels of an image that an entry reads.
    fn image(&self, at: usize, key: &str, read: ValueId) -> Result<(usize, usize, usize), Error> {
        match self.seen[read.0] {
            Shape::Image { height, width, channels } => Ok((height, width, channels)),
            shape @ Shape::Features(_) => {
                let problem = format!("it reads {shape}, which {} makes", self.said[read.0]);
                let expected = "an image, [channels, height, width]";
                Err(refused(format!("network.layers[{at}].{key}"), &problem, expected))
            }
        }
    }

    fn convolution(
        &mut self,
        at: usize,
        spec: &Conv2dSpec,
        read: ValueId,
    ) -> Result<Operator, Error> {
        let (height, width, channels) = self.image(at, "conv2d", read)?;
        let path = |setting: &str| format!("network.layers[{at}].conv2d.{setting}");
        let Conv2dSpec { filters, kernel, stride, padding, dilation, groups, bias } = *spec;
        Error::check_count(&path("filters"), filters, 1, Graph::EXTENT_MAX)?;
        Error::check_count(&path("groups"), groups, 1, channels)?;
        for (what, count) in [("channels", channels), ("filters", filters)] {
            if !count.is_multiple_of(groups) {
                let problem = format!("{groups} do not divide {count} {what}");
                return Err(refused(path("groups"), &problem, "a divisor of channels and filters"));
            }
        }
        let sizes = [kernel, stride, dilation];
        let window = window(&path, [height, width], sizes, padding)?;
        let fan_in = window.taps().saturating_mul(channels / groups);
        self.count_weights(at, fan_in, filters)?;
        let made = window.count().saturating_mul(filters);
        let key = format!("network.layers[{at}]: values that it makes of a sample");
        Error::check_count(&key, made, 1, Graph::EXTENT_MAX)?;
        Ok(Operator::Conv2d(Conv2d { window, channels, filters, groups, bias }))
    }

    fn pool(
        &self,
        at: usize,
        key: &str,
        read: ValueId,
        (kernel, stride, padding): (&AxisSizes, &Option<AxisSizes>, &Padding),
    ) -> Result<(Window, usize), Error> {
        let (height, width, channels) = self.image(at, key, read)?;
        let path = |setting: &str| format!("network.layers[{at}].{key}.{setting}");
        let sizes = [*kernel, stride.unwrap_or(*kernel), AxisSizes([1; 2])];
        let window = window(&path, [height, width], sizes, *padding)?;
        for (axis, name) in [(window.down, "down"), (window.along, "along")] {
            if let Some(empty) = axis.empty_position() {
                let WindowAxis { extent, taps, stride, before, .. } = axis;
                let problem = format!(
                    "window {empty} {name} has no pixel: kernel {taps}, stride {stride}, padding \
                     {before} before {extent} pixels"
                );
                return Err(refused(path("padding"), &problem, "windows with a pixel each"));
            }
        }
        Ok((window, channels))
    }
}

fn counted(count: usize) -> String {
    match count {
        0 => "nothing".to_owned(),
        1 => "one value".to_owned(),
        count => format!("{count} values"),
    }
}

/// The window of a kernel with a stride and a dilation over a padded image.
fn window(
    path: &dyn Fn(&str) -> String,
    extents: [usize; 2],
    [kernel, stride, dilation]: [AxisSizes; 3],
    Padding([top, left, bottom, right]): Padding,
) -> Result<Window, Error> {
    for (setting, AxisSizes(both)) in
        [("kernel", kernel), ("stride", stride), ("dilation", dilation)]
    {
        for size in both {
            Error::check_count(&path(setting), size, 1, WINDOW_MAX)?;
        }
    }
    for size in [top, left, bottom, right] {
        Error::check_count(&path("padding"), size, 0, WINDOW_MAX)?;
    }
    let axis = |at: usize, before, after| WindowAxis {
        extent: extents[at],
        taps: kernel.0[at],
        stride: stride.0[at],
        dilation: dilation.0[at],
        before,
        after,
    };
    let window = Window { down: axis(0, top, bottom), along: axis(1, left, right) };
    let [down, along] = [window.down, window.along];
    if down.positions().is_none() || along.positions().is_none() {
        let [height, width] = [down, along].map(|axis| axis.padded());
        let [reach_down, reach_along] = [down, along].map(|axis| axis.reach());
        let problem = format!(
            "{reach_down} x {reach_along} places, larger than the padded image of {height} x {width}"
        );
        return Err(refused(path("kernel"), &problem, "one that fits it"));
    }
    Ok(window)
}

fn refused(path: String, problem: &str, expected: &str) -> Error {
    let problem = format!("{problem}, expected {expected}");
    Error::Entry { path, problem }
}

/// The shape of the input: an image if an entry asks for one, otherwise its values, row by row.
pub(super) fn input(extents: &[usize], layers: &[LayerSpec]) -> Result<Shape, Error> {
    let values = super::input_values(extents)?;
    let wants_image = |layer: &LayerSpec| match layer.operator {
        OperatorSpec::Conv2d(_)
        | OperatorSpec::MaxPool(_)
        | OperatorSpec::AvgPool(_)
        | OperatorSpec::GlobalAvgPool => true,
        OperatorSpec::Dense(_)
        | OperatorSpec::Add
        | OperatorSpec::Flatten
        | OperatorSpec::Relu
        | OperatorSpec::ClippedRelu(_)
        | OperatorSpec::Sigmoid
        | OperatorSpec::Tanh => false,
    };
    let Some(at) = layers.iter().position(wants_image) else { return Ok(Shape::Features(values)) };
    match *extents {
        [height, width] => Ok(Shape::Image { height, width, channels: 1 }),
        [channels, height, width] => Ok(Shape::Image { height, width, channels }),
        _ => {
            let key = layers[at].operator.key();
            let problem = format!("{} extents, and network.layers[{at}] is {key}", extents.len());
            let expected = "[height, width] or [channels, height, width]";
            Err(refused("network.input".into(), &problem, expected))
        }
    }
}
