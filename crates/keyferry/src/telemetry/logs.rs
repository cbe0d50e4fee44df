//! Logs: JSON lines on standard error, or text for people.
//!
//! Nothing here sees a header or a body, and the types that hold keys have no way to be printed.
//! Events of other crates pass from `warn` on, at the level `trace` from `info` on.

use std::{fmt::Result as Written, io::IsTerminal, panic, time::SystemTime};

use clap::ValueEnum;
use time::OffsetDateTime;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    registry,
};

use crate::http::Short;

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
    let filter = filter(level);
    let lines = fmt::layer().with_timer(Now).with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let subscriber = registry().with(lines.with_filter(filter));
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The time of a line, written at once: piece by piece, the text that it is written to grows with each.
struct Now;

impl FormatTime for Now {
    #[expect(
        clippy::disallowed_methods,
        reason = "a log line is about the machine, whatever time a test holds"
    )]
    fn format_time(&self, line: &mut Writer<'_>) -> Written {
        let text = in_micros(SystemTime::now().into());
        line.write_str(text.as_bytes().and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default())
    }
}

/// RFC 3339 in UTC with microseconds.
fn in_micros(at: OffsetDateTime) -> Short<40> {
    let mut text = Short::default();
    let number = |number: u8| u64::from(number);
    text.digits(u64::try_from(at.year()).unwrap_or_default(), 4);
    text.text("-").digits(number(at.month().into()), 2).text("-").digits(number(at.day()), 2);
    text.text("T").digits(number(at.hour()), 2).text(":").digits(number(at.minute()), 2);
    text.text(":").digits(number(at.second()), 2).text(".").digits(at.microsecond().into(), 6).text("Z");
    text
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
    fn a_line_has_its_time_in_microseconds() {
        for (nanos, text) in [
            (1_793_112_429_000_057_999, "2026-10-27T14:47:09.000057Z"),
            (951_782_400_999_999_999, "2000-02-29T00:00:00.999999Z"),
        ] {
            let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("a time");
            assert_eq!(in_micros(at).as_bytes(), Some(text.as_bytes()));
        }
    }

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
