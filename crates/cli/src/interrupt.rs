//! What Ctrl-C does: nothing is left half-written, what is kept is said, and how to go on.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use crate::durable::sync_folders;
use crate::failure::printable;
use crate::whole::discard_partials;

/// The exit status of an interrupted command, that of shells: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// What is kept of the work under way, in words.
static KEPT: Mutex<String> = Mutex::new(String::new());

/// Remembers what an interruption says from now on: what is kept, and how to go on.
pub(crate) fn says(kept: String) {
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = kept;
}

/// Has Ctrl-C end the process in order. Where the signal is ignored, as in jobs in the background,
/// it stays so.
pub(crate) fn watch() {
    // Without a handler, the signal ends the process by itself.
    let _ = ctrlc::try_set_handler(|| {
        let _nothing_else_is_written = discard_partials();
        // What cannot be synced is left to the system.
        let _ = sync_folders();
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stderr = io::stderr().lock();
        // A bar of progress has no line break.
        let start = if stderr.is_terminal() { "\n" } else { "" };
        let colon = if kept.is_empty() { "" } else { ": " };
        let _ = writeln!(stderr, "{start}interrupted{colon}{}", printable(&kept));
        std::process::exit(INTERRUPTED);
    });
}
