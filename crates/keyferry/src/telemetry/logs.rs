//! Logs: JSON lines on standard error, or text for people.
//!
//! Nothing here sees a header or a body, and the types that hold keys have no way to be printed.
//! Events of other crates pass from `warn` on, at the level `trace` from `info` on.

use std::{io::IsTerminal, panic};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, registry};

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
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The HTTP libraries print what they refuse, header values included, and the database library
    // prints statements: below `info` they are never asked.
    let others = if own == LevelFilter::TRACE { LevelFilter::INFO } else { own.min(LevelFilter::WARN) };
    // Of a password file that is not well formed, and of what a database server sent, it prints all.
    let database = ("sqlx", LevelFilter::OFF);
    let filter = Targets::new().with_targets([("keyferry", own), database]).with_default(others);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let subscriber = registry().with(lines.with_filter(filter));
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A panic is logged with its place. What it says is not: it may quote what it was working on.
pub fn of_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(event = "panic", place = place.as_deref());
    }));
}
