//! Wipes the buffer that a reader brings, each time before it is filled.
//!
//! rustls decrypts a record where it has read it to, and the plaintext stays there until the next
//! read. Each read brings the whole free part of that buffer, so a stream below rustls can wipe it:
//! an idle connection always waits in a read, and then nothing is left in it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that wipes what it is given to read into.
pub(super) struct Rinsed<T>(pub(super) T);

impl<T: AsyncRead + Unpin> AsyncRead for Rinsed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buf.initialize_unfilled().fill(0);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rinsed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// One read into a buffer that still holds something.
    fn read(stream: &mut Rinsed<tokio::io::DuplexStream>) -> (bool, [u8; 16]) {
        let mut space = [0xaa; 16];
        let mut buf = ReadBuf::new(&mut space);
        buf.set_filled(2);
        let ready = Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf).is_ready();
        (ready, space)
    }

    #[tokio::test]
    async fn what_stood_in_the_free_part_is_gone_whether_something_comes_or_not() {
        let (mut far, near) = duplex(64);
        let mut near = Rinsed(near);
        assert_eq!(read(&mut near), (false, *b"\xaa\xaa\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        far.write_all(b"abc").await.expect("room");
        assert_eq!(read(&mut near), (true, *b"\xaa\xaaabc\0\0\0\0\0\0\0\0\0\0\0"));
    }
}
