//! Asks as fast as it is answered, on so many connections, on one thread; looks at every answer; and says how long each took
//! and what processors were used meanwhile, by whom. Prints one JSON object.
//!
//! `load --to ADDRESS --path PATH [--header "NAME: VALUE"]… [--connections N] [--seconds S] [--warm S]
//! [--ask BYTES] [--answer BYTES] [--stream true] [--wait MS] [--exact false] [--account NAME=PID,PID]…
//! [--vary FILE] [--count N] [--rate PER_SECOND] [--ramp PER_SECOND]`

mod answer;
mod client;
mod expected;
mod pace;
mod plan;
mod report;
mod slot;

use bench_tools::flags::Flags;

fn main() -> anyhow::Result<()> {
    let flags = Flags::read(&plan::FLAGS)?;
    let plan = plan::Plan::read(&flags)?;
    let report = client::Client::new(plan)?.run()?;
    println!("{report}");
    Ok(())
}
