//! The `systoliq` command as the integration tests run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    systoliq::main()
}
