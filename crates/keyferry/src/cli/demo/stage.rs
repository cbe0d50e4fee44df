//! What the audience sees.

use std::{
    io::{IsTerminal, Stdout, Write, stdout},
    time::Instant,
};

/// Prints steps and how they went.
pub(super) struct Stage {
    out: Stdout,
    color: bool,
    step: usize,
    begun: Instant,
}

impl Stage {
    pub(super) fn new() -> Self {
        let color = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { out: stdout(), color, step: 0, begun: Instant::now() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn print(&self, text: &str) {
        let mut out = self.out.lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    pub(super) fn title(&self) {
        let title = self.paint("1", "keyferry");
        self.print(&format!(
            "\n  {title}: a key is stored once, sealed, and carries requests without being seen again\n\n"
        ));
    }

    /// Something to know, not a step.
    pub(super) fn note(&self, text: &str) {
        self.print(&format!("  {}\n", self.paint("2", text)));
    }

    /// A step begins.
    pub(super) fn begin(&mut self, what: &str) {
        self.step += 1;
        self.begun = Instant::now();
        self.print(&format!("\n  {:>2}  {}\n", self.step, self.paint("1", what)));
    }

    /// Something a step shows.
    pub(super) fn show(&self, text: &str) {
        self.print(&format!("      {text}\n"));
    }

    /// A piece of a stream, as it arrives.
    pub(super) fn piece(&self, text: &str, first: bool) {
        self.print(&if first { format!("      {text}") } else { text.to_owned() });
    }

    /// A step holds.
    pub(super) fn hold(&self, what: &str) {
        let took = format!("{} ms", self.begun.elapsed().as_millis());
        self.print(&format!("      {} {what}  {}\n", self.paint("32", "✔"), self.paint("2", &took)));
    }

    /// A step does not hold.
    pub(super) fn fail(&self, error: &anyhow::Error) {
        self.print(&format!("      {} {error:#}\n", self.paint("31", "✘")));
    }

    pub(super) fn end(&self) {
        self.print(&format!(
            "\n  {} All {} steps held. Now for real: {}\n\n",
            self.paint("32", "✔"),
            self.step,
            self.paint("1", "keyferry serve")
        ));
    }
}
