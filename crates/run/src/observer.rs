//! Who looks on as a step runs.

use std::sync::Arc;

use systoliq_program::{CommandId, Engine, Outcome, Step, Store};

use crate::Error;

/// Looks at the tensors around every command of a step, and changes nothing.
pub(crate) trait Observer {
    /// Sees what a command is about to read.
    fn before(&mut self, _command: CommandId, _store: &Store, _step: &Step) {}

    /// Sees what a command has just written.
    ///
    /// # Errors
    ///
    /// If what is seen cannot be kept.
    fn after(
        &mut self,
        command: CommandId,
        store: &Store,
        step: &Step,
        outcome: &Outcome,
    ) -> Result<(), Error>;
}

/// Runs the commands of a step on the batch that is loaded.
pub(crate) fn run_step(
    engine: &mut dyn Engine,
    store: &mut Store,
    step: &Step,
    observers: &mut [&mut dyn Observer],
) -> Result<(), Error> {
    let program = Arc::clone(store.program());
    for &command in &program.step {
        observers.iter_mut().for_each(|observer| observer.before(command, store, step));
        let outcome = engine.run(command, store, step);
        for observer in &mut *observers {
            observer.after(command, store, step, &outcome)?;
        }
    }
    Ok(())
}
