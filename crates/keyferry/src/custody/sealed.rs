//! Opening what clients sealed: read, judged, opened, and its use counted.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use keyferry_core::{
    clock::Clock,
    id::{ProviderId, TenantId},
    port::store::{Store, StoreError},
    sealing::{SKEW_SECS, SealClaim, SealUse},
    time::Timestamp,
};
use keyferry_envelope::{ApiKey, SealPurpose, SealedKey};

use super::{
    no_token,
    sealing::{SealingError, SealingKeys},
};

/// Opens sealed keys.
#[derive(Clone)]
pub struct Unsealing {
    pub(super) keys: Arc<SealingKeys>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    /// How often one may be used for requests.
    pub(super) max_uses: u32,
}

/// Why a sealed key is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SealRefused {
    /// Which part is wrong is nobody's business.
    #[error("The sealed key does not open.")]
    DoesNotOpen,
    /// It is sealed to a key that is not live.
    #[error("It is sealed to a key that is not live. Fetch GET /api/v1/sealing-keys and seal it again.")]
    UnknownKey,
    /// It is too old, or from the future.
    #[error(
        "Its time is more than {SKEW_SECS} seconds from ours, which the header date tells. Seal it again."
    )]
    Stale,
    /// It was used as often as it may be, or by somebody else.
    #[error("This sealed key was used before. Seal it anew for each request.")]
    Used,
    /// The keys, or the uses, cannot be read.
    #[error("Sealed keys cannot be opened now.")]
    Away(#[source] SealingError),
}

impl From<SealingError> for SealRefused {
    fn from(error: SealingError) -> Self {
        Self::Away(error)
    }
}

/// A sealed key that was opened, and the use of it that is still to be counted.
pub struct Opened {
    /// The key.
    pub key: ApiKey,
    /// Its use.
    pub claim: SealClaim,
}

impl Unsealing {
    /// The keys it opens with.
    pub fn keys(&self) -> &SealingKeys {
        &self.keys
    }

    /// Keeps the keys, for ever.
    pub async fn keep(self) {
        self.keys.keep().await;
    }

    /// Opens a sealed key for a tenant and a provider. Its use is not counted yet.
    ///
    /// A key to store may be used once; one for requests as often as the configuration says, by the
    /// same caller.
    pub async fn open(
        &self,
        text: &[u8],
        purpose: SealPurpose,
        tenant: &TenantId,
        provider: &ProviderId,
        caller: &str,
    ) -> Result<Opened, SealRefused> {
        let sealed = SealedKey::parse(text).map_err(|_| SealRefused::DoesNotOpen)?;
        let live = self.keys.live(sealed.kid()).await?.ok_or(SealRefused::UnknownKey)?;
        let until = judge_time(sealed.ts(), self.clock.now())?;
        if sealed.provider() != provider.as_str() {
            return Err(SealRefused::DoesNotOpen);
        }
        let key = sealed.open(&live.key, purpose, tenant.as_str()).map_err(|_| SealRefused::DoesNotOpen)?;
        let key = no_token(key).map_err(|_| SealRefused::DoesNotOpen)?;
        let claim = SealClaim {
            kid: sealed.kid().to_owned(),
            key: hash(&[sealed.kid().as_bytes(), sealed.n()]),
            owner: hash(&[purpose.as_str().as_bytes(), tenant.as_str().as_bytes(), caller.as_bytes()]),
            max_uses: if purpose == SealPurpose::Store { 1 } else { self.max_uses },
            until,
        };
        Ok(Opened { key, claim })
    }

    /// Whether an opened key may still be used. Asked before rates and quota are, so that a replay costs
    /// nothing of them, and a request that they refuse is no use.
    pub async fn look(&self, claim: &SealClaim) -> Result<(), SealRefused> {
        self.judge_use(claim, self.store.look_at_seal(claim).await).await
    }

    /// Counts the use of an opened key. Only then may it be used.
    pub async fn claim(&self, claim: &SealClaim) -> Result<(), SealRefused> {
        self.judge_use(claim, self.store.claim_seal(claim).await).await
    }

    async fn judge_use(
        &self,
        claim: &SealClaim,
        state: Result<SealUse, StoreError>,
    ) -> Result<(), SealRefused> {
        match state.map_err(SealingError::from)? {
            SealUse::Allowed => Ok(()),
            SealUse::UsedUp => Err(SealRefused::Used),
            SealUse::KeyGone => {
                // Whoever is told to fetch the list must not find the same key in it again.
                self.keys.is_destroyed(&claim.kid).await?;
                Err(SealRefused::UnknownKey)
            }
        }
    }
}

/// Until when the time would be near enough.
fn judge_time(ts: u64, now: Timestamp) -> Result<Timestamp, SealRefused> {
    let ts = i64::try_from(ts).map_err(|_| SealRefused::Stale)?;
    if ts.abs_diff(now.secs()) > SKEW_SECS as u64 {
        return Err(SealRefused::Stale);
    }
    Ok(Timestamp::from_secs(ts).plus_secs(SKEW_SECS + 1))
}

/// SHA-256 over parts, each preceded by its length.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_within_two_minutes_is_near_enough() {
        let now = Timestamp::from_millis(1_800_000_000_500);
        for (ts, near) in [
            (1_800_000_000, true),
            (1_799_999_880, true),
            (1_799_999_879, false),
            (1_800_000_120, true),
            (1_800_000_121, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(judge_time(ts, now).is_ok(), near, "{ts}");
        }
    }

    #[test]
    fn a_use_is_remembered_as_long_as_it_would_be_accepted() {
        let sealed = 1_800_000_000;
        let until = judge_time(sealed, Timestamp::from_secs(1_800_000_000)).expect("near");
        let last = Timestamp::from_millis(until.millis() - 1);
        assert!(judge_time(sealed, last).is_ok() && judge_time(sealed, until).is_err());
    }
}
