//! What was read: how many samples of which classes, between which values.

use super::{Answers, DataSet, Part, SampleValues};

/// The smallest share of a part that a class has without being remarked on.
const CLASS_SHARE_MIN: f64 = 0.01;

/// The most classes that a sentence names.
const NAMED_MAX: usize = 10;

/// What a data set holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The parts that are not empty: training, validation, test.
    pub parts: Vec<PartSurvey>,
    /// The smallest and the largest input of all parts.
    pub inputs: (f64, f64),
}

/// What a part of a data set holds.
#[derive(Clone, Debug, PartialEq)]
pub struct PartSurvey {
    /// What it is called: `training`, `validation` or `test`.
    pub name: &'static str,
    /// Samples.
    pub samples: usize,
    /// Samples of each class; nothing where targets are real.
    pub by_class: Option<Vec<usize>>,
}

impl DataSet {
    /// The parts that are not empty, by their names.
    fn parts(&self) -> impl Iterator<Item = (&'static str, &Part)> {
        let parts =
            [("training", &self.train), ("validation", &self.validation), ("test", &self.test)];
        parts.into_iter().filter(|(_, part)| !part.is_empty())
    }

    /// Looks through all samples.
    pub fn survey(&self) -> Survey {
        let mut inputs = (f64::INFINITY, f64::NEG_INFINITY);
        let mut parts = Vec::new();
        for (name, part) in self.parts() {
            part.each_input(|value, _| inputs = (inputs.0.min(value), inputs.1.max(value)));
            let by_class = self.classes.and_then(|classes| part.by_class(classes));
            parts.push(PartSurvey { name, samples: part.len(), by_class });
        }
        Survey { parts, inputs }
    }

    /// How many inputs of all parts satisfy `is`, and of how many.
    pub fn count_inputs(&self, is: impl Fn(f64) -> bool) -> (u64, u64) {
        let (mut found, mut all) = (0, 0);
        for (_, part) in self.parts() {
            part.each_input(|value, times| {
                found += if is(value) { times } else { 0 };
                all += times;
            });
        }
        (found, all)
    }
}

impl Part {
    /// Every input once, or every value that inputs have with how many have it.
    fn each_input(&self, mut see: impl FnMut(f64, u64)) {
        match &self.samples {
            SampleValues::Pixels(pixels) => {
                pixels.times().for_each(|(byte, times)| see(pixels.value(byte), times));
            }
            SampleValues::Real(values) => values.iter().for_each(|&value| see(value, 1)),
        }
    }

    fn by_class(&self, classes: usize) -> Option<Vec<usize>> {
        let Answers::Labels(labels) = &self.answers else { return None };
        let mut counts = vec![0; classes];
        labels.iter().for_each(|&label| counts[label as usize] += 1);
        Some(counts)
    }

    /// How many columns hold one value alone; pixels are not looked at.
    pub(super) fn constant_columns(&self) -> usize {
        let SampleValues::Real(values) = &self.samples else { return 0 };
        let constant = |column: &usize| {
            let mut of_column = values[*column..].iter().step_by(self.features);
            let first = of_column.next();
            of_column.all(|value| Some(value) == first)
        };
        if self.len() < 2 { 0 } else { (0..self.features).filter(constant).count() }
    }
}

impl Survey {
    /// A sentence for each part in which a class is absent or rare.
    pub fn remarks(&self) -> Vec<String> {
        self.parts.iter().filter_map(PartSurvey::remark).collect()
    }
}

impl PartSurvey {
    fn remark(&self) -> Option<String> {
        let counts = self.by_class.as_ref()?;
        let of = |is: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..counts.len()).filter(|&class| is(counts[class])).collect()
        };
        let absent = of(&|count| count == 0);
        let least = CLASS_SHARE_MIN * self.samples as f64;
        let rare = of(&|count| count > 0 && (count as f64) < least);
        let name = self.name;
        let mut said = Vec::new();
        if !absent.is_empty() {
            let verb = if absent.len() == 1 { "never occurs" } else { "never occur" };
            said.push(format!("{} {verb} in the {name} part", named(&absent)));
        }
        if let [only] = of(&|count| count > 0)[..] {
            said.push(format!("all its {} samples are of class {only}", self.samples));
        }
        if !rare.is_empty() {
            let verb = if rare.len() == 1 { "has" } else { "have" };
            let most = rare.iter().map(|&class| counts[class]).max().unwrap_or(0);
            said.push(format!(
                "{} {verb} at most {most} of the {} {name} samples, less than 1 %",
                named(&rare),
                self.samples
            ));
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// `class 3`, or `classes 1, 2, 5`.
fn named(classes: &[usize]) -> String {
    let numbers: Vec<String> = classes.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = match classes.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if classes.len() == 1 { "class" } else { "classes" };
    format!("{noun} {}{more}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(labels: &[u32], classes: usize) -> PartSurvey {
        let part = Part::from_real(1, vec![0.0; labels.len()], Answers::Labels(labels.to_vec()));
        PartSurvey { name: "training", samples: part.len(), by_class: part.by_class(classes) }
    }

    #[test]
    fn absent_lone_and_rare_classes_are_remarked_on_and_no_others() {
        let remark = |labels: &[u32], classes| labelled(labels, classes).remark();
        assert_eq!(remark(&[0, 1, 2, 0, 1, 2], 3), None);
        let absent = "class 1 never occurs in the training part";
        assert_eq!(remark(&[0, 2, 0, 2], 3).as_deref(), Some(absent));
        let alone =
            "classes 1, 2 never occur in the training part; all its 3 samples are of class 0";
        assert_eq!(remark(&[0, 0, 0], 3).as_deref(), Some(alone));
        let mut many = vec![0; 200];
        many[7] = 1;
        let rare = "class 1 has at most 1 of the 200 training samples, less than 1 %";
        assert_eq!(remark(&many, 2).as_deref(), Some(rare));
        many[9] = 1;
        assert_eq!(remark(&many, 2), None, "exactly 1 % is enough");
    }

    #[test]
    fn inputs_are_counted_by_their_values() {
        let pixels = Part::from_pixels(2, vec![0, 16, 8, 8], 16, vec![0, 1]);
        let empty = Part::from_pixels(2, Vec::new(), 16, Vec::new());
        let data = DataSet {
            name: "x".into(),
            features: 2,
            classes: Some(2),
            outputs: 2,
            train: pixels.clone(),
            validation: empty,
            test: pixels,
            remarks: Vec::new(),
        };
        assert_eq!(data.count_inputs(|value| value > 0.75), (2, 8));
        let survey = data.survey();
        assert_eq!(survey.inputs, (0.0, 1.0));
        assert_eq!(survey.parts.len(), 2, "the empty part is left out");
        assert_eq!(survey.remarks(), Vec::<String>::new());
    }

    #[test]
    fn constant_columns_are_counted() {
        let answers = Answers::Labels(vec![0, 1, 0]);
        let part = Part::from_real(3, vec![1.0, 5.0, 0.0, 2.0, 5.0, 0.0, 3.0, 5.0, 1.0], answers);
        assert_eq!(part.constant_columns(), 1);
    }
}
