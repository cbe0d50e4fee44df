//! Moving what is stored under the keys in use, while traffic runs.
//!
//! First the keys under roots (tenants' KEKs, the service secret, sealing keys): under another root,
//! or a newer version of the same. Then the DEKs under KEKs that were replaced. Each write happens only
//! if the old bytes still stand there, so a rotation that comes between wins; and what is left to do is
//! read from the store itself, so a move that was stopped goes on where it was.

use futures_util::{StreamExt, TryStreamExt, stream};
use keyferry_core::{
    credential::{MovedVersion, VersionToMove},
    id::CredentialId,
    port::store::StoreError,
    wrapped::WrappedKey,
};
use keyferry_envelope::{Context, Rewrapper};

use super::keks::{KekError, TenantKeks};

/// Versions, and keys, that are read and written together.
const BATCH: u32 = 500;
/// Calls of a root at once.
const AT_ONCE: usize = 8;
/// How often it is looked again for what was replaced meanwhile.
const PASSES: usize = 10;
/// How long a KEK that wraps nothing any more is kept: a key that is being stored may still be
/// sealed under it.
const KEEP_SECS: i64 = 600;

/// Moves keys that it cannot open.
pub struct Mover {
    rewrapper: Rewrapper,
    keks: TenantKeks,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Keys under roots that were moved or renewed.
    pub keys: u64,
    /// Versions of credentials that were moved.
    pub versions: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// What was moved.
    #[serde(flatten)]
    pub moved: Progress,
    /// Versions that could not be moved, and keys that could not be renewed.
    pub left: u64,
    /// KEKs that were destroyed, since they wrap nothing any more.
    pub destroyed: u64,
}

impl Mover {
    pub(super) fn new(rewrapper: Rewrapper, keks: TenantKeks) -> Self {
        Self { rewrapper, keks }
    }

    /// Moves everything, telling how far it is after each batch.
    ///
    /// One key that does not open does not stop the others; a root or a store that is away does, since
    /// asking on would fail for each.
    pub async fn run(&self, mut tell: impl FnMut(Progress)) -> Result<Moved, KekError> {
        let mut done = Moved::default();
        self.renew_keys(&mut done, &mut tell).await?;
        let unreadable = done.left;
        // Somebody may put other KEKs in use meanwhile: until a pass finds nothing that it can move.
        for _ in 0..PASSES {
            let before = done.moved.versions;
            self.move_versions(&mut done, &mut tell).await?;
            if done.moved.versions == before {
                break;
            }
        }
        done.left = unreadable + self.left().await?;
        let now = self.keks.clock.now();
        done.destroyed = self.keks.store.destroy_unused_keks(now.plus_secs(-KEEP_SECS), now).await?;
        Ok(done)
    }

    /// What lies under KEKs that were replaced, or are lost.
    async fn left(&self) -> Result<u64, KekError> {
        let uses = self.keks.store.kek_uses().await?;
        let retired: u64 = uses.iter().filter(|kek| kek.retired).map(|kek| kek.versions).sum();
        Ok(retired + self.keks.store.versions_without_kek().await?)
    }

    async fn renew_keys(&self, done: &mut Moved, tell: &mut impl FnMut(Progress)) -> Result<(), KekError> {
        let mut after = 0;
        loop {
            let keys = self.keks.store.wrapped_keys_after(after, BATCH).await?;
            let Some((last, _)) = keys.last() else { return Ok(()) };
            after = *last;
            let renewals = stream::iter(keys.iter().map(|(_, key)| self.renew(key)));
            let outcomes: Vec<Renewal> = renewals.buffer_unordered(AT_ONCE).try_collect().await?;
            for outcome in outcomes {
                match outcome {
                    Renewal::Done => done.moved.keys += 1,
                    Renewal::NotNeeded => {}
                    Renewal::Unreadable => done.left += 1,
                }
            }
            tell(done.moved);
        }
    }

    async fn renew(&self, key: &WrappedKey) -> Result<Renewal, KekError> {
        let keyring = &self.keks.keyring;
        let primary = keyring.primary();
        let renewed = if key.root == primary.id() {
            primary.renew(&key.context(), &key.wrapped).await
        } else {
            match keyring.unwrap(key).await {
                Ok(secret) => primary.wrap(&key.context(), &secret).await.map(Some),
                Err(error) => Err(error),
            }
        };
        let wrapped = match renewed {
            Ok(Some(wrapped)) => wrapped,
            Ok(None) => return Ok(Renewal::NotNeeded),
            Err(error) if error.is_about_bytes() => {
                tracing::error!(event = "key_not_renewed", key = key.id, owner = key.owner, %error);
                return Ok(Renewal::Unreadable);
            }
            Err(error) => return Err(error.into()),
        };
        let renewed = WrappedKey { root: primary.id().to_owned(), wrapped, ..key.clone() };
        // Another process may have renewed it meanwhile, which is as good.
        self.keks.store.rewrap_key(&renewed, &key.wrapped).await?;
        Ok(Renewal::Done)
    }

    async fn move_versions(&self, done: &mut Moved, tell: &mut impl FnMut(Progress)) -> Result<(), KekError> {
        let mut after: Option<(CredentialId, u32)> = None;
        loop {
            let position = after.as_ref().map(|(id, version)| (id, *version));
            let versions = self.keks.store.versions_to_move(position, BATCH).await?;
            let Some(last) = versions.last() else { return Ok(()) };
            after = Some((last.credential.clone(), last.version));
            let moves = stream::iter(versions.iter().map(|version| self.moved(version)));
            let moves: Vec<Option<MovedVersion>> = moves.buffered(AT_ONCE).try_collect().await?;
            let moved: Vec<MovedVersion> = moves.into_iter().flatten().collect();
            // What a rotation or a revocation changed meanwhile lies under the KEK in use, or is gone.
            done.moved.versions += self.keks.store.move_versions(&moved).await?;
            tell(done.moved);
        }
    }

    async fn moved(&self, version: &VersionToMove) -> Result<Option<MovedVersion>, KekError> {
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::error!(event = "version_not_moved", credential = %version.credential,
                tenant = %version.tenant, version = version.version, %error);
        };
        let from = match self.keks.keyring.kek(&version.kek).await {
            Ok(kek) => kek,
            Err(error) if error.is_about_bytes() => {
                unreadable(&error);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let to = match self.keks.in_use(&version.tenant).await {
            // The tenant was deleted meanwhile, and its keys with it.
            Err(KekError::Store(StoreError::NotFound(_))) => return Ok(None),
            to => to?,
        };
        let context = Context {
            tenant: version.tenant.as_str(),
            provider: version.provider.as_str(),
            origin: &version.origin,
            credential: version.credential.as_str(),
            version: version.version,
        };
        let sealed = self.rewrapper.rewrap(&from, &to.kek, &context, &version.sealed, &*self.keks.entropy);
        match sealed {
            Ok(sealed) => Ok(Some(MovedVersion {
                credential: version.credential.clone(),
                version: version.version,
                old_wrapped_dek: version.sealed.wrapped_dek.clone(),
                sealed,
            })),
            Err(error) => {
                unreadable(&error);
                Ok(None)
            }
        }
    }
}

enum Renewal {
    Done,
    NotNeeded,
    Unreadable,
}
