//! Late injection: a request on its way out. The key goes in here and nowhere before.
//!
//! Head, key and body are handed to the connection as pieces, each from where it lies: the key from its locked memory.
//! So there is no buffer in which a whole head with a key stands, neither in this program nor in a library above TLS.
//! What a connection has not taken yet is handed to it again from the same places.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body;
use keyferry_core::provider::AuthSlot;
use keyferry_envelope::ApiKey;
use tokio::io::AsyncWrite;

use super::{ForwardBody, UploadError, request::RequestHead};
use crate::http::Short;

/// What stands between the key, or the headers, and the body.
type End = Short<64>;

/// Why a request could not be written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The connection took no more.
    Io(io::Error),
    /// The client's upload ended badly.
    Upload(UploadError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A request that is being written.
pub(super) struct Outgoing<'r> {
    head: &'r [u8],
    key: Option<&'r (AuthSlot, Arc<ApiKey>)>,
    end: End,
    /// What goes with the head.
    body: Bytes,
    /// How much of all these is out.
    sent: usize,
    upload: Option<Upload<'r>>,
    /// Something was written that is not flushed.
    unflushed: bool,
}

/// A body that comes while it is written.
struct Upload<'r> {
    body: &'r mut ForwardBody,
    /// How much of the length that was announced has not come yet; without one, it goes out in chunks.
    left: Option<u64>,
    /// The last chunk is out as well.
    over: bool,
}

impl<'r> Outgoing<'r> {
    pub(super) fn new(
        head: &'r RequestHead,
        key: Option<&'r (AuthSlot, Arc<ApiKey>)>,
        body: &'r mut ForwardBody,
    ) -> Self {
        let mut end = End::default();
        if key.is_some() {
            end.text("\r\n");
        }
        let length = body.size_hint().exact();
        match length {
            Some(0) if !head.says_length() => {}
            Some(length) => {
                end.text("content-length: ").number(length).text("\r\n");
            }
            None => {
                end.text("transfer-encoding: chunked\r\n");
            }
        }
        end.text("\r\n");
        let (whole, upload) = match body {
            ForwardBody::Empty => (Bytes::new(), None),
            // It stays where it is: if nothing is sent, it goes out on another connection.
            ForwardBody::Full(bytes) => (bytes.clone(), None),
            ForwardBody::Upload { .. } => (Bytes::new(), Some(Upload { body, left: length, over: false })),
        };
        Self { head: head.text(), key, end, body: whole, sent: 0, upload, unflushed: false }
    }

    /// Whether nothing of it was taken. A TLS session that failed may have sent the beginning of what it says it did not
    /// take, but never the end.
    pub(super) fn is_unsent(&self) -> bool {
        self.sent == 0
    }

    /// Whether all of it has left.
    pub(super) fn is_out(&self) -> bool {
        self.upload.is_none() && !self.unflushed && self.sent == self.length()
    }

    /// What goes out next to each other: all up to the body, and what is here of that.
    fn parts(&self) -> [&[u8]; 7] {
        let (name, scheme, key): (&str, &str, &[u8]) = match self.key {
            Some((slot, key)) => (slot.header(), slot.scheme(), key.expose()),
            None => ("", "", b""),
        };
        let colon: &[u8] = if name.is_empty() { b"" } else { b": " };
        let end = self.end.as_str().unwrap_or_default().as_bytes();
        [self.head, name.as_bytes(), colon, scheme.as_bytes(), key, end, &self.body]
    }

    fn length(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// Writes as much as the connection takes; ready when all of it is out.
    pub(super) fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            ready!(self.poll_write_here(cx, io))?;
            match self.upload.as_mut().map(|upload| upload.poll_next(cx)) {
                None => return self.poll_flush(cx, io),
                Some(Poll::Ready(next)) => match next.map_err(WriteError::Upload)? {
                    Some(next) => self.go_on_with(next),
                    None => self.upload = None,
                },
                // What is here must not wait for what is not.
                Some(Poll::Pending) => {
                    ready!(self.poll_flush(cx, io))?;
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_flush<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<Result<(), WriteError>> {
        if self.unflushed {
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is here.
    fn poll_write_here<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            let mut slices = self.parts().map(IoSlice::new);
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, self.sent);
            if rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            self.sent += written;
            self.unflushed = true;
        }
    }

    /// The next piece of an upload stands where the body of others does; all before it is out.
    fn go_on_with(&mut self, piece: Bytes) {
        self.sent -= self.body.len();
        self.body = piece;
    }
}

impl Upload<'_> {
    /// The next piece as it is written; `None` when that was the last. One that has another length than was announced would
    /// leave a provider waiting for the rest, and taking the next request for it.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UploadError>> {
        if self.over {
            return Poll::Ready(Ok(None));
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut *self.body).poll_frame(cx)).transpose()? else {
                self.over = true;
                return Poll::Ready(match self.left {
                    Some(0) => Ok(None),
                    Some(_) => Err(UploadError::Cut),
                    None => Ok(Some(Bytes::from_static(b"0\r\n\r\n"))),
                });
            };
            let Ok(data) = frame.into_data() else { continue };
            // An empty chunk would be the end.
            if data.is_empty() {
                continue;
            }
            let Some(left) = &mut self.left else {
                let chunk = [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat();
                return Poll::Ready(Ok(Some(chunk.into())));
            };
            *left = left.checked_sub(data.len() as u64).ok_or(UploadError::TooLong)?;
            return Poll::Ready(Ok(Some(data)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Method;
    use keyferry_core::net::host::ProviderHost;
    use keyferry_envelope::SecretBytes;
    use memchr::memmem;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    const KEY: &[u8] = b"sk-test-0123456789abcdef";

    fn head(method: &Method) -> RequestHead {
        let host = ProviderHost::parse("api.openai.com").expect("a host");
        RequestHead::new(method, "/v1", &host).expect("a path")
    }

    fn key(slot: AuthSlot) -> (AuthSlot, Arc<ApiKey>) {
        (slot, Arc::new(ApiKey::parse(SecretBytes::new(KEY.to_vec())).expect("valid")))
    }

    /// What arrives through a pipe this wide.
    async fn sent(
        method: Method,
        key: Option<(AuthSlot, Arc<ApiKey>)>,
        body: &[u8],
        width: usize,
    ) -> Vec<u8> {
        let (mut near, mut far) = duplex(width);
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            far.read_to_end(&mut seen).await.map(|_| seen)
        });
        let mut body = match body {
            b"" => ForwardBody::Empty,
            body => ForwardBody::Full(Bytes::copy_from_slice(body)),
        };
        let head = head(&method);
        let mut outgoing = Outgoing::new(&head, key.as_ref(), &mut body);
        assert!(outgoing.is_unsent() && !outgoing.is_out());
        poll_fn(|cx| outgoing.poll_write(cx, &mut near)).await.expect("it is written");
        assert!(outgoing.is_out() && !outgoing.is_unsent());
        drop(near);
        reader.await.expect("the reader").expect("it is read")
    }

    #[tokio::test]
    async fn the_key_stands_in_its_header_and_nowhere_else_however_little_the_connection_takes() {
        let body = b"{\"x\":1}".repeat(30);
        for (slot, line) in [
            (AuthSlot::Bearer, "authorization: Bearer sk-test-0123456789abcdef\r\n"),
            (AuthSlot::XApiKey, "x-api-key: sk-test-0123456789abcdef\r\n"),
            (AuthSlot::XGoogApiKey, "x-goog-api-key: sk-test-0123456789abcdef\r\n"),
        ] {
            for width in [1, 2, 7, 64, 4096] {
                let seen = sent(Method::POST, Some(key(slot)), &body, width).await;
                let before = "POST /v1 HTTP/1.1\r\nhost: api.openai.com\r\n";
                let text =
                    format!("{before}{line}content-length: 210\r\n\r\n{}", String::from_utf8_lossy(&body));
                assert_eq!(String::from_utf8_lossy(&seen), text, "{width}");
                assert_eq!(memmem::find_iter(&seen, KEY).count(), 1);
            }
        }
    }

    #[tokio::test]
    async fn a_request_without_a_key_has_no_header_for_one() {
        let seen = sent(Method::GET, None, b"", 64).await;
        assert_eq!(seen, b"GET /v1 HTTP/1.1\r\nhost: api.openai.com\r\n\r\n");
    }

    #[tokio::test]
    async fn that_there_is_no_body_is_said_where_one_would_mean_something() {
        let seen = sent(Method::POST, None, b"", 64).await;
        assert!(seen.ends_with(b"\r\ncontent-length: 0\r\n\r\n"));
        let seen = sent(Method::DELETE, None, b"", 64).await;
        assert!(memmem::find(&seen, b"content-length").is_none());
    }

    #[tokio::test]
    async fn what_a_connection_does_not_take_is_still_there_for_another() {
        let (mut near, far) = duplex(64);
        drop(far);
        let mut body = ForwardBody::Full(Bytes::from_static(b"{}"));
        let (head, key) = (head(&Method::POST), key(AuthSlot::Bearer));
        let mut outgoing = Outgoing::new(&head, Some(&key), &mut body);
        assert!(poll_fn(|cx| outgoing.poll_write(cx, &mut near)).await.is_err());
        assert!(outgoing.is_unsent());
        assert!(matches!(body, ForwardBody::Full(bytes) if bytes == "{}"));
    }
}
