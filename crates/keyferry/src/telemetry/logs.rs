//! Logs: JSON lines on standard error, or text for people.
//!
//! Nothing here sees a header or a body, and the types that hold keys have no way to be printed.
//! Events of other crates pass from `warn` on, at the level `trace` from `info` on.

use std::{io::IsTerminal, os::fd::AsFd, panic, sync::OnceLock, time::Duration};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, registry};

use super::{
    line::{Json, Now},
    metrics,
    sink::{Lost, Sink, gather},
};

static SINK: OnceLock<Sink> = OnceLock::new();
/// How long the end waits for whoever reads the lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the usual names")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    // Without a number for one more open file there is nobody to tell.
    let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() else { return };
    let sink = SINK
        .get_or_init(|| Sink::new(stderr, Lost { count: metrics::log_lines_lost, tell: tell_of_lost }))
        .clone();
    let filter = filter(level);
    let lines = fmt::layer().with_writer(sink);
    let lines = match format {
        LogFormat::Json => lines.event_format(Json).boxed(),
        LogFormat::Text => {
            lines.with_timer(Now).with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
    };
    let subscriber = registry().with(lines.with_filter(filter));
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// From now on lines wait where standard error is not read, and not those who have them. It may take a thread, which is confined if the
/// process is by now.
pub fn let_lines_wait() {
    if let Some(sink) = SINK.get() {
        sink.let_wait();
    }
}

/// From now on lines of this thread wait until it calls [`put_gathered`], which it must before it sleeps.
pub fn gather() {
    if let Some(sink) = SINK.get() {
        gather::begin(sink);
    }
}

/// Lets out what this thread has gathered.
pub fn put_gathered() {
    gather::put();
}

/// Waits for lines that are not out yet, for a second at most.
pub fn flush() {
    if let Some(sink) = SINK.get() {
        sink.flush(PATIENCE);
    }
}

fn tell_of_lost(lines: u64) {
    tracing::warn!(event = "log_lines_lost", lines);
}

fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The HTTP libraries print what they refuse, header values included: below `info` they are never
    // asked.
    let others = if own == LevelFilter::TRACE { LevelFilter::INFO } else { own.min(LevelFilter::WARN) };
    // The database library prints statements, what a server sent, and a line of a password file that is
    // not well formed. What the store says of an error is logged by the program.
    let database = ("sqlx", LevelFilter::OFF);
    Targets::new().with_targets([("keyferry", own), database]).with_default(others)
}

/// A panic is logged with its place. What it says is not: it may quote what it was working on.
pub fn of_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(event = "panic", place = place.as_deref());
    }));
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_database_library_is_not_asked() {
        let filter = filter(LogLevel::Trace);
        for target in ["sqlx::query", "sqlx::postgres::notice", "sqlx_postgres::options::pgpass"] {
            assert!(!filter.would_enable(target, &Level::ERROR), "{target}");
        }
        assert!(filter.would_enable("keyferry::gateway", &Level::TRACE));
        assert!(filter.would_enable("hyper", &Level::INFO) && !filter.would_enable("hyper", &Level::DEBUG));
    }
}
