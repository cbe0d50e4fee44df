//! The token's file: read again when it is another file, or the server refuses the token.

use std::{
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::HeaderValue;
use keyferry_core::port::root::RootError;
use keyferry_envelope::SecretBytes;

use crate::file;

/// The longest file, and the longest piece that locked memory has. Tokens of servers have less than 200
/// characters, batch tokens more.
const MAX: usize = 4096;

/// Whether others than the owner and its group may use a file of this mode. The group may: an agent
/// that fetches the token writes it with 0640.
pub const fn is_open_to_others(mode: u32) -> bool {
    mode & 0o007 != 0
}

/// Why a file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("{0} cannot be read: {1}")]
    Io(PathBuf, io::Error),
    /// Everybody on the machine may read or change it.
    #[error("{0} has mode {1:04o}: others may use it. Run: chmod o= {0}")]
    Mode(PathBuf, u32),
    /// It is empty, too long, or has something else in it.
    #[error("{0} does not hold one token")]
    NoToken(PathBuf),
}

/// A token.
#[derive(Clone)]
pub(super) struct Token(Arc<SecretBytes>);

impl Token {
    /// Whether it is the same token.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0)
    }

    /// As the value of a header, over the same bytes.
    pub(super) fn header(&self) -> Result<HeaderValue, RootError> {
        struct Shared(Arc<SecretBytes>);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                self.0.expose()
            }
        }
        let bytes = Bytes::from_owner(Shared(Arc::clone(&self.0)));
        let mut value = HeaderValue::from_maybe_shared(bytes)
            .map_err(|_| RootError::Denied("the token has characters that no token has".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// A token as it was read, and how the file looked then.
struct Held {
    stamp: Stamp,
    token: Token,
}

/// What is another after a file was written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

/// Where the token comes from.
pub(super) struct TokenFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    held: Mutex<Held>,
}

impl TokenFile {
    pub(super) fn new(path: &Path) -> Result<Self, TokenFileError> {
        let held = Mutex::new(read(path)?);
        Ok(Self(Arc::new(Inner { path: path.to_owned(), held })))
    }

    /// The token in the file now.
    pub(super) async fn current(&self) -> Result<Token, RootError> {
        self.off_thread(|file| if file.is_another()? { file.read() } else { Ok(file.held().token.clone()) })
            .await
    }

    /// The token in the file if it is not `refused`, whatever the file looks like from outside.
    pub(super) async fn read_again(&self, refused: &Token) -> Result<Option<Token>, RootError> {
        let read = self.off_thread(Inner::read).await?;
        Ok((!read.is(refused)).then_some(read))
    }

    /// Files may be slow: they can come from a network.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, TokenFileError> + Send + 'static,
    ) -> Result<T, RootError> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|_| RootError::Away("the gateway is stopping".to_owned()))?
            .map_err(|error| RootError::Denied(format!("`token_file`: {error}")))
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_another(&self) -> Result<bool, TokenFileError> {
        let now =
            std::fs::metadata(&self.path).map_err(|error| TokenFileError::Io(self.path.clone(), error))?;
        Ok(Stamp::of(&now) != self.held().stamp)
    }

    fn read(&self) -> Result<Token, TokenFileError> {
        let read = read(&self.path)?;
        let token = read.token.clone();
        *self.held() = read;
        Ok(token)
    }
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            length: meta.len(),
        }
    }
}

fn read(path: &Path) -> Result<Held, TokenFileError> {
    let io = |error: io::Error| TokenFileError::Io(path.to_owned(), error);
    let (mut file, meta) = file::open(path).map_err(io)?;
    if is_open_to_others(meta.mode()) {
        return Err(TokenFileError::Mode(path.to_owned(), meta.mode() & 0o7777));
    }
    let mut len = 0;
    let whole = SecretBytes::try_init(MAX, |buf| {
        while len < buf.len() {
            match file.read(&mut buf[len..])? {
                0 => break,
                read => len += read,
            }
        }
        Ok(())
    });
    let whole = whole.map_err(io)?;
    let is_longer = file.read(&mut [0]).map_err(io)? > 0;
    let token = whole.expose()[..len].trim_ascii();
    if is_longer || token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenFileError::NoToken(path.to_owned()));
    }
    let token = SecretBytes::init(token.len(), |to| to.copy_from_slice(token));
    Ok(Held { stamp: Stamp::of(&meta), token: Token(Arc::new(token)) })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(mode: u32, content: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        (folder, path)
    }

    fn text(token: &Token) -> &str {
        str::from_utf8(token.0.expose()).expect("text")
    }

    #[test]
    fn the_end_of_a_line_is_not_part_of_a_token() {
        let (_folder, path) = file(0o640, "s.abc\n");
        assert_eq!(text(&read(&path).expect("a token").token), "s.abc");
    }

    #[test]
    fn a_file_for_everybody_or_without_one_token_is_refused() {
        for mode in [0o644, 0o604, 0o602, 0o601] {
            let (_folder, path) = file(mode, "s.abc");
            assert!(matches!(read(&path), Err(TokenFileError::Mode(_, seen)) if seen == mode));
        }
        for content in ["", "\n", "s.abc s.def", "s.abc\ns.def", "s.\u{e9}", &"s".repeat(MAX + 1)] {
            let (_folder, path) = file(0o600, content);
            assert!(matches!(read(&path), Err(TokenFileError::NoToken(_))));
        }
        let (folder, _) = file(0o600, "");
        let missing = folder.path().join("missing");
        let told = read(&missing).err().expect("a refusal").to_string();
        assert!(told.starts_with(&missing.display().to_string()) && told.contains("No such file"), "{told}");
    }

    #[test]
    fn a_token_may_fill_its_file() {
        for content in ["s.abc\n".to_owned(), "s".repeat(MAX)] {
            let (_folder, path) = file(0o600, &content);
            assert_eq!(text(&read(&path).expect("a token").token), content.trim());
        }
    }

    #[tokio::test]
    async fn a_written_and_a_replaced_file_are_read_again() {
        let (folder, path) = file(0o600, "first");
        let tokens = TokenFile::new(&path).expect("a token");
        let first = tokens.current().await.expect("a token");
        assert!(tokens.current().await.expect("a token").is(&first));
        assert!(tokens.read_again(&first).await.expect("read").is_none());

        fs::write(&path, "second-one").expect("written");
        assert_eq!(text(&tokens.current().await.expect("a token")), "second-one");

        let beside = folder.path().join("beside");
        fs::write(&beside, "third").expect("written");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("set");
        fs::rename(&beside, &path).expect("renamed");
        assert_eq!(text(&tokens.current().await.expect("a token")), "third");
        assert_eq!(text(&tokens.read_again(&first).await.expect("read").expect("another")), "third");
    }

    #[tokio::test]
    async fn a_file_that_becomes_unusable_denies_and_is_not_quoted() {
        let (_folder, path) = file(0o600, "first");
        let tokens = TokenFile::new(&path).expect("a token");
        fs::write(&path, "canary one\ncanary two").expect("written");
        match tokens.current().await {
            Err(RootError::Denied(words)) => assert!(!words.contains("canary")),
            _ => panic!("expected a refusal"),
        }
    }
}
