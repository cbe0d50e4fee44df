//! Parses the command line, runs the command, turns the outcome into an exit code.

use std::process::ExitCode;

use keyferry_secretmem::WipingHeap;

/// Whatever any library frees is overwritten: see `docs/memory.md`.
#[global_allocator]
static HEAP: WipingHeap = WipingHeap;

fn main() -> ExitCode {
    keyferry::cli::run()
}
