//! The `systoliq` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    systoliq::main()
}
