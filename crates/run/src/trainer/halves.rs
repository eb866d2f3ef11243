//! The two halves of a run, each by itself.
//!
//! Many runs that differ in formats or hardware alone share one golden half: [`golden_curve`] trains
//! it once, and a [`FixedRun`] beside that curve ends with the record of a paired run, without what
//! a [`Comparison`] finds of single tensors and samples.

use std::sync::Arc;

use systoliq_nn::{DataSet, Golden, GoldenPrecision, initial_weights};
use systoliq_program::{Store, Workers};

use super::{
    AnyGolden, Conduct, CostsOfBoth, Curve, FixedEpoch, Record, SamplesByPart, initial_tensors,
    judge_golden,
};
use crate::comparison::Comparison;
use crate::cpu::{CpuSeconds, MeasuredPieces};
use crate::judge::Judge;
use crate::timeline::Timeline;
use crate::{EngineKind, Error, Prepared};

/// Trains the golden model alone with `seed`, to the end.
pub fn golden_curve(prepared: &Prepared, data: &DataSet, seed: u64) -> Curve {
    let Prepared { experiment, graph, .. } = prepared;
    let training = &experiment.training;
    let mut golden = match training.golden {
        GoldenPrecision::F32 => AnyGolden::F32(Golden::new(graph, seed)),
        GoldenPrecision::F64 => AnyGolden::F64(Golden::new(graph, seed)),
    };
    let initial = with_golden!(&golden, |golden| golden.evaluate(&data.test, training.batch));
    let mut curve = Curve { initial, epochs: Vec::new(), right: None };
    for epoch in 0..training.epochs {
        let loss = with_golden!(&mut golden, |golden| {
            golden.train_epoch(&data.train, training, seed, epoch)
        });
        curve.push(judge_golden(&golden, data, training, loss));
    }
    curve
}

/// The fixed-point half of one seed's run, on the fast engine.
pub struct FixedRun<'a> {
    prepared: &'a Prepared,
    costs: CostsOfBoth<'a>,
    data: &'a DataSet,
    samples: SamplesByPart<'a>,
    store: Store,
    engine: Box<dyn systoliq_program::Engine + Send + 'a>,
    record: Record,
}

impl<'a> FixedRun<'a> {
    /// The run with `seed`, before its first epoch, beside the golden curve of the same experiment,
    /// data and seed.
    ///
    /// # Errors
    ///
    /// If the experiment is teacher-forced: then its steps need golden's weights.
    pub fn new(
        prepared: &'a Prepared,
        data: &'a DataSet,
        seed: u64,
        golden: Curve,
    ) -> Result<Self, Error> {
        let Prepared { experiment, graph, program, .. } = prepared;
        if experiment.training.teacher_forced {
            let problem = "a teacher-forced network has no run of its own: expected false";
            return Err(Error::at("training.teacher_forced", problem));
        }
        let mut store = Store::new(program, &initial_weights(graph, seed), seed);
        let batches = prepared.batches(Some(data.train.len()));
        let mut engine = EngineKind::Fast.build(prepared, batches);
        let batch = experiment.training.batch;
        let samples = SamplesByPart::new(prepared, data);
        let judge = Judge { samples: &samples.test, name: "test", batch, seed, number: 0 };
        let (initial, _) = judge.predict(&mut store, engine.as_mut(), None);
        let record = Record {
            seed,
            test_fingerprint: data.test.fingerprint(),
            train_samples: data.train.len(),
            steps: 0,
            fixed: Curve { initial, epochs: Vec::new(), right: None },
            golden,
            tensors: initial_tensors(&store),
            timeline: Timeline::default(),
            spent: Vec::new(),
            widths_for_weights: Vec::new(),
            comparison: Comparison::default(),
        };
        let costs = CostsOfBoth::new(prepared, batches);
        Ok(Self { prepared, costs, data, samples, store, engine, record })
    }

    /// The same with commands run by some workers.
    #[must_use]
    pub fn with_workers(mut self, workers: Arc<Workers>) -> Self {
        self.store.use_workers(workers);
        self
    }

    /// Trains for one epoch and evaluates; calls `progress` after each step with the number of
    /// steps done.
    ///
    /// # Errors
    ///
    /// If a count leaves 64 bits.
    pub fn epoch(&mut self, progress: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
        let epoch = self.record.fixed.epochs.len() as u32;
        let mut half = FixedEpoch {
            prepared: self.prepared,
            data: self.data,
            samples: &self.samples,
            store: &mut self.store,
            engine: self.engine.as_mut(),
            costs: &self.costs.fixed,
            record: &mut self.record,
            epoch,
            cpu: CpuSeconds::default(),
            counting: MeasuredPieces::default(),
        };
        let loss = half.train(&Conduct { threads: 1, progress }, None)?;
        let judged = half.judge(loss);
        self.record.fixed.push(judged);
        self.record.spent.push(self.record.spent(self.prepared, &self.costs)?);
        Ok(())
    }

    /// Whether every epoch is done.
    pub fn is_done(&self) -> bool {
        self.record.fixed.epochs.len() as u32 >= self.prepared.experiment.training.epochs
    }

    /// What the run has found so far; of golden, all.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Trainer;

    fn prepared(training: serde_json::Value) -> Prepared {
        let experiment = serde_json::from_value(json!({
            "name": "halves",
            "seed": 3,
            "dataset": { "kind": "digits" },
            "network": {
                "input": [64],
                "layers": [{ "dense": { "units": 6 } }, "relu", { "dense": { "units": 10 } }],
                "loss": "softmax_cross_entropy"
            },
            "training": training,
            "accelerator": { "array": { "rows": 4, "cols": 4 } }
        }));
        Prepared::new(experiment.expect("an experiment")).expect("a possible experiment")
    }

    #[test]
    fn two_halves_have_the_record_of_a_paired_run() {
        for training in [
            json!({ "epochs": 2, "batch": 32, "rate": 0.5 }),
            json!({ "epochs": 2, "batch": 50, "rate": 0.1, "momentum": 0.9, "golden": "f64" }),
        ] {
            let prepared = prepared(training.clone());
            let data = prepared.load(3, &mut |name| panic!("{name}")).unwrap();
            let conduct = Conduct { threads: 1, progress: &|_| {} };
            let mut paired = Trainer::new(&prepared, &data, 3, EngineKind::Fast);
            let golden = golden_curve(&prepared, &data, 3);
            let mut half = FixedRun::new(&prepared, &data, 3, golden).unwrap();
            while !paired.is_done() {
                assert!(!half.is_done(), "{training}");
                paired.epoch(&conduct, None).unwrap();
                half.epoch(&|_| {}).unwrap();
            }
            assert!(half.is_done(), "{training}");
            let mut expected = paired.record().clone();
            let units = expected.comparison.units.clone();
            expected.comparison = Comparison { units, ..Comparison::default() };
            expected.widths_for_weights = Vec::new();
            assert_eq!(half.record(), &expected, "{training}");
        }
    }

    #[test]
    fn a_teacher_forced_run_has_no_halves() {
        let prepared = prepared(json!({
            "epochs": 1, "batch": 32, "rate": 0.5, "teacher_forced": true
        }));
        let data = prepared.load(3, &mut |name| panic!("{name}")).unwrap();
        let golden = golden_curve(&prepared, &data, 3);
        let refused = FixedRun::new(&prepared, &data, 3, golden).err().unwrap().to_string();
        assert!(refused.starts_with("training.teacher_forced: "), "{refused}");
    }
}
