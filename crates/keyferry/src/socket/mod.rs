//! A socket at its place, without a moment in which others could take the place or reach it early.
//!
//! The folder is opened once and held; what follows happens in this folder, whatever its path
//! becomes. The socket is made under a name that nobody knows, given its mode, and then moved. So
//! are those of listeners made, and the sidecar's.
//!
//! | module | one idea |
//! |---|---|
//! | [`policy`] | who may connect: users and groups, as the kernel knows them |
//! | `acl` | who the file system lets through to the socket |

mod acl;
pub mod policy;

use std::{
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use keyferry_envelope::Entropy;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, RenameFlags, flock, open, renameat, renameat_with},
    io::Errno,
    process::geteuid,
};

use self::policy::Policy;

/// How often the folder's lock is asked for, and how long apart.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path cannot be one of a socket.
    #[error("{0}: the socket's path must be absolute and end with a name")]
    Path(PathBuf),
    /// The folder cannot be used.
    #[error("{0}: the socket's folder cannot be used")]
    Folder(PathBuf, #[source] io::Error),
    /// Somebody else could replace the socket.
    #[error(
        "{0}: others may write to this folder (mode {1:04o}) or own it, and could put a socket of their own \
         in the place of this one"
    )]
    Writable(PathBuf, u32),
    /// Something else is there.
    #[error("{0}: there is something that is no socket; it is not touched")]
    Occupied(PathBuf),
    /// Another process answers there.
    #[error("{0}: another process answers on this socket")]
    Alive(PathBuf),
    /// The kernel says no.
    #[error("{0}: the socket cannot be made")]
    Io(PathBuf, #[source] io::Error),
    /// Others than the owner are to be let in, and cannot be.
    #[error(
        "{0}: the file system has no access lists, so users and groups other than the own cannot be let in"
    )]
    NoLists(PathBuf),
}

/// A socket at its place.
pub struct Socket {
    /// To be listened on.
    pub listener: UnixListener,
    /// Where it is.
    pub place: Place,
}

/// Where a socket is; removed from there when this is dropped, unless another one is there by then.
pub struct Place {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| identity(&meta) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Makes the socket: mode 0600, with an access list if the policy names others than the owner.
pub fn bind(path: &Path, policy: &Policy, entropy: &dyn Entropy) -> Result<Socket, SocketError> {
    let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), path.is_absolute()) else {
        return Err(SocketError::Path(path.to_owned()));
    };
    let parent = safe_folder(parent)?;
    let unusable = |error| SocketError::Folder(parent.clone(), error);
    let folder = open(&parent, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| unusable(error.into()))?;
    lock(&folder).map_err(unusable)?;
    let free = is_free(&folder, name, path)?;
    let (listener, hidden) = make_hidden(&folder, policy, entropy, path)?;
    let moved = if free {
        // Whatever has come to be there since is not replaced.
        renameat_with(&folder, &hidden, &folder, name, RenameFlags::NOREPLACE)
    } else {
        renameat(&folder, &hidden, &folder, name)
    };
    if let Err(error) = moved {
        let _ = fs::remove_file(within(&folder, &hidden));
        return Err(match error {
            Errno::EXIST => SocketError::Occupied(path.to_owned()),
            error => SocketError::Io(path.to_owned(), error.into()),
        });
    }
    let meta = fs::symlink_metadata(within(&folder, name))
        .map_err(|error| SocketError::Io(path.to_owned(), error))?;
    Ok(Socket { listener, place: Place { path: parent.join(name), identity: identity(&meta) } })
}

/// One at a time: between looking and moving no other process may look. Whoever may read the folder
/// can hold this lock, so it is not waited for without an end.
fn lock(folder: &OwnedFd) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            taken => return Ok(taken?),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it locked"))
}

/// The folder by its true path. Neither it nor any above it may be changed by others, but for
/// folders in which everybody owns what is theirs, such as `/tmp`.
fn safe_folder(folder: &Path) -> Result<PathBuf, SocketError> {
    let unusable = |error| SocketError::Folder(folder.to_owned(), error);
    let true_path = fs::canonicalize(folder).map_err(unusable)?;
    for above in true_path.ancestors() {
        let meta = fs::metadata(above).map_err(unusable)?;
        let ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
        let closed = meta.mode() & 0o022 == 0 || above != true_path && meta.mode() & 0o1000 != 0;
        if !ours || !closed {
            return Err(SocketError::Writable(above.to_owned(), meta.mode() & 0o7777));
        }
    }
    Ok(true_path)
}

/// A name in the folder that is held, whatever its path has become.
fn within(folder: &OwnedFd, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name)
}

/// Whether nothing is there. What a dead process left behind may be replaced, nothing else.
fn is_free(folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<bool, SocketError> {
    let there = within(folder, name);
    let Ok(meta) = fs::symlink_metadata(&there) else { return Ok(true) };
    if !meta.file_type().is_socket() {
        return Err(SocketError::Occupied(path.to_owned()));
    }
    match UnixStream::connect(&there) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        _ => Err(SocketError::Alive(path.to_owned())),
    }
}

/// A socket under a name that nobody knows, which nobody but the policy's may reach.
fn make_hidden(
    folder: &OwnedFd,
    policy: &Policy,
    entropy: &dyn Entropy,
    path: &Path,
) -> Result<(UnixListener, OsString), SocketError> {
    let failed = |error| SocketError::Io(path.to_owned(), error);
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let hidden = OsString::from(format!(".socket-{:016x}", u64::from_be_bytes(random)));
    let place = within(folder, &hidden);
    let listener = UnixListener::bind(&place).map_err(failed)?;
    let owner = geteuid().as_raw();
    let opened =
        fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).map_err(failed).and_then(|()| {
            if policy.gids.is_empty() && policy.uids.iter().all(|uid| *uid == owner) {
                return Ok(());
            }
            acl::grant(&place, policy, owner).map_err(|error| match error {
                Errno::OPNOTSUPP => SocketError::NoLists(path.to_owned()),
                error => failed(error.into()),
            })
        });
    match opened {
        Ok(()) => Ok((listener, hidden)),
        Err(error) => {
            let _ = fs::remove_file(&place);
            Err(error)
        }
    }
}
