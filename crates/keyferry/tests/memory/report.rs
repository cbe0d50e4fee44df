//! What a scan found, as a table for people and as JSON for machines.

use std::path::Path;

use serde_json::{Value, json};

use crate::scan::Found;

/// Everything that is looked for, in the order of the table.
pub fn classes() -> [&'static str; 8] {
    ["held", "rotated", "carried", "master secret", "KEK", "DEK", "layer key", "MAC key"]
}

/// Two scans of one run.
pub struct Report<'a> {
    name: &'a str,
    needles: usize,
    open: &'a Found,
    closed: &'a Found,
}

impl<'a> Report<'a> {
    pub fn new(name: &'a str, needles: usize, open: &'a Found, closed: &'a Found) -> Self {
        Self { name, needles, open, closed }
    }

    /// Prints the table; writes `memory-NAME.json` into the folder for temporary files of the build.
    pub fn show_and_write(&self) {
        println!("\n{}: {} secrets, {} KiB resident", self.name, self.needles, self.open.resident / 1024);
        println!("{:<16} {:>22} {:>22}", "", "connections open", "connections closed");
        println!("{:<16} {:>11} {:>10} {:>11} {:>10}", "", "copies", "of secrets", "copies", "of secrets");
        for class in classes().into_iter().chain(["control"]) {
            let ((open, of_open), (closed, of_closed)) = (self.open.count(class), self.closed.count(class));
            println!("{class:<16} {open:>11} {of_open:>10} {closed:>11} {of_closed:>10}");
        }
        for (when, found) in [("open", self.open), ("closed", self.closed)] {
            for (place, count) in found.places() {
                if !place.starts_with("control") {
                    println!("  {when}: {count:>5} × {place}");
                }
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
        json!({"run": self.name, "secrets": self.needles, "open": of(self.open), "closed": of(self.closed)})
    }
}
