//! Something open that lines are written to, and how to write to it without waiting.

use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    net::{SendFlags, send},
};

/// What a pipe takes as a whole, and without waiting once it takes anything (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

pub(super) struct Outlet {
    file: File,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file, or `/dev/null`: it takes all there is, however long that lasts.
    Ready,
    /// A pipe or a terminal that was opened anew, so as not to wait. What it was opened from, others may have as well, and is as it was.
    Anew,
    /// A socket.
    Socket,
    /// A pipe that may not be opened. Another process may fill it between a question and its answer.
    Pipe,
    /// Anything else. It has to be waited for.
    Slow,
}

impl Outlet {
    pub(super) fn of(out: OwnedFd) -> Self {
        let file = File::from(out);
        let kind = match file.metadata().map(|meta| meta.file_type()) {
            Ok(kind) if kind.is_file() || is_null(&file, kind) => Kind::Ready,
            Ok(kind) if kind.is_socket() => Kind::Socket,
            Ok(kind) => match anew(&file) {
                Ok(file) => return Self { file, kind: Kind::Anew },
                Err(_) if kind.is_fifo() => Kind::Pipe,
                Err(_) => Kind::Slow,
            },
            Err(_) => Kind::Slow,
        };
        Self { file, kind }
    }

    /// Whether nobody can make it wait by not reading.
    pub(super) fn is_ready(&self) -> bool {
        self.kind == Kind::Ready
    }

    /// Writes as much as goes without waiting; answers how much that was. Where nobody is any more, that is all.
    pub(super) fn write_now(&self, line: &[u8]) -> usize {
        let mut sent = 0;
        while sent < line.len() {
            match self.try_write(&line[sent..line.len().min(sent + PIECE)]) {
                Ok(0) => break,
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return line.len(),
            }
        }
        sent
    }

    fn try_write(&self, piece: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Ready | Kind::Anew => (&self.file).write(piece),
            Kind::Socket => Ok(send(&self.file, piece, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
            Kind::Pipe if self.takes_some(Some(&Timespec::default())) => (&self.file).write(piece),
            Kind::Pipe | Kind::Slow => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes all of some lines, and waits where it has to: as many at once as are taken as a whole, so that what another process writes
    /// comes between lines and not into one.
    pub(super) fn write_all(&self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let most = &lines[..lines.len().min(PIECE)];
            let whole = most.iter().rposition(|&byte| byte == b'\n').map_or(most.len(), |end| end + 1);
            match (&self.file).write(&most[..whole]) {
                // As if nobody were there.
                Ok(0) => return,
                Ok(written) => lines = &lines[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.takes_some(None);
                }
                // Nobody is there any more: then nobody misses it.
                Err(_) => return,
            }
        }
    }

    /// Whether it takes something, by so much time; without a limit, it is waited for.
    fn takes_some(&self, by: Option<&Timespec>) -> bool {
        let mut asked = [PollFd::new(&self.file, PollFlags::OUT)];
        poll(&mut asked, by).is_ok_and(|ready| ready > 0)
    }

    #[cfg(test)]
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

/// Opens what is open already, for this process alone. A terminal must not become that of a session which has none.
fn anew(file: &File) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn is_null(file: &File, kind: FileType) -> bool {
    let null = rustix::fs::stat("/dev/null").map(|stat| stat.st_rdev);
    kind.is_char_device() && rustix::fs::fstat(file).is_ok_and(|stat| null == Ok(stat.st_rdev))
}
