//! Who we are to AWS: found where the SDKs look, in their order, and looked for again before it ends.
//!
//! | module | where |
//! |---|---|
//! | `environment` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
//! | `file` | the shared credentials file: keys that stand in it |
//! | `web_identity` | a token in a file, exchanged at the Security Token Service |
//! | `metadata` | what the platform hands to a container (ECS, EKS) or to a machine (EC2) |
//!
//! The first that is set up is the one: if it fails, that is said, and no other is tried in its place.

mod environment;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod metadata;
mod web_identity;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keyferry_core::{clock::Clock, port::root::RootError, time::Timestamp};
use keyferry_envelope::SecretBytes;
use tokio::{sync::Mutex, time::timeout};

/// Reads one variable of the environment.
pub type Env = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Credentials that are about to end are replaced so long before.
const EARLY_SECS: i64 = 300;
/// How long to be content with what there is after it was looked for.
const PAUSE_SECS: i64 = 30;
/// How long a call may be held up by looking for new ones while the old ones are still good.
const HURRY: Duration = Duration::from_millis(1_500);

/// An access key.
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: SecretBytes,
    pub(super) session_token: Option<SecretBytes>,
    pub(super) expires: Option<Timestamp>,
}

impl Credentials {
    fn are(&self, other: &Self) -> bool {
        let same_token = match (&self.session_token, &other.session_token) {
            (None, None) => true,
            (Some(one), Some(two)) => one.ct_eq(two),
            _ => false,
        };
        same_token
            && self.access_key_id == other.access_key_id
            && self.secret_access_key.ct_eq(&other.secret_access_key)
    }
}

/// Where credentials come from, and those that were found.
pub(super) struct Chain {
    env: Arc<Env>,
    clock: Arc<dyn Clock>,
    region: String,
    ca: Option<PathBuf>,
    /// Locked while they are looked for, so that one looks and the others wait.
    held: Mutex<Option<Held>>,
}

struct Held {
    credentials: Arc<Credentials>,
    /// When to look for new ones; never for those without an end.
    look_again: Option<Timestamp>,
}

impl Held {
    fn new(credentials: Credentials, now: Timestamp) -> Self {
        let look_again =
            credentials.expires.map(|end| end.plus_secs(-EARLY_SECS).max(now.plus_secs(PAUSE_SECS)));
        Self { credentials: Arc::new(credentials), look_again }
    }
}

impl Chain {
    pub(super) fn new(env: Arc<Env>, clock: Arc<dyn Clock>, region: &str, ca: Option<&Path>) -> Self {
        Self { env, clock, region: region.to_owned(), ca: ca.map(Path::to_owned), held: Mutex::new(None) }
    }

    /// Credentials that have not ended.
    pub(super) async fn current(&self) -> Result<Arc<Credentials>, RootError> {
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some(held) = held.as_mut() {
            let ended = held.credentials.expires.is_some_and(|end| end <= now);
            if !ended && held.look_again.is_none_or(|at| now < at) {
                return Ok(Arc::clone(&held.credentials));
            }
            if !ended {
                match timeout(HURRY, self.find()).await {
                    Ok(Ok(found)) => *held = Held::new(found, now),
                    Ok(Err(_)) | Err(_) => held.look_again = Some(now.plus_secs(PAUSE_SECS)),
                }
                return Ok(Arc::clone(&held.credentials));
            }
        }
        let found = Held::new(self.find().await?, now);
        Ok(Arc::clone(&held.insert(found).credentials))
    }

    /// Forgets credentials that were not accepted. Others, if there are any by now.
    pub(super) async fn instead_of(
        &self,
        refused: &Arc<Credentials>,
    ) -> Result<Option<Arc<Credentials>>, RootError> {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.credentials, refused)) {
            *held = None;
        }
        drop(held);
        let now = self.current().await?;
        Ok((!now.are(refused)).then_some(now))
    }

    async fn find(&self) -> Result<Credentials, RootError> {
        if let Some(found) = environment::find(&*self.env).map_err(|why| why.of("the environment"))? {
            return Ok(found);
        }
        if let Some(found) = file::find(&*self.env).map_err(|why| why.of("the shared credentials file"))? {
            return Ok(found);
        }
        if let Some(role) = web_identity::Role::set_up(&*self.env, &self.region) {
            return role.credentials(self.ca.as_deref()).await.map_err(|why| why.of("the web identity"));
        }
        if let Some(container) = metadata::Container::set_up(&*self.env) {
            return container.credentials().await.map_err(|why| why.of("the container's endpoint"));
        }
        match metadata::machine(&*self.env).await {
            Ok(found) => Ok(found),
            Err(Missing::Away(why)) => Err(RootError::Away(format!(
                "no credentials: none in the environment, the shared credentials file, a web identity or a \
                 container's endpoint, and the machine's metadata service: {why}"
            ))),
            Err(why) => Err(why.of("the machine's metadata service")),
        }
    }
}

/// Why a source that is set up gives nothing.
#[derive(Debug)]
enum Missing {
    /// It is set up wrongly, or refuses.
    Wrong(String),
    /// It does not answer now.
    Away(String),
}

impl Missing {
    fn wrong(why: &str) -> Self {
        Self::Wrong(why.to_owned())
    }

    fn of(self, source: &str) -> RootError {
        match self {
            Self::Wrong(why) => RootError::Denied(format!("no credentials from {source}: {why}")),
            Self::Away(why) => RootError::Away(format!("no credentials from {source}: {why}")),
        }
    }
}

impl From<io::Error> for Missing {
    fn from(_: io::Error) -> Self {
        Self::wrong("its file cannot be read, or is too long")
    }
}

impl From<RootError> for Missing {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Away(why) => Self::Away(why),
            RootError::Garbage(why) => Self::Away(why.to_owned()),
            RootError::Denied(why) => Self::Wrong(why),
            other => Self::Wrong(other.to_string()),
        }
    }
}

/// A variable that is set to something.
fn variable(env: &Env, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// Text of a credential: it goes into a header, so nothing else than visible ASCII is one.
fn text(bytes: &[u8]) -> Result<&str, Missing> {
    let fits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| fits).ok_or(Missing::wrong("a value in it is no credential"))
}

/// The same, as a secret of its own.
fn secret(bytes: &[u8]) -> Result<SecretBytes, Missing> {
    let text = text(bytes)?;
    Ok(SecretBytes::init(text.len(), |copy| copy.copy_from_slice(text.as_bytes())))
}

/// Reads a file of at most 64 KiB.
fn read(path: &Path) -> io::Result<SecretBytes> {
    const MAX: usize = 64 * 1024;
    let mut file = File::open(path)?;
    let mut len = 0;
    // A buffer that never grows is never copied.
    let read = SecretBytes::try_init(MAX, |bytes| {
        while len < bytes.len() {
            match file.read(&mut bytes[len..])? {
                0 => return Ok(()),
                n => len += n,
            }
        }
        Err(io::Error::from(io::ErrorKind::FileTooLarge))
    })?;
    Ok(SecretBytes::init(len, |bytes| bytes.copy_from_slice(&read.expose()[..len])))
}

#[cfg(test)]
mod tests;
