//! Late injection: the key goes in below the HTTP library, on its way into the TLS record.
//!
//! The library is given a placeholder: random, as long as the key, new for each request. The
//! [`Injector`] sits between it and the connection. It lets nothing of a request's head out until
//! the head is complete, finds the placeholder in the one header it belongs to, and writes what
//! stands before it, the key from its own memory, and what stands after it. So no header map, no
//! pooled buffer, no trace and no error of the library can hold a key.
//!
//! If the placeholder is not there exactly once, in the header it was meant for, the connection
//! ends before a byte of the head has left.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use http::HeaderValue;
use keyferry_core::provider::AuthSlot;
use keyferry_envelope::{ApiKey, Entropy};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest head that is written to a provider.
const MAX_HEAD: usize = 64 * 1024;

/// A key that is to replace its placeholder in the next head of a connection.
pub(super) struct Armed {
    placeholder: Vec<u8>,
    slot: AuthSlot,
    key: Arc<ApiKey>,
}

impl Armed {
    /// Makes a placeholder for a key.
    pub(super) fn new(slot: AuthSlot, key: Arc<ApiKey>, entropy: &dyn Entropy) -> Self {
        const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
        let mut placeholder = vec![0; key.len()];
        entropy.fill(&mut placeholder);
        for byte in &mut placeholder {
            *byte = ALPHABET[usize::from(*byte & 63)];
        }
        Self { placeholder, slot, key }
    }

    /// The header value that the HTTP library is given.
    pub(super) fn header_value(&self) -> HeaderValue {
        let value = [self.slot.scheme().as_bytes(), &self.placeholder].concat();
        HeaderValue::from_bytes(&value).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Where in a head the placeholder is, if it stands once and as the value of its header.
    fn find(&self, head: &[u8]) -> Option<usize> {
        let mut places = memmem::find_iter(head, &self.placeholder);
        let at = places.next()?;
        if places.next().is_some() {
            return None;
        }
        let line = memmem::rfind(&head[..at], b"\r\n")? + 2;
        let before = format!("{}: {}", self.slot.header(), self.slot.scheme());
        let stands_alone = head[at + self.placeholder.len()..].starts_with(b"\r\n");
        (head[line..at].eq_ignore_ascii_case(before.as_bytes()) && stands_alone).then_some(at)
    }
}

/// Where the next key of a connection waits.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Armed>>>);

impl Slot {
    /// Arms the connection for its next request.
    pub(super) fn arm(&self, armed: Armed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(armed);
    }

    /// Whether a key waits that was never sent.
    pub(super) fn is_armed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take(&self) -> Option<Armed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A connection that puts keys in.
pub(super) struct Injector<T> {
    io: T,
    slot: Slot,
    /// The head of the armed request, as far as the library has written it.
    head: Vec<u8>,
    /// A complete head on its way out.
    leaving: Option<Leaving>,
}

struct Leaving {
    armed: Armed,
    /// Where the placeholder stands in the head.
    at: usize,
    /// How much of the head has left.
    sent: usize,
}

impl Leaving {
    /// What is still to be written, in order.
    fn rest<'a>(&'a self, head: &'a [u8]) -> [&'a [u8]; 3] {
        let key = self.armed.key.expose();
        let parts = [&head[..self.at], key, &head[self.at + key.len()..]];
        let mut skip = self.sent;
        parts.map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            &part[skipped..]
        })
    }
}

impl<T: AsyncWrite + Unpin> Injector<T> {
    pub(super) fn new(io: T, slot: Slot) -> Self {
        Self { io, slot, head: Vec::new(), leaving: None }
    }

    #[cfg(fuzzing)]
    pub(super) fn into_wire(self) -> T {
        self.io
    }

    /// Takes what belongs to the armed head out of `buf`; answers how many bytes that were.
    fn collect(&mut self, buf: &[u8]) -> io::Result<usize> {
        let before = self.head.len();
        // The end may lie across two writes.
        let from = before.saturating_sub(3);
        self.head.extend_from_slice(buf);
        let Some(end) = memmem::find(&self.head[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
            if self.head.len() > MAX_HEAD {
                return Err(io::Error::other("request head too long"));
            }
            return Ok(buf.len());
        };
        self.head.truncate(end);
        let armed = self.slot.take().ok_or_else(misplaced)?;
        let at = armed.find(&self.head).ok_or_else(misplaced)?;
        self.leaving = Some(Leaving { armed, at, sent: 0 });
        Ok(end - before)
    }

    /// Writes the complete head, and as much of `body` as goes with it in one call.
    fn poll_leave(&mut self, cx: &mut Context<'_>, body: &[u8]) -> Poll<io::Result<usize>> {
        while let Some(leaving) = &mut self.leaving {
            let [before, key, after] = leaving.rest(&self.head);
            let left = before.len() + key.len() + after.len();
            let slices = [before, key, after, body].map(IoSlice::new);
            let written = if self.io.is_write_vectored() {
                ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices))?
            } else {
                let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |s| s);
                ready!(Pin::new(&mut self.io).poll_write(cx, first))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if written < left {
                leaving.sent += written;
                continue;
            }
            self.leaving = None;
            self.head.clear();
            return Poll::Ready(Ok(written - left));
        }
        Poll::Ready(Ok(0))
    }
}

fn misplaced() -> io::Error {
    io::Error::other("the placeholder of the key is not in its place")
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Injector<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.leaving.is_some() {
            let taken = ready!(self.poll_leave(cx, buf))?;
            if taken > 0 || buf.is_empty() {
                return Poll::Ready(Ok(taken));
            }
        }
        if !self.slot.is_armed() {
            return Pin::new(&mut self.io).poll_write(cx, buf);
        }
        let of_head = self.collect(buf)?;
        // From here the head counts as written, so this call must not end in Pending.
        match self.poll_leave(cx, &buf[of_head..]) {
            Poll::Ready(Ok(of_body)) => Poll::Ready(Ok(of_head + of_body)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Ready(Ok(of_head)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.leaving.is_none() && !this.slot.is_armed() {
            return Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        Pin::new(this).poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_leave(cx, &[]))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Injector<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_envelope::{SecretBytes, SystemEntropy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn key() -> Arc<ApiKey> {
        let secret = SecretBytes::new(b"sk-test-0123456789abcdef".to_vec());
        Arc::new(ApiKey::parse(secret).expect("valid"))
    }

    /// Writes the parts one after the other through a pipe this wide; answers what arrives.
    async fn pass(slot: &Slot, parts: &[&[u8]], width: usize) -> io::Result<Vec<u8>> {
        let (near, mut far) = tokio::io::duplex(width);
        let mut injector = Injector::new(near, slot.clone());
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            far.read_to_end(&mut seen).await.map(|_| seen)
        });
        let mut result = Ok(());
        for part in parts {
            result = injector.write_all(part).await;
            if result.is_err() {
                break;
            }
        }
        let flushed = if result.is_ok() { injector.flush().await } else { Ok(()) };
        drop(injector);
        let seen = reader.await.expect("reader")?;
        match result.and(flushed) {
            Ok(()) => Ok(seen),
            Err(error) => {
                assert!(seen.is_empty(), "a byte left before the refusal");
                Err(error)
            }
        }
    }

    fn armed(slot: AuthSlot) -> (Slot, Vec<u8>) {
        let waiting = Slot::default();
        let armed = Armed::new(slot, key(), &SystemEntropy);
        let value = armed.header_value().as_bytes().to_vec();
        waiting.arm(armed);
        (waiting, value)
    }

    #[tokio::test]
    async fn the_key_replaces_its_placeholder_however_the_head_is_split() {
        let body = b"{\"x\":1}".repeat(30);
        for width in [1, 7, 64, 4096] {
            for cut in [1, 5, 20, 40, 60, 80, 100] {
                let (slot, value) = armed(AuthSlot::Bearer);
                let head =
                    [b"POST /v1 HTTP/1.1\r\nauthorization: ".as_slice(), &value, b"\r\nhost: a\r\n\r\n"];
                let message = [head.concat(), body.clone()].concat();
                let cut = cut.min(message.len());
                let seen = pass(&slot, &[&message[..cut], &message[cut..]], width).await.expect("passes");
                let text = String::from_utf8_lossy(&seen);
                assert!(text.contains("authorization: Bearer sk-test-0123456789abcdef\r\n"), "{width} {cut}");
                assert_eq!(seen.len(), message.len());
                assert!(text.ends_with(&*String::from_utf8_lossy(&body)));
                assert!(!slot.is_armed());
            }
        }
    }

    #[tokio::test]
    async fn a_placeholder_that_is_missing_twice_or_elsewhere_ends_the_connection() {
        let (slot, _) = armed(AuthSlot::XApiKey);
        assert!(pass(&slot, &[b"GET / HTTP/1.1\r\nx-api-key: other\r\n\r\n"], 4096).await.is_err());

        let (slot, value) = armed(AuthSlot::XApiKey);
        let twice =
            [b"GET / HTTP/1.1\r\nx-api-key: ".as_slice(), &value, b"\r\nx-two: ", &value, b"\r\n\r\n"];
        assert!(pass(&slot, &[&twice.concat()], 4096).await.is_err());

        let (slot, value) = armed(AuthSlot::XApiKey);
        let elsewhere = [b"GET / HTTP/1.1\r\nuser-agent: ".as_slice(), &value, b"\r\n\r\n"];
        assert!(pass(&slot, &[&elsewhere.concat()], 4096).await.is_err());

        let (slot, value) = armed(AuthSlot::XApiKey);
        let longer = [b"GET / HTTP/1.1\r\nx-api-key: ".as_slice(), &value, b"more\r\n\r\n"];
        assert!(pass(&slot, &[&longer.concat()], 4096).await.is_err());
    }

    #[tokio::test]
    async fn a_placeholder_in_the_body_stays_what_it_is() {
        let (slot, value) = armed(AuthSlot::XApiKey);
        let message = [b"POST / HTTP/1.1\r\nx-api-key: ".as_slice(), &value, b"\r\n\r\n", &value];
        let seen = pass(&slot, &[&message.concat()], 4096).await.expect("passes");
        assert!(seen.ends_with(&value));
        assert_eq!(memmem::find_iter(&seen, key().expose()).count(), 1);
    }
}
