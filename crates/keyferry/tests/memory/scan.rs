//! Reads the memory of a process and finds secrets in it, whole or in part.
//!
//! All secrets are looked for at once: the first eight bytes of every 16-byte window of every shape are in one table, and
//! each position of the memory is looked up there. A copy that lost its beginning or its end is found as well, as long as
//! 16 bytes of it are left.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use crate::forms::Form;

/// So many bytes in a row of a secret count as a copy.
const WINDOW: usize = 16;
/// Read at once.
const CHUNK: usize = 4 << 20;

/// What is looked for.
#[derive(Default)]
pub struct Needles {
    secrets: Vec<Secret>,
    forms: Vec<(usize, Form)>,
    /// The first half of a window to where it is: form and offset.
    windows: HashMap<u64, Vec<(u32, u32)>>,
    /// A bit for each hash of a first half that is there.
    filter: Vec<u64>,
}

struct Secret {
    class: &'static str,
}

/// A copy.
#[derive(Clone, Debug)]
pub struct Hit {
    pub class: &'static str,
    pub secret: usize,
    pub form: &'static str,
    /// Bytes of the form that are there.
    pub len: usize,
    pub of: usize,
    pub map: String,
    pub address: usize,
    /// What stands around it.
    pub around: String,
}

/// What was found in a process.
#[derive(Debug, Default)]
pub struct Found {
    pub hits: Vec<Hit>,
    /// Resident bytes of all mappings that can be read, and of those that were.
    pub resident: usize,
    pub read: usize,
}

/// The first eight bytes.
fn start_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

const BITS: u32 = 22;

fn slot(first: u64) -> usize {
    (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

impl Needles {
    /// Adds a secret; windows that lie within its first `common` bytes and eight more are not its own.
    pub fn add(&mut self, class: &'static str, forms: Vec<Form>, common: usize) {
        self.filter.resize(1 << (BITS - 6), 0);
        let secret = self.secrets.len();
        self.secrets.push(Secret { class });
        for form in forms {
            let number = self.forms.len() as u32;
            let plain = matches!(form.name, "raw" | "sha-256");
            let from = if plain { common.saturating_sub(WINDOW - 8) } else { 0 };
            for (offset, window) in form.bytes.windows(WINDOW).enumerate().skip(from) {
                let first = u64::from_le_bytes(window[..8].try_into().expect("eight bytes"));
                self.filter[slot(first) / 64] |= 1 << (slot(first) % 64);
                self.windows.entry(first).or_default().push((number, offset as u32));
            }
            self.forms.push((secret, form));
        }
    }

    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Every copy in `bytes`, each as long as it is.
    #[expect(clippy::cast_lossless, reason = "in a debug build a call would cost more than the rest")]
    fn search(&self, bytes: &[u8], mut found: impl FnMut(usize, usize, usize)) {
        let mut at = 0;
        while at + WINDOW <= bytes.len() {
            // Most memory is zero.
            if bytes.len() - at >= 4096 && bytes[at..at + 4096] == ZEROS {
                at += 4096 - WINDOW + 1;
                continue;
            }
            let end = (at + 4096).min(bytes.len() + 1 - WINDOW);
            let mut first = start_of(&bytes[at..]);
            while at < end {
                let slot = slot(first);
                if self.filter[slot >> 6] >> (slot & 63) & 1 == 1
                    && let Some((form, len)) = self.longest(first, &bytes[at..])
                {
                    found(at, form, len);
                    at += len;
                    if at + WINDOW <= bytes.len() {
                        first = start_of(&bytes[at..]);
                    }
                } else {
                    first = first >> 8 | (bytes[at + 8] as u64) << 56;
                    at += 1;
                }
            }
        }
    }

    /// The form that fits best at the beginning of `bytes`, and how much of it is there.
    fn longest(&self, first: u64, bytes: &[u8]) -> Option<(usize, usize)> {
        let places = self.windows.get(&first)?;
        let fits = places.iter().map(|&(form, offset)| {
            let form = form as usize;
            let rest = &self.forms[form].1.bytes[offset as usize..];
            (form, rest.iter().zip(bytes).take_while(|(a, b)| a == b).count())
        });
        fits.filter(|&(_, len)| len >= WINDOW).max_by_key(|&(_, len)| len)
    }

    /// Reads all memory of a process.
    pub fn scan(&self, pid: u32) -> io::Result<Found> {
        self.scan_where(pid, |_| true)
    }

    /// Reads what a process can write to: enough for a sample.
    pub fn sample(&self, pid: u32) -> io::Result<Found> {
        self.scan_where(pid, |map| map.name.contains('w'))
    }

    fn scan_where(&self, pid: u32, wanted: impl Fn(&Map) -> bool) -> io::Result<Found> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let longest = self.forms.iter().map(|(_, form)| form.bytes.len()).max().unwrap_or(0);
        let mut found = Found::default();
        let mut buffer = vec![0; CHUNK];
        for map in maps(pid)?.into_iter().filter(wanted) {
            found.resident += map.resident;
            let mut at = map.start;
            let mut whole = true;
            while at < map.end {
                let want = CHUNK.min(map.end - at);
                let Ok(got) = memory.read_at(&mut buffer[..want], at as u64) else {
                    whole = false;
                    break;
                };
                if got == 0 {
                    whole = false;
                    break;
                }
                self.search(&buffer[..got], |offset, form, len| {
                    let (secret, form) = &self.forms[form];
                    found.hits.push(Hit {
                        class: self.secrets[*secret].class,
                        secret: *secret,
                        form: form.name,
                        len,
                        of: form.bytes.len(),
                        map: map.name.clone(),
                        address: at + offset,
                        around: around(&buffer[..got], offset, len),
                    });
                });
                // What lies across two pieces is read again; a copy wholly in the overlap is counted once below.
                at += if got < want || at + got == map.end { got } else { got - longest };
            }
            if whole {
                found.read += map.resident;
            }
        }
        found.hits.sort_by_key(|hit| (hit.address, std::cmp::Reverse(hit.len)));
        found.hits.dedup_by(|later, first| later.address < first.address + first.len);
        Ok(found)
    }
}

const ZEROS: [u8; 4096] = [0; 4096];

impl Found {
    /// Copies of a class, and how many different secrets they are of.
    pub fn count(&self, class: &str) -> (usize, usize) {
        let of_class: Vec<usize> =
            self.hits.iter().filter(|hit| hit.class == class).map(|hit| hit.secret).collect();
        let mut distinct = of_class.clone();
        distinct.sort_unstable();
        distinct.dedup();
        (of_class.len(), distinct.len())
    }

    /// Where the copies are: class, kind of memory, form and how many.
    pub fn places(&self) -> BTreeMap<String, usize> {
        let mut places = BTreeMap::new();
        for hit in &self.hits {
            let whole = if hit.len == hit.of { "whole" } else { "part" };
            *places.entry(format!("{}: {} {whole} in {}", hit.class, hit.form, hit.map)).or_default() += 1;
        }
        places
    }
}

/// The bytes on both sides of a copy, without the copy itself.
fn around(bytes: &[u8], at: usize, len: usize) -> String {
    let before = &bytes[at.saturating_sub(400)..at];
    let after = &bytes[at + len..(at + len + 100).min(bytes.len())];
    format!("{} … {}", before.escape_ascii(), after.escape_ascii())
}

struct Map {
    start: usize,
    end: usize,
    name: String,
    resident: usize,
}

/// The mappings of a process that have memory and can be read: all but the kernel's own and secret ones.
fn maps(pid: u32) -> io::Result<Vec<Map>> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut maps: Vec<Map> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-')
            && let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
        {
            let access = words.next().unwrap_or_default();
            let name: Vec<&str> = words.skip(3).collect();
            let kind =
                if name.is_empty() { "[anon]" } else { name[0].rsplit('/').next().unwrap_or_default() };
            maps.push(Map { start, end, name: format!("{access} {kind}"), resident: 0 });
        } else if first == "Rss:"
            && let Some(map) = maps.last_mut()
        {
            map.resident = words.next().and_then(|kib| kib.parse().ok()).unwrap_or(0) * 1024;
        }
    }
    let ours =
        |map: &Map| map.resident > 0 && !["secretmem", "[v"].iter().any(|kind| map.name.contains(kind));
    Ok(maps.into_iter().filter(ours).collect())
}

#[test]
fn whole_and_clipped_copies_are_found_and_strangers_are_not() {
    let mut needles = Needles::default();
    let secret = b"sk-proj-a1b2c3d4e5f6g7h8i9j0k1l2";
    needles.add("key", crate::forms::of_text(secret), 8);
    let hex: Vec<u8> = secret.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    let mut bytes = vec![0; 20_000];
    bytes[5_000..5_032].copy_from_slice(secret);
    bytes[8_187..8_203].copy_from_slice(&secret[10..26]);
    bytes[12_000..12_064].copy_from_slice(&hex);
    bytes[15_000..15_015].copy_from_slice(&secret[10..25]);
    bytes[16_000..16_008].copy_from_slice(b"sk-proj-");
    let mut hits = Vec::new();
    needles.search(&bytes, |at, form, len| hits.push((at, needles.forms[form].1.name, len)));
    // The first bytes of the first one are what every key begins with.
    assert_eq!(hits, [(5_000, "raw", 32), (8_187, "raw", 16), (12_000, "hex", 64)]);
}
