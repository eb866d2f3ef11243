//! One matrix product of one training step, with its operands as they were.
//!
//! The steps before it run in fixed point alone, with the fast engine and without evaluations: the
//! golden model and evaluations change no bit of training.

use systoliq_array::Mapping;
use systoliq_engine::Fast;
use systoliq_fxp::{Adder, Tensor};
use systoliq_nn::{DataSet, epoch_order, initial_weights};
use systoliq_program::view::Submatrix;
use systoliq_program::{
    Command, Engine, GemmTask, Operand, Program, Reading, Samples, Step, Store, Work, Write,
    WriteId,
};

use crate::{Error, Prepared};
use systoliq_hardware::cost::Arithmetic;

/// A GEMM that was run, with all that decides its bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedGemm {
    a: Tensor,
    b: Tensor,
    /// What of them is read, and how.
    parts: [Submatrix; 2],
    read: [Reading; 2],
    adder: Adder,
    bias: Option<Tensor>,
    output: Submatrix,
}

impl CapturedGemm {
    fn of(task: &GemmTask<'_>) -> Self {
        let GemmTask { a, b, adder, bias, output } = *task;
        Self {
            a: a.tensor.clone(),
            b: b.tensor.clone(),
            parts: [a.part, b.part],
            read: [a.reading, b.reading],
            adder,
            bias: bias.cloned(),
            output,
        }
    }

    /// The GEMM, to be run again.
    pub fn task(&self) -> GemmTask<'_> {
        let Self { adder, output, .. } = *self;
        let [a, b] = [(&self.a, 0), (&self.b, 1)].map(|(tensor, at)| Operand {
            tensor,
            part: self.parts[at],
            reading: self.read[at],
        });
        GemmTask { a, b, adder, bias: self.bias.as_ref(), output }
    }
}

/// The place of a GEMM in a program by name: `0.forward`, as a listing has it, or
/// `0.forward.y0`, the name of the command.
///
/// # Errors
///
/// If there is no such GEMM; the message names those that there are.
pub fn find_gemm(program: &Program, name: &str) -> Result<WriteId, Error> {
    let place = |command: &Command| format!("{}.{}", command.entry, command.pass);
    let named = |write: &Write, command: &Command| write.name == name || place(command) == name;
    let gemms =
        || program.all_writes().filter(|(.., command)| command.operation.product().is_some());
    let found = gemms().find(|(_, write, command)| named(write, command));
    found.map(|(id, ..)| id).ok_or_else(|| {
        let gemms = gemms().map(|(.., command)| place(command)).collect::<Vec<_>>().join(", ");
        Error::NoSuchGemm { name: name.to_owned(), gemms }
    })
}

/// How many steps a run on `data` has.
pub fn steps(prepared: &Prepared, data: &DataSet) -> u64 {
    let training = &prepared.experiment.training;
    data.train.len().div_ceil(training.batch) as u64 * u64::from(training.epochs)
}

/// The samples of step `step`, from 0.
///
/// # Errors
///
/// If the run has no such step.
pub fn batch_in_step(prepared: &Prepared, data: &DataSet, step: u64) -> Result<usize, Error> {
    let steps = steps(prepared, data);
    if step >= steps {
        return Err(Error::NoSuchStep { step, steps });
    }
    let (batch, samples) = (prepared.experiment.training.batch, data.train.len());
    // The last batch of an epoch may be short.
    let before = (step % samples.div_ceil(batch) as u64) as usize * batch;
    Ok(batch.min(samples - before))
}

/// How the array runs a GEMM of the program in step `step`, from 0.
///
/// # Errors
///
/// If the run has no such step.
///
/// # Panics
///
/// If it is no GEMM.
pub fn mapping_in_step(
    prepared: &Prepared,
    data: &DataSet,
    (write, step): (WriteId, u64),
) -> Result<Mapping, Error> {
    let batch = batch_in_step(prepared, data, step)?;
    let program = &prepared.program;
    match program.work(write, batch) {
        Work::Gemm(shape) => {
            let batches = prepared.batches(Some(data.train.len()));
            Ok(prepared.costs(Arithmetic::Fixed, batches).mapping(write, shape))
        }
        Work::Vector { .. } => panic!("{} is no GEMM", program.write(write).name),
    }
}

/// Trains up to step `step`, from 0, and gives a GEMM of the program as it runs in it; of several on
/// parts of their tensors, the first. `progress` is told how many steps are done.
///
/// # Errors
///
/// If the run has no such step, or is teacher-forced, so that its weights are those of the golden
/// model, which does not run here.
///
/// # Panics
///
/// If it is no GEMM.
pub fn capture(
    prepared: &Prepared,
    data: &DataSet,
    seed: u64,
    (write, step): (WriteId, u64),
    progress: &dyn Fn(u64),
) -> Result<CapturedGemm, Error> {
    let steps = steps(prepared, data);
    if step >= steps {
        return Err(Error::NoSuchStep { step, steps });
    }
    let Prepared { graph, program, experiment, .. } = prepared;
    if experiment.training.teacher_forced {
        let problem = "a step is traced without the golden model, whose weights a teacher-forced \
                       step starts from; expected false";
        return Err(Error::at("training.teacher_forced", problem));
    }
    let mut store = Store::new(program, &initial_weights(graph, seed), seed);
    let mut engine = Fast::default();
    let samples = Samples::new(program, &data.train);
    let mut done = 0;
    for epoch in 0..experiment.training.epochs {
        let order = epoch_order(seed, epoch, data.train.len());
        for rows in order.chunks(experiment.training.batch) {
            let now = Step::training(seed, done).in_epoch(epoch);
            store.load_samples(&samples, rows, &now);
            for &command in &program.step {
                if done == step && command == program.write(write).command {
                    let mut tasks = store.tasks(command, &now);
                    return Ok(CapturedGemm::of(&tasks.next().expect("a product")));
                }
                engine.run(command, &mut store, &now);
            }
            done += 1;
            progress(done);
        }
    }
    unreachable!("step {step} of {steps} steps")
}
