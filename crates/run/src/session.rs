//! All seeds of a run: as many at a time as there are threads, each from where it was left, and each with what
//! threads the others leave.
//!
//! *Absent:* files and the terminal. Whence the data come, what is kept of a seed and who is told of
//! progress, a [`SessionHost`] knows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use systoliq_nn::DataSet;

use crate::trainer::{Conduct, EngineKind, Record, Trainer};
use crate::{CpuSeconds, Prepared};

/// What a session asks of whoever runs it. A seed is known by its number among those of the session.
pub trait SessionHost: Sync {
    /// Why it ends.
    type Error: Send;
    /// What is kept of a seed as it runs.
    type Keeping;

    /// The data of a seed.
    ///
    /// # Errors
    ///
    /// If there are none.
    fn data(&self, seed: u64) -> Result<DataSet, Self::Error>;

    /// Takes a seed to where it was left, if something is kept of it.
    ///
    /// # Errors
    ///
    /// If what is kept cannot be gone on from.
    fn begin(
        &self,
        at: usize,
        trainer: &mut Trainer<'_>,
        data: &DataSet,
    ) -> Result<Self::Keeping, Self::Error>;

    /// Trains a seed for an epoch, and keeps it.
    ///
    /// # Errors
    ///
    /// If it cannot be trained or kept.
    fn epoch(
        &self,
        at: usize,
        trainer: &mut Trainer<'_>,
        conduct: &Conduct<'_>,
        keeping: &mut Self::Keeping,
    ) -> Result<(), Self::Error>;

    /// Is told of steps that are done.
    fn progress(&self, steps: u64);
}

/// The seeds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The experiment.
    pub prepared: &'a Prepared,
    /// Its seeds.
    pub seeds: &'a [u64],
    /// What runs commands.
    pub engine: EngineKind,
    /// How many threads there are.
    pub threads: usize,
}

impl Session<'_> {
    /// Runs every seed to its end, and gives their records in the order of the seeds, and what all of them
    /// took of processors. `data` is that of the first.
    ///
    /// # Errors
    ///
    /// The first of the host's, in the order of the seeds; no seed is begun behind it.
    pub fn run<H: SessionHost>(
        &self,
        host: &H,
        data: DataSet,
    ) -> Result<(Vec<Record>, CpuSeconds), H::Error> {
        let results: Vec<Mutex<Option<_>>> = self.seeds.iter().map(|_| Mutex::new(None)).collect();
        let (next, first) = (AtomicUsize::new(0), Mutex::new(Some(data)));
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&seed) = self.seeds.get(at) else { break };
                let ready = if at == 0 { lock(&first).take() } else { None };
                let data = ready.map_or_else(|| host.data(seed), Ok);
                let result = data.and_then(|data| self.seed(host, at, &data));
                if result.is_err() {
                    next.store(self.seeds.len(), Ordering::Relaxed);
                }
                *lock(&results[at]) = Some(result);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.min(self.seeds.len()) {
                scope.spawn(work);
            }
            work();
        });
        let ended = |of: Mutex<_>| of.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut records, mut cpu) = (Vec::new(), CpuSeconds::default());
        for result in results.into_iter().filter_map(ended) {
            let (record, of_seed) = result?;
            records.push(record);
            cpu += of_seed;
        }
        Ok((records, cpu))
    }

    /// How many threads a seed has: an equal share, at least one, of which the first have what is left over.
    fn threads_of(&self, at: usize) -> usize {
        let (each, over) = (self.threads / self.seeds.len(), self.threads % self.seeds.len());
        (each + usize::from(at < over)).max(1)
    }

    /// Runs one seed to its end.
    fn seed<H: SessionHost>(
        &self,
        host: &H,
        at: usize,
        data: &DataSet,
    ) -> Result<(Record, CpuSeconds), H::Error> {
        let mut trainer = Trainer::new(self.prepared, data, self.seeds[at], self.engine);
        let mut keeping = host.begin(at, &mut trainer, data)?;
        host.progress(trainer.record().steps);
        let threads = self.threads_of(at);
        let conduct = Conduct { threads, progress: &|_| host.progress(1) };
        while !trainer.is_done() {
            host.epoch(at, &mut trainer, &conduct, &mut keeping)?;
        }
        Ok((trainer.record().clone(), trainer.cpu_seconds()))
    }
}

/// Locks; a panic elsewhere ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
