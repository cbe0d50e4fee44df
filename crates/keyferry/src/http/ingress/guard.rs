//! The guard as a stream: what it reads from the client, the HTTP library may read from it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroizing;

use super::{
    HEAD_TIME, Reason, Refusal, STAND_IN, Shared,
    scan::{Scanner, Verdict},
    timer::Timer,
    wipe_all,
};

/// Between two pieces of a body.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// Between two requests.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// While the client takes nothing of an answer.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// After the last byte of an answer, for the client to take it before the connection is reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 512 * 1024;
const READ_SIZE: usize = 8 * 1024;

/// A client's connection behind the ingress guard.
pub struct GuardedIo<T> {
    io: T,
    shared: Arc<Shared>,
    scanner: Scanner,
    /// Read from the client, not yet scanned, only before the first read.
    early: Zeroizing<Vec<u8>>,
    /// Judged good, not yet read by the library.
    out: Vec<u8>,
    out_at: usize,
    body_broken: bool,
    read_timer: Timer,
    write_timer: Timer,
    linger: Option<(Timer, usize)>,
}

impl<T> GuardedIo<T> {
    /// Guards a connection of which `early` was read already.
    pub fn new(io: T, early: Zeroizing<Vec<u8>>, shared: Arc<Shared>) -> Self {
        Self {
            io,
            shared,
            scanner: Scanner::new(),
            early,
            out: Vec::new(),
            out_at: 0,
            body_broken: false,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            linger: None,
        }
    }

    fn scan(&mut self, input: &[u8]) {
        let verdict = self.scanner.scan(input, &mut self.out);
        // Before the library sees the heads they are of.
        self.shared.keep_secrets(self.scanner.extracted());
        match verdict {
            Verdict::Taken => {}
            Verdict::HeadRefused(refusal) => self.refused(refusal),
            Verdict::BodyRefused(refusal) => {
                self.body_broken = true;
                self.refused(refusal);
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        crate::telemetry::metrics::refused();
        let _ = self.shared.refusal.set(refusal);
    }

    /// Moves judged bytes into the library's buffer.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let waiting = &self.out[self.out_at..];
        if waiting.is_empty() {
            return false;
        }
        let taken = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..taken]);
        self.out_at += taken;
        if self.out_at == self.out.len() {
            wipe_all(&mut self.out);
            self.out_at = 0;
        }
        true
    }

    /// The client is too slow: what is being read is refused, or an idle connection ends.
    fn overdue(&mut self) -> Overdue {
        if self.scanner.between_requests() {
            return if self.shared.is_busy() { Overdue::NotIdle } else { Overdue::End };
        }
        let in_head = self.scanner.in_head();
        let refusal = self.scanner.refuse(Reason("The request came too slowly."), 408);
        self.refused(refusal);
        if in_head {
            self.out.extend_from_slice(STAND_IN);
        } else {
            self.body_broken = true;
        }
        Overdue::Refused
    }

    fn patience(&self) -> Duration {
        if self.scanner.between_requests() {
            IDLE_TIME
        } else if self.scanner.in_head() {
            HEAD_TIME
        } else {
            BODY_PAUSE
        }
    }
}

enum Overdue {
    NotIdle,
    End,
    Refused,
}

impl<T: AsyncRead + Unpin> GuardedIo<T> {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        // Bytes of a plain body go straight into the library's buffer.
        let plain = usize::try_from(self.scanner.plain_body()).unwrap_or(usize::MAX);
        if plain > 0 {
            let room = plain.min(buf.remaining());
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
            self.scanner.passed(read as u64);
            return Poll::Ready(Ok(read));
        }
        let mut space = [std::mem::MaybeUninit::uninit(); READ_SIZE];
        let mut part = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        let was_in_head = self.scanner.in_head();
        self.scan(part.filled());
        keyferry_secretmem::wipe(part.filled_mut());
        // A head has one time limit from its first byte on; every other wait begins anew.
        if was_in_head && self.scanner.in_head() && self.read_timer.is_set() {
            return Poll::Ready(Ok(read));
        }
        self.read_timer.clear();
        Poll::Ready(Ok(read))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let early = std::mem::take(&mut this.early);
            this.scan(&early);
        }
        loop {
            if this.hand_out(buf) {
                return Poll::Ready(Ok(()));
            }
            if this.body_broken {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if this.scanner.is_refused() {
                // The answer to the stand-in ends the connection.
                return Poll::Pending;
            }
            let before = buf.filled().len();
            match this.poll_fill(cx, buf) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) if buf.filled().len() > before => {
                    this.read_timer.clear();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if !this.read_timer.is_set() {
                        this.read_timer.set(this.patience());
                    }
                    if !this.read_timer.poll_over(cx) {
                        return Poll::Pending;
                    }
                    this.read_timer.clear();
                    if matches!(this.overdue(), Overdue::End) {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> GuardedIo<T> {
    fn watch<R>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.write_timer.clear();
            return progress;
        }
        if !self.write_timer.is_set() {
            self.write_timer.set(WRITE_STALL);
        }
        if self.write_timer.poll_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, progress)
    }

    /// Ends the answer, then reads on for a moment and throws it away: closing a socket with
    /// unread input would reset it, and the client would never see why it was refused.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            let mut timer = Timer::default();
            timer.set(LINGER);
            this.linger = Some((timer, LINGER_BYTES));
        }
        let Some((timer, left)) = &mut this.linger else { return Poll::Ready(Ok(())) };
        let mut space = [std::mem::MaybeUninit::uninit(); READ_SIZE];
        while *left > 0 && !timer.poll_over(cx) {
            let mut part = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut part)) {
                Ok(()) if !part.filled().is_empty() => {
                    *left = left.saturating_sub(part.filled().len());
                    keyferry_secretmem::wipe(part.filled_mut());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
