//! An HTTP/2 connection as a stream from which the library reads frames without secrets.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::{Zeroize, Zeroizing};

use super::{HEAD_TIME, Shared, frames::Frames, timer::Timer};

const READ_SIZE: usize = 8 * 1024;

/// A client's HTTP/2 connection, its secrets taken out.
pub struct FramedIo<T> {
    io: T,
    shared: Arc<Shared>,
    frames: Frames,
    /// Read from the client before, not yet looked at.
    early: Zeroizing<Vec<u8>>,
    /// To be read by the library.
    out: Vec<u8>,
    out_at: usize,
    /// Runs while a header block is not complete.
    timer: Timer,
}

impl<T> FramedIo<T> {
    /// A connection of which `early` was read already: a preface of this length, and what came with it.
    pub fn new(io: T, early: Zeroizing<Vec<u8>>, preface: usize, shared: Arc<Shared>) -> Self {
        let frames = Frames::after(preface);
        Self { io, shared, frames, early, out: Vec::new(), out_at: 0, timer: Timer::default() }
    }

    fn feed(&mut self, input: &[u8]) {
        let block = self.frames.in_block();
        self.frames.feed(input, &mut self.out);
        if self.frames.in_block() != block {
            self.timer.clear();
        }
        // Before the library sees the heads they are of.
        self.shared.keep_newest(self.frames.extracted());
    }

    /// Whether a header block has not been completed in time.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        if self.frames.in_block().is_none() {
            return false;
        }
        if !self.timer.is_set() {
            self.timer.set(HEAD_TIME);
        }
        self.timer.poll_over(cx)
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let waiting = &self.out[self.out_at..];
        if waiting.is_empty() {
            return false;
        }
        let taken = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..taken]);
        self.out_at += taken;
        if self.out_at == self.out.len() {
            self.out.zeroize();
            self.out_at = 0;
        }
        true
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FramedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let early = std::mem::take(&mut this.early);
            this.feed(&early);
        }
        loop {
            // After what broke the connection off nothing comes.
            if this.hand_out(buf) || this.frames.is_broken() {
                return Poll::Ready(Ok(()));
            }
            let passing = this.frames.passing().min(buf.remaining());
            if passing > 0 {
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(passing));
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
                let read = part.filled().len();
                buf.advance(read);
                this.frames.passed(read);
                return Poll::Ready(Ok(()));
            }
            let mut space = [std::mem::MaybeUninit::uninit(); READ_SIZE];
            let mut part = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.io).poll_read(cx, &mut part) {
                Poll::Ready(read) => read?,
                Poll::Pending if this.is_overdue(cx) => {
                    this.frames.break_off(&mut this.out);
                    continue;
                }
                Poll::Pending => return Poll::Pending,
            }
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.feed(part.filled());
            part.filled_mut().zeroize();
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FramedIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
