//! The program with the system's own allocator: what `tests/memory` compares with, to know that it finds what is there.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyferry::cli::run()
}
