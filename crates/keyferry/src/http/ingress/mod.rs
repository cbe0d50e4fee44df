//! The ingress guard: one reading of the bytes, or none.
//!
//! It sits below the HTTP library and lets a request's head through only when it is complete and
//! can be read in exactly one way; then it follows the body's framing, so that it knows where the
//! next head begins. The library thus never sees bytes that two readers could take apart
//! differently, and what is refused here reaches neither a key nor a provider.
//!
//! | file | holds |
//! |---|---|
//! | `fields` | the rules for header fields, the same for HTTP/1.1 and HTTP/2 |
//! | `head` | an HTTP/1.1 head, from request line to empty line |
//! | `chunked` | the chunked coding |
//! | `scan` | heads and bodies in turn |
//! | `guard` | all that as an `AsyncRead`, with time limits |
//! | `h2` | what is left to judge of an HTTP/2 head |
//! | `frames`, `hpack`, `huffman` | the frames of HTTP/2, their header blocks written anew without secrets |
//! | `framed` | that as an `AsyncRead` |

mod chunked;
mod fields;
mod framed;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod h2;
mod head;
mod hpack;
mod huffman;
mod scan;
mod timer;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use framed::FramedIo;
pub use guard::GuardedIo;
pub use h2::judge as judge_h2;
use http::HeaderMap;
pub use scan::end_of_head;
use tokio::sync::Notify;

use super::secrets::{Mark, SecretHeaders};

/// The longest head section, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most header fields.
pub const MAX_FIELDS: usize = 64;
/// From a head's first byte to its last.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Why a request is not read on. The text is for the client and quotes nothing it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub &'static str);

/// A refused request: why, and the beginning of its target, which tells whose dialect to answer in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// 400, or 408 for what came too slowly.
    pub status: u16,
    /// The first bytes of the target, if it had any.
    pub target: String,
    /// Whether it was the body of a request whose head had passed.
    pub of_body: bool,
}

/// The target of the stand-in head that the library is given for a refused one, so that the
/// answer goes out in its turn. A client that asks for it gets a refusal too.
pub const REFUSED_TARGET: &str = "/.refused";
const STAND_IN: &[u8] = b"GET /.refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// The most heads of an HTTP/2 connection whose secrets wait for the library, and about how much
/// they take up. No more is read until it has asked about all that it takes.
const MAX_WAITING: usize = 64;
const MAX_WAITING_SIZE: usize = 64 * 1024;
/// What a buffer of a connection may keep when nothing is in it.
const MAX_KEPT: usize = 32 * 1024;

/// What a connection's guard and its service tell each other.
#[derive(Default)]
pub struct Shared {
    refusal: OnceLock<Refusal>,
    in_flight: AtomicUsize,
    /// Of heads that the library has and has not asked about yet, in their order.
    extracted: Mutex<VecDeque<Extracted>>,
    /// How often the library has asked about an HTTP/2 head.
    asked: AtomicUsize,
    ending: Notify,
    idle: Notify,
    leaving: AtomicBool,
    /// Its requests of which nobody knows who sent them.
    pub(super) unproven: AtomicUsize,
}

/// The secrets of one head, and the mark that stands in their places.
pub struct Extracted {
    /// The mark.
    pub mark: Mark,
    /// The secrets.
    pub secrets: SecretHeaders,
}

impl Shared {
    /// Why the connection was refused, if it was.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.get()
    }

    /// The connection is to end with what is being answered on it.
    pub fn end(&self) {
        self.ending.notify_one();
    }

    /// Waits until the connection is to end.
    pub async fn ending(&self) {
        self.ending.notified().await;
    }

    /// The library is to end the HTTP/2 connection as soon as nothing is answered on it. It learns so when it is
    /// polled the next time.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Waits until nothing is being answered.
    pub async fn idle(&self) {
        while self.is_busy() {
            self.idle.notified().await;
        }
    }

    /// A request is being answered until the guard is dropped.
    pub fn busy(self: &std::sync::Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(std::sync::Arc::clone(self))
    }

    /// The secrets of the next head that the library asks about. It asks once about each, in their
    /// order, except the stand-in. And whether the client has sent more heads behind it.
    pub fn next_secrets(&self) -> (Option<Extracted>, bool) {
        let mut waiting = self.waiting();
        let next = waiting.pop_front();
        (next, !waiting.is_empty())
    }

    /// The secrets of an HTTP/2 request with these headers. The library asks in the order of the
    /// heads, but not about those that it refuses itself.
    pub fn secrets_of(&self, headers: &HeaderMap) -> Option<Extracted> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if !SecretHeaders::are_in(headers) {
            return Some(Extracted { mark: Mark(0), secrets: SecretHeaders::default() });
        }
        let mut waiting = self.waiting();
        std::iter::from_fn(|| waiting.pop_front()).find(|one| one.secrets.fit(headers, one.mark))
    }

    fn keep_secrets(&self, extracted: impl Iterator<Item = Extracted>) {
        self.waiting().extend(extracted);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Extracted>> {
        self.extracted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no more secrets are to be added to those that wait.
    fn is_full(&self) -> bool {
        let waiting = self.waiting();
        waiting.len() >= MAX_WAITING
            || waiting.iter().map(|one| one.secrets.size()).sum::<usize>() >= MAX_WAITING_SIZE
    }

    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }
}

/// Wipes what was written to a buffer, and lets go of one that has grown. What is behind its end was
/// never written or wiped here before.
fn wipe(buffer: &mut Vec<u8>) {
    keyferry_secretmem::wipe(buffer);
    buffer.clear();
    if buffer.capacity() > MAX_KEPT {
        *buffer = Vec::new();
    }
}

/// The same, with what is behind the end of the buffer and may have been written before it was made shorter. It keeps its
/// size.
fn wipe_all(buffer: &mut Vec<u8>) {
    buffer.resize(buffer.capacity(), 0);
    keyferry_secretmem::wipe(buffer);
    buffer.clear();
}

/// A request that is being answered.
pub struct Busy(std::sync::Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_one();
        }
    }
}
