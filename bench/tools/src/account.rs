//! How much of the processors was used: by processes, from the kernel's own accounting, and by the machine.

use std::{fs, time::Duration};

use anyhow::Context;
use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// The time that a process used so far, all its threads together, those that ended too.
pub fn process(pid: i32) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).with_context(|| format!("process {pid} is gone"))?;
    Ok(clock_gettime(clock)?.into())
}

/// The same of this process.
pub fn own() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// The machine since it started, in seconds of one processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// Programs and the kernel for them, and what the host took away.
    pub busy: f64,
    /// Of it, what the host took away.
    pub stolen: f64,
    /// Interrupts: no process is charged for them.
    pub interrupts: f64,
}

impl Machine {
    /// Reads /proc/stat.
    pub fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let first = text.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; a hundred ticks a second on every Linux.
        let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat is not understood")
        };
        Ok(Self {
            busy: (user + nice + system + steal) / 100.0,
            stolen: steal / 100.0,
            interrupts: (irq + softirq) / 100.0,
        })
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy - before.busy,
            stolen: self.stolen - before.stolen,
            interrupts: self.interrupts - before.interrupts,
        }
    }
}
