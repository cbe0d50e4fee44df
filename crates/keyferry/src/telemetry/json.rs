//! Log lines as JSON objects, each written once, from its event into the line.

use std::fmt::{self, Debug, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, time::FormatTime},
    registry::LookupSpan,
};

use super::logs::Now;

/// One object a line: time, level, the event's fields, where it comes from.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str("{\"timestamp\":\"")?;
        Now.format_time(&mut line)?;
        line.write_str("\",\"level\":\"")?;
        line.write_str(event.metadata().level().as_str())?;
        line.write_str("\"")?;
        let mut fields = Fields { line: &mut line, written: Ok(()) };
        event.record(&mut fields);
        fields.text("target", event.metadata().target());
        fields.written?;
        line.write_str("}\n")
    }
}

/// Writes one field behind the other.
struct Fields<'l, 'w> {
    line: &'l mut Writer<'w>,
    written: fmt::Result,
}

impl Fields<'_, '_> {
    /// One field; what goes wrong is told at the end.
    fn add(&mut self, name: &str, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.written.is_ok() {
            self.written = self.name(name).and_then(|()| write(self.line));
        }
    }

    fn name(&mut self, name: &str) -> fmt::Result {
        self.line.write_str(",\"")?;
        self.line.write_str(name.strip_prefix("r#").unwrap_or(name))?;
        self.line.write_str("\":")
    }

    fn text(&mut self, name: &str, text: &str) {
        self.add(name, |line| {
            line.write_str("\"")?;
            Escaped(line).write_str(text)?;
            line.write_str("\"")
        });
    }

    fn number(&mut self, name: &str, number: impl fmt::Display) {
        self.add(name, |line| write!(line, "{number}"));
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), |line| {
            line.write_str("\"")?;
            write!(Escaped(line), "{value:?}")?;
            line.write_str("\"")
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() { self.number(field.name(), value) } else { self.number(field.name(), "null") }
    }
}

/// Puts text between quotation marks (RFC 8259 §7).
struct Escaped<'l, 'w>(&'l mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        while let Some(at) = text.bytes().position(special) {
            self.0.write_str(&text[..at])?;
            match text.as_bytes()[at] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            text = &text[at + 1..];
        }
        self.0.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::{fmt::layer, layer::SubscriberExt, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lines").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines of what is logged.
    fn logged(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = layer().event_format(JsonLines).with_writer(move || writer.clone());
        tracing::subscriber::with_default(registry().with(layer), log);
        let bytes = lines.0.lock().expect("lines").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_line_is_an_object_with_what_the_event_says() {
        let odd = "a\"b\\c\nd\u{1}\u{7f}é";
        let text = logged(|| {
            tracing::warn!(event = odd, shown = %odd, number = 7_u16, less = -7, yes = true, half = 0.5,
                none = None::<&str>, many = ?[1, 2], r#type = "t", "words {}", 1);
        });
        assert_eq!((text.matches('\n').count(), text.ends_with("}\n")), (1, true));
        let line: Value = serde_json::from_str(&text).expect("JSON");
        let object = line.as_object().expect("an object");
        let names: Vec<&str> = text.split(",\"").filter_map(|part| part.split("\":").next()).collect();
        assert_eq!((names[0], names[1]), ("{\"timestamp", "level"));
        assert_eq!(
            (&line["level"], &line["event"], &line["shown"]),
            (&"WARN".into(), &odd.into(), &odd.into())
        );
        assert_eq!((&line["number"], &line["less"], &line["yes"]), (&7.into(), &(-7).into(), &true.into()));
        assert_eq!(
            (&line["half"], &line["many"], &line["type"]),
            (&0.5.into(), &"[1, 2]".into(), &"t".into())
        );
        assert_eq!(line["message"], "words 1");
        assert_eq!(line["target"], "keyferry::telemetry::json::tests");
        assert!(!object.contains_key("none"));
    }

    #[test]
    fn what_is_no_number_is_null() {
        let line: Value = serde_json::from_str(&logged(|| tracing::info!(odd = f64::NAN))).expect("JSON");
        assert!(line["odd"].is_null());
    }
}
