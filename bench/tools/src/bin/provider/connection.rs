//! One connection: requests in, answers out, in the order they came.

use std::{
    io::{self, Read as _, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bench_tools::{
    script::{Asked, EVENTS},
    wire::{self, Chunks, Framing},
};
use mio::net::TcpStream;
use rustls::ServerConnection;

use crate::replies::Replies;

/// What a connection waits for.
pub enum Next {
    /// The other side.
    Nothing,
    /// Its turn.
    Now,
    /// Its time.
    In(Duration),
    Closed,
}

pub struct Connection {
    /// Unlike that of any other connection, so that nobody who waits is taken for another.
    pub number: u64,
    pipe: Pipe,
    input: Vec<u8>,
    output: Vec<u8>,
    reply: Option<Reply>,
}

/// What is being answered.
struct Reply {
    asked: Asked,
    /// The next event.
    event: usize,
}

impl Connection {
    pub fn new(pipe: Pipe) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, pipe, input: Vec::new(), output: Vec::new(), reply: None }
    }

    /// There is something to read, or room to write.
    pub fn ready(&mut self, replies: &mut Replies) -> anyhow::Result<Next> {
        self.pipe.write(&mut self.output)?;
        let open = self.pipe.read(&mut self.input)?;
        if !open {
            return Ok(Next::Closed);
        }
        // A client that sends the next request before it has the answer waits for its turn.
        if self.reply.is_none() { self.next_request(replies) } else { Ok(Next::Nothing) }
    }

    fn next_request(&mut self, replies: &mut Replies) -> anyhow::Result<Next> {
        let asked = match take_request(&mut self.input, replies)? {
            Request::Unfinished => return Ok(Next::Nothing),
            Request::WithoutKey => {
                Replies::refuse(&mut self.output);
                self.pipe.write(&mut self.output)?;
                return Ok(Next::Nothing);
            }
            Request::Asks(asked) => asked,
        };
        self.reply = Some(Reply { asked, event: 0 });
        if asked.stream {
            Replies::stream_head(&mut self.output);
            self.pipe.write(&mut self.output)?;
            return Ok(Next::Now);
        }
        if asked.wait_ms > 0 {
            Ok(Next::In(Duration::from_millis(asked.wait_ms)))
        } else {
            self.flow(replies)
        }
    }

    /// Its turn or its time has come.
    pub fn flow(&mut self, replies: &mut Replies) -> anyhow::Result<Next> {
        let Some(reply) = &mut self.reply else { return Ok(Next::Nothing) };
        if !self.output.is_empty() {
            // The other side does not read. What is left goes first, in a write of its own.
            self.pipe.write(&mut self.output)?;
            if !self.output.is_empty() {
                return Ok(Next::In(Duration::from_millis(1)));
            }
        }
        if reply.asked.stream {
            replies.event(reply.event, reply.asked.seed, &mut self.output);
            reply.event += 1;
        } else {
            replies.answer(reply.asked, &mut self.output);
            reply.event = EVENTS;
        }
        let (ends, wait) = (reply.event == EVENTS, reply.asked.wait_ms);
        self.pipe.write(&mut self.output)?;
        if ends {
            self.reply = None;
            return self.next_request(replies);
        }
        Ok(if wait > 0 { Next::In(Duration::from_millis(wait)) } else { Next::Now })
    }
}

enum Request {
    Unfinished,
    WithoutKey,
    Asks(Asked),
}

/// Takes a whole request from the input.
fn take_request(input: &mut Vec<u8>, replies: &Replies) -> anyhow::Result<Request> {
    let Some(head) = wire::head(input, true)? else { return Ok(Request::Unfinished) };
    let known = replies.is_key(head.authorization);
    let begin = head.length;
    let (asked, end) = match head.framing {
        Framing::Length(length) if input.len() < begin + length => {
            input.reserve(begin + length - input.len());
            return Ok(Request::Unfinished);
        }
        Framing::Length(length) => (Asked::read(&input[begin..begin + length]), begin + length),
        Framing::Chunked => {
            let mut body = Vec::new();
            let (taken, done) = Chunks::default().take(&input[begin..], &mut body)?;
            if !done {
                return Ok(Request::Unfinished);
            }
            (Asked::read(&body), begin + taken)
        }
    };
    if end == input.len() {
        input.clear();
    } else {
        input.drain(..end);
    }
    Ok(if known { Request::Asks(asked) } else { Request::WithoutKey })
}

/// A socket, with TLS or without.
pub struct Pipe {
    stream: TcpStream,
    session: Option<Box<ServerConnection>>,
}

impl Pipe {
    pub fn new(stream: TcpStream, mut session: Option<Box<ServerConnection>>) -> Self {
        if let Some(session) = &mut session {
            session.set_buffer_limit(None);
        }
        Self { stream, session }
    }

    /// Reads all there is; answers whether there may be more one day.
    fn read(&mut self, input: &mut Vec<u8>) -> io::Result<bool> {
        match &mut self.session {
            None => read_plain(&mut self.stream, input),
            Some(session) => read_tls(session, &mut self.stream, input),
        }
    }

    /// Writes as much as goes, and leaves the rest.
    fn write(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        let Some(session) = &mut self.session else { return write_plain(&mut self.stream, output) };
        session.writer().write_all(output)?;
        output.clear();
        while session.wants_write() {
            match session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn read_plain(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let begin = input.len();
        let room = (input.capacity() - begin).clamp(8 * 1024, 256 * 1024);
        input.resize(begin + room, 0);
        let read = stream.read(&mut input[begin..]);
        input.truncate(begin + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Ok(false),
            // All there was; the kernel says when there is more.
            Ok(read) if read < room => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

fn read_tls(session: &mut ServerConnection, stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        match session.read_tls(stream) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
        let state = session.process_new_packets().map_err(io::Error::other)?;
        let begin = input.len();
        input.resize(begin + state.plaintext_bytes_to_read(), 0);
        session.reader().read_exact(&mut input[begin..])?;
        if state.peer_has_closed() {
            return Ok(false);
        }
    }
    while session.wants_write() {
        match session.write_tls(stream) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn write_plain(stream: &mut TcpStream, output: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while sent < output.len() {
        match stream.write(&output[sent..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    output.drain(..sent);
    Ok(())
}
