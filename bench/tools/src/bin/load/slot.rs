//! One connection, and the request that is under way on it.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    time::Instant,
};

use anyhow::bail;
use mio::{Interest, Registry, Token, net::TcpStream};

use crate::answer::Answer;

pub struct Slot {
    stream: TcpStream,
    pub output: Vec<u8>,
    sent: usize,
    pub answer: Answer,
    /// Which request is under way, and since when. For one that was due at a time, that time.
    pub asked: Option<(u32, Instant)>,
    pub connected: bool,
}

/// What became of reading.
#[derive(PartialEq, Eq)]
pub enum Read {
    More,
    Whole,
    Closed,
}

impl Slot {
    pub fn open(to: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        let mut stream = TcpStream::connect(to)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let answer = Answer::default();
        Ok(Self { stream, output: Vec::new(), sent: 0, answer, asked: None, connected: false })
    }

    /// The connection stands.
    pub fn connect(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.stream.set_nodelay(true)?;
        self.connected = true;
        Ok(())
    }

    /// A new request is in `output`.
    pub fn begin(&mut self, seed: u32, at: Instant) -> io::Result<()> {
        self.answer.clear();
        self.sent = 0;
        self.asked = Some((seed, at));
        self.write()
    }

    /// Writes as much as goes.
    pub fn write(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is, up to the end of the answer.
    pub fn read(&mut self, room: &mut [u8], closed: bool) -> anyhow::Result<Read> {
        loop {
            match self.stream.read(room) {
                Ok(0) => return Ok(Read::Closed),
                Ok(read) => {
                    if self.asked.is_none() {
                        bail!(
                            "bytes that nobody asked for: {:?}",
                            String::from_utf8_lossy(&room[..read.min(200)])
                        );
                    }
                    let whole = self.answer.take(&room[..read], Instant::now())?;
                    if whole {
                        return Ok(Read::Whole);
                    }
                    // All there was; the kernel says when there is more.
                    if read < room.len() && !closed {
                        return Ok(Read::More);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::More),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
