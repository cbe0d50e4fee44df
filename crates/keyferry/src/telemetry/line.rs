//! A log line: one JSON object.
//!
//! The values are written by `serde_json`, through `tracing-serde`, as the library's own format has them. That one hands
//! each quote and each text through a check and a formatter of its own, a hundred times for the line of a request. Here it is
//! put together in one buffer, with less than half as many instructions.

use std::{cell::Cell, fmt, time::SystemTime};

use serde::{Serializer, ser::SerializeMap};
use time::OffsetDateTime;
use tracing::{Event, Subscriber};
use tracing_serde::{AsSerde, SerdeMapVisitor};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, time::FormatTime},
    registry::LookupSpan,
};

use crate::http::Short;

/// Bytes that most lines fit into.
const USUAL: usize = 512;
/// What took more room than this for one line does not keep it for the next.
const KEPT: usize = 4096;

thread_local! {
    /// Room for a line of this thread. It is taken out while one is written, so one that is written meanwhile has its own.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The time of a line.
pub(super) struct Now;

impl Now {
    #[expect(
        clippy::disallowed_methods,
        reason = "a log line is about the machine, whatever time a test holds"
    )]
    fn text() -> Short<40> {
        in_micros(SystemTime::now().into())
    }
}

impl FormatTime for Now {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        line.write_str(Self::text().as_str().unwrap_or_default())
    }
}

/// Writes lines of JSON.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // A thread that ends has no room any more.
        let mut bytes = ROOM.try_with(Cell::take).unwrap_or_default();
        bytes.reserve(USUAL);
        put(event, &mut bytes).map_err(|_| fmt::Error)?;
        line.write_str(std::str::from_utf8(&bytes).map_err(|_| fmt::Error)?)?;
        if bytes.capacity() <= KEPT {
            bytes.clear();
            let _ = ROOM.try_with(|room| room.set(bytes));
        }
        Ok(())
    }
}

fn put(event: &Event<'_>, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut json = serde_json::Serializer::new(&mut *bytes);
    let mut line = json.serialize_map(None)?;
    line.serialize_entry("timestamp", Now::text().as_str().unwrap_or_default())?;
    line.serialize_entry("level", &event.metadata().level().as_serde())?;
    let mut fields = SerdeMapVisitor::new(line);
    event.record(&mut fields);
    let mut line = fields.take_serializer()?;
    line.serialize_entry("target", event.metadata().target())?;
    line.end()?;
    bytes.push(b'\n');
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex, PoisonError},
    };

    use serde_json::{Value, json};
    use tracing_subscriber::{Layer, fmt as lines, layer::SubscriberExt, registry};

    use super::*;

    #[test]
    fn a_line_has_its_time_in_microseconds() {
        for (nanos, text) in [
            (1_793_112_429_000_057_999, "2026-10-27T14:47:09.000057Z"),
            (951_782_400_999_999_999, "2000-02-29T00:00:00.999999Z"),
        ] {
            let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("a time");
            assert_eq!(in_micros(at).as_str(), Some(text));
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_object_whatever_its_values_hold() {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = lines::layer().event_format(Json).with_writer(move || writer.clone()).boxed();
        tracing::subscriber::with_default(registry().with(layer), || {
            tracing::warn!(kind = "one", text = "a \"quote\"\nand a line", count = 3_u64, gone = None::<u64>,
                error = %"shown", "said");
            tracing::info!(kind = "two");
        });
        let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::str::from_utf8(&bytes).expect("text");
        let mut read: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        assert!(text.ends_with('\n') && read.len() == 2, "{text}");
        for line in &mut read {
            let time = line["timestamp"].take();
            assert!(time.as_str().is_some_and(|time| time.ends_with('Z')), "{time}");
        }
        let here = module_path!();
        assert_eq!(
            read[0],
            json!({"timestamp": null, "level": "WARN", "message": "said", "kind": "one", "text": "a \"quote\"\nand a line",
                   "count": 3, "error": "shown", "target": here})
        );
        assert_eq!(read[1], json!({"timestamp": null, "level": "INFO", "kind": "two", "target": here}));
    }
}
