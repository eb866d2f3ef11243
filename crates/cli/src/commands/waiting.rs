//! What is shown on standard error while something takes long of which no part can be counted.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How long nothing is shown.
const SILENCE: Duration = Duration::from_secs(1);

/// How often it is shown that time goes on.
const TICK: Duration = Duration::from_millis(100);

/// Does something; after a second, a spinner says `what`, if standard error is a terminal.
pub(super) fn waiting<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    let (working, done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if done.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                let bar = spinner(what);
                // It ends when `working` does.
                let _ = done.recv();
                bar.finish_and_clear();
            }
        });
        let result = work();
        drop(working);
        result
    })
}

fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    bar.set_style(style.expect("a template that indicatif reads"));
    bar.enable_steady_tick(TICK);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_work_is_done_once_and_its_result_returned() {
        assert_eq!(waiting("short", || 1), 1);
        let long = || {
            std::thread::sleep(SILENCE + TICK);
            2
        };
        assert_eq!(waiting("long", long), 2);
        assert!(std::panic::catch_unwind(|| waiting("panics", || panic!("a panic"))).is_err());
    }
}
