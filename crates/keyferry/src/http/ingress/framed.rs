//! An HTTP/2 connection as a stream from which the library reads frames without secrets.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroizing;

use super::{HEAD_TIME, Shared, frames::Frames, timer::Timer, wipe};

const READ_SIZE: usize = 8 * 1024;
/// How long a connection that we end takes in what was under way. Closed at once, it could reach the client as a reset,
/// for which some throw away what they have not read: that it was not served, and may be sent again.
const LINGER: Duration = Duration::from_millis(500);

/// A client's HTTP/2 connection, its secrets taken out.
pub struct FramedIo<T> {
    io: T,
    shared: Arc<Shared>,
    frames: Frames,
    /// Read from the client, not yet looked at, from here on.
    unread: Zeroizing<Vec<u8>>,
    unread_at: usize,
    /// To be read by the library.
    out: Vec<u8>,
    out_at: usize,
    /// How often the library had asked about a head when it was last told that there is nothing to read. None if there
    /// was something since.
    asked: Option<usize>,
    /// Runs while a header block is not complete.
    timer: Timer,
    /// Runs while the client owes the acknowledgement of our settings.
    unsettled: Timer,
    farewell: Farewell,
    /// Runs while a connection that we end is closed.
    linger: Timer,
}

/// How far a connection is that we end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    NotYet,
    /// The library knows.
    Said,
    /// Nothing more is written.
    Shut,
}

impl<T> FramedIo<T> {
    /// A connection of which `early` was read already: a preface of this length, and what came with it.
    pub fn new(io: T, early: Zeroizing<Vec<u8>>, preface: usize, shared: Arc<Shared>) -> Self {
        Self {
            io,
            shared,
            frames: Frames::after(preface),
            unread: early,
            unread_at: 0,
            out: Vec::new(),
            out_at: 0,
            asked: None,
            timer: Timer::default(),
            unsettled: Timer::default(),
            farewell: Farewell::NotYet,
            linger: Timer::default(),
        }
    }

    /// Takes of the input. Answers how much: all of it, unless the library has enough to read, or to ask about.
    fn feed(&mut self, input: &[u8]) -> usize {
        let block = self.frames.in_block();
        let mut at = 0;
        loop {
            let taken = self.frames.feed(&input[at..], &mut self.out);
            at += taken;
            // Before the library sees the heads they are of.
            self.shared.keep_secrets(self.frames.extracted());
            if taken == 0 || self.shared.is_full() {
                break;
            }
        }
        if self.frames.in_block() != block {
            self.timer.clear();
        }
        at
    }

    /// Takes of what was left.
    fn feed_unread(&mut self) {
        let unread = std::mem::take(&mut self.unread);
        self.unread_at += self.feed(&unread[self.unread_at..]);
        if self.unread_at < unread.len() {
            self.unread = unread;
        } else {
            self.unread_at = 0;
        }
    }

    /// There is nothing to read. The library has read every head, and takes up those that it takes before it reads again.
    /// So if it reads again and did not ask, it refused those that wait, and their secrets go.
    fn settle(&mut self, cx: &Context<'_>) {
        if self.shared.waiting().is_empty() {
            return;
        }
        let asked = self.shared.asked.load(Ordering::Relaxed);
        if self.asked.replace(asked) == Some(asked) {
            self.shared.waiting().clear();
        }
        cx.waker().wake_by_ref();
    }

    /// Whether something that was begun has not been completed in time: a header block, or the exchange of settings, until
    /// when the secrets of a client's table are kept.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let waited_for = [
            (self.frames.in_block().is_some(), &mut self.timer),
            (self.frames.owes_an_acknowledgement(), &mut self.unsettled),
        ];
        let mut overdue = false;
        for (waits, timer) in waited_for {
            if !waits {
                timer.clear();
                continue;
            }
            if !timer.is_set() {
                timer.set(HEAD_TIME);
            }
            overdue |= timer.poll_over(cx);
        }
        overdue
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
            wipe(&mut self.out);
            self.out_at = 0;
        }
        self.asked = None;
        true
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FramedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.farewell == Farewell::NotYet
                && this.shared.leaving.load(Ordering::Relaxed)
                && this.frames.say_farewell(&mut this.out)
            {
                this.farewell = Farewell::Said;
            }
            // After what broke the connection off nothing comes.
            if this.hand_out(buf) || this.frames.is_broken() {
                return Poll::Ready(Ok(()));
            }
            if this.shared.is_full() {
                this.settle(cx);
                return Poll::Pending;
            }
            if !this.unread.is_empty() {
                this.feed_unread();
                continue;
            }
            let passing = this.frames.passing().min(buf.remaining());
            if passing > 0 {
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(passing));
                let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, &mut part) else {
                    if this.is_overdue(cx) {
                        this.frames.break_off(&mut this.out);
                        continue;
                    }
                    this.settle(cx);
                    return Poll::Pending;
                };
                read?;
                let read = part.filled().len();
                buf.advance(read);
                this.frames.passed(read);
                this.asked = None;
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
                Poll::Pending => {
                    this.settle(cx);
                    return Poll::Pending;
                }
            }
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let taken = this.feed(part.filled());
            this.unread.extend_from_slice(&part.filled()[taken..]);
            keyferry_secretmem::wipe(part.filled_mut());
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FramedIo<T> {
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
        let this = self.get_mut();
        if this.farewell != Farewell::Shut {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if this.farewell == Farewell::NotYet {
                return Poll::Ready(Ok(()));
            }
            this.farewell = Farewell::Shut;
            this.linger.set(LINGER);
        }
        let mut space = Zeroizing::new([0; 1024]);
        loop {
            let mut part = ReadBuf::new(&mut *space);
            match Pin::new(&mut this.io).poll_read(cx, &mut part) {
                Poll::Ready(Ok(())) if !part.filled().is_empty() => {}
                Poll::Pending if !this.linger.poll_over(cx) => return Poll::Pending,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
