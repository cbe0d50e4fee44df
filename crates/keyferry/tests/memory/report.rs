//! What a scan found, as a table for people and as JSON for machines.

use std::path::Path;

use serde_json::{Value, json};

use crate::scan::Found;

/// Everything that is looked for, in the order of the table.
pub fn classes() -> [&'static str; 12] {
    [
        "held",
        "rotated",
        "sealed",
        "carried",
        "session",
        "platform",
        "master secret",
        "KEK",
        "DEK",
        "layer key",
        "MAC key",
        "sealing key",
    ]
}

/// Two scans of one run.
pub struct Report<'a> {
    name: &'a str,
    needles: usize,
    during: &'a [Found],
    open: &'a Found,
    closed: &'a Found,
}

impl<'a> Report<'a> {
    pub fn new(
        name: &'a str,
        needles: usize,
        during: &'a [Found],
        open: &'a Found,
        closed: &'a Found,
    ) -> Self {
        Self { name, needles, during, open, closed }
    }

    /// The most copies of a class that were there at one moment while requests ran.
    fn most(&self, class: &str) -> usize {
        self.during.iter().map(|found| found.count(class).0).max().unwrap_or(0)
    }

    /// Prints the table; writes `memory-NAME.json` into the folder for temporary files of the build.
    pub fn show_and_write(&self) {
        let resident = self.open.resident / 1024;
        let (name, needles, scans) = (self.name, self.needles, self.during.len());
        println!(
            "\n{name}: {needles} secrets in {resident} KiB, {scans} scans while requests ran; copies (of so many secrets)"
        );
        println!(
            "{:<16} {:>16} {:>18} {:>18}",
            "", "requests running", "idle, clients open", "clients closed"
        );
        for class in classes().into_iter().chain(["control"]) {
            let of = |found: &Found| {
                let (copies, secrets) = found.count(class);
                if copies == 0 { "0".to_owned() } else { format!("{copies} ({secrets})") }
            };
            let (most, open, closed) = (self.most(class), of(self.open), of(self.closed));
            println!("{class:<16} {most:>16} {open:>18} {closed:>18}");
        }
        let during = self.during.iter().max_by_key(|found| found.hits.len());
        let seen = [("running", during), ("open", Some(self.open)), ("closed", Some(self.closed))];
        for (when, found) in seen.into_iter().filter_map(|(when, found)| Some((when, found?))) {
            for (place, count) in found.places() {
                if !place.starts_with("control") {
                    println!("  {when}: {count:>5} × {place}");
                }
            }
        }
        // To find where a copy comes from: what stands around it.
        if std::env::var_os("KEYFERRY_MEMORY_SHOW").is_some() {
            for hit in self.open.hits.iter().chain(&self.closed.hits).filter(|hit| hit.class != "carried") {
                println!(
                    "  {} {} {}/{} at {:x}: {}",
                    hit.class, hit.form, hit.len, hit.of, hit.address, hit.around
                );
            }
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("memory-{}.json", self.name));
        std::fs::write(path, format!("{:#}\n", self.json())).expect("the report is written");
    }

    fn json(&self) -> Value {
        let of = |found: &Found| {
            let counts = classes().map(|class| {
                let (copies, secrets) = found.count(class);
                (class.to_owned(), json!({"copies": copies, "secrets": secrets}))
            });
            json!({
                "classes": serde_json::Map::from_iter(counts),
                "places": found.places(),
                "resident_bytes": found.resident,
                "read_bytes": found.read,
            })
        };
        let during: serde_json::Map<_, _> =
            classes().map(|class| (class.to_owned(), json!(self.most(class)))).into_iter().collect();
        json!({"run": self.name, "secrets": self.needles, "most_while_running": during, "open": of(self.open), "closed": of(self.closed)})
    }
}
