//! Seals a provider key into an envelope, opens it, and moves it to another KEK: three types, so that no part of the
//! program can do more than its own work. It must never return a key to whoever holds only the power to seal or rewrap.

use std::fmt;
use std::sync::Arc;

use keyferry_secretmem::scrubbed;

use crate::api_key::ApiKey;
use crate::context::{Context, Purpose};
use crate::entropy::Entropy;
use crate::error::{OpenError, SealError};
use crate::kek::{Dek, KekId, TenantKek};
use crate::layer::{self, LayerKey};
use crate::record_keys::Origin;
use crate::secret::SecretBytes;
use crate::wire::{Layer, Protected};

/// Granularity of the padding, in bytes. It hides the exact length of a key from whoever reads the database.
const PADDING: usize = 64;

/// A sealed provider key, as it is stored. Nothing in it is secret; [`Debug`](fmt::Debug) still prints lengths only.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The provider key under the DEK: COSE_Encrypt0 (RFC 9052), less than 1 KiB.
    pub envelope: Vec<u8>,
    /// The DEK under the tenant's KEK: COSE_Encrypt0 (RFC 9052), about 200 bytes.
    pub wrapped_dek: Vec<u8>,
    /// The KEK that wraps the DEK.
    pub kek_id: KekId,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("envelope", &format_args!("{} bytes", self.envelope.len()))
            .field("wrapped_dek", &format_args!("{} bytes", self.wrapped_dek.len()))
            .field("kek_id", &self.kek_id)
            .finish()
    }
}

/// The three capabilities. Call it once, where the program is put together, and give each part the one it needs: the
/// admin API seals, the gateway opens, the jobs rewrap.
///
/// None of the three can be cloned or made in another way, so every part that can open a key is found by searching for
/// [`Opener`].
#[must_use]
pub fn capabilities() -> (Sealer, Opener, Rewrapper) {
    (Sealer(()), Opener(()), Rewrapper(()))
}

/// The power to seal provider keys.
#[derive(Debug)]
pub struct Sealer(());

/// The power to open sealed provider keys.
#[derive(Debug)]
pub struct Opener(());

/// The power to move sealed keys to another KEK without opening them.
#[derive(Debug)]
pub struct Rewrapper(());

impl Sealer {
    /// Seals `key` under a fresh DEK and wraps the DEK under `kek`, both bound to `context`.
    ///
    /// Fails if a text of `context` is empty. Draws from `entropy`: the DEK (32 bytes), then salt (32) and nonce (12)
    /// of the record, then salt and nonce of the wrapped DEK.
    pub fn seal(
        &self,
        kek: &TenantKek,
        context: &Context<'_>,
        key: &ApiKey,
        entropy: &dyn Entropy,
    ) -> Result<Sealed, SealError> {
        if !context.is_complete() {
            return Err(SealError::IncompleteContext);
        }
        let dek = Dek::generate(entropy);
        Ok(Sealed {
            envelope: layer::seal(dek.secret(), Purpose::Record, &context.record_aad(), &pad(key), entropy)?,
            wrapped_dek: kek.wrap(&dek, context, entropy)?,
            kek_id: kek.id().clone(),
        })
    }
}

impl Opener {
    /// Opens `sealed` if, and only if, it was sealed for this `context` and its DEK is wrapped under this `kek`.
    pub fn open(&self, kek: &TenantKek, context: &Context<'_>, sealed: &Sealed) -> Result<ApiKey, OpenError> {
        must_be_of(kek, context, sealed)?;
        let aad = context.record_aad();
        let record = Layer::decode(&sealed.envelope, Purpose::Record)?;
        // The ciphers within are scrubbed each by itself. Around all of them, once does for all.
        scrubbed(|| {
            let key = record_key(kek, context, sealed, &aad, &record.protected)?;
            unpad(&key.open(Purpose::Record, &aad, &record)?)
        })
    }
}

impl Rewrapper {
    /// Moves `sealed` from one KEK to another; `from` and `to` may be the same, which renews the wrap.
    ///
    /// `envelope` is copied as it is, unread: only the DEK is in the clear meanwhile, never the provider key. Draws
    /// salt (32 bytes) and nonce (12) from `entropy`.
    pub fn rewrap(
        &self,
        from: &TenantKek,
        to: &TenantKek,
        context: &Context<'_>,
        sealed: &Sealed,
        entropy: &dyn Entropy,
    ) -> Result<Sealed, OpenError> {
        must_be_of(from, context, sealed)?;
        let dek = from.unwrap(&sealed.wrapped_dek, context)?;
        Ok(Sealed {
            envelope: sealed.envelope.clone(),
            wrapped_dek: to.wrap(&dek, context, entropy)?,
            kek_id: to.id().clone(),
        })
    }
}

/// The key of the record layer, remembered or else derived.
fn record_key(
    kek: &TenantKek,
    context: &Context<'_>,
    sealed: &Sealed,
    aad: &[u8],
    protected: &Protected<'_>,
) -> Result<Arc<LayerKey>, OpenError> {
    let origin = Origin { aad, wrapped_dek: &sealed.wrapped_dek, protected };
    if let Some(key) = kek.records().find(&origin) {
        return Ok(key);
    }
    let dek = kek.unwrap(&sealed.wrapped_dek, context)?;
    let key = LayerKey::of(dek.secret(), aad, protected)?;
    Ok(kek.records().remember(&origin, key))
}

/// Fails if the context is none, or another KEK wraps the DEK.
fn must_be_of(kek: &TenantKek, context: &Context<'_>, sealed: &Sealed) -> Result<(), OpenError> {
    // The id is not trusted, only compared: the KEK itself and its id in the associated data decide.
    let is_of = context.is_complete() && sealed.kek_id == *kek.id();
    is_of.then_some(()).ok_or(OpenError::OPAQUE)
}

/// `key`, then 0x80, then zeros up to the next multiple of 64 (ISO/IEC 7816-4). At least one byte is added, so the end
/// of the key is never in doubt.
fn pad(key: &ApiKey) -> SecretBytes {
    SecretBytes::init((key.len() + 1).next_multiple_of(PADDING), |padded| {
        padded[..key.len()].copy_from_slice(key.expose());
        padded[key.len()] = 0x80;
    })
}

/// Undoes [`pad`]. Refuses what `pad` does not write; after authentication that can only be a fault of ours.
fn unpad(padded: &SecretBytes) -> Result<ApiKey, OpenError> {
    let bytes = padded.expose();
    let end = bytes.iter().rposition(|&byte| byte != 0).ok_or(OpenError::OPAQUE)?;
    if bytes[end] != 0x80 || bytes.len() != (end + 1).next_multiple_of(PADDING) {
        return Err(OpenError::OPAQUE);
    }
    ApiKey::parse(SecretBytes::copy_of(&bytes[..end])).map_err(|_| OpenError::OPAQUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(len: usize) -> ApiKey {
        ApiKey::parse(SecretBytes::new(vec![b'k'; len])).expect("valid")
    }

    fn unpads(bytes: &[u8]) -> bool {
        unpad(&SecretBytes::new(bytes.to_vec())).is_ok()
    }

    #[test]
    fn padding_rounds_up_to_64_and_comes_off_again() {
        for len in 8..=512 {
            let padded = pad(&key(len));
            assert_eq!(padded.expose().len(), (len / 64 + 1) * 64);
            assert!(unpad(&padded).is_ok_and(|unpadded| unpadded.ct_eq(&key(len))), "length {len}");
        }
    }

    #[test]
    fn padding_that_pad_does_not_write_is_refused() {
        let mut block = [0; 64];
        block[..10].copy_from_slice(b"sk-test-00");
        assert!(!unpads(&block), "no marker");
        block[10] = 0x80;
        assert!(unpads(&block));
        assert!(!unpads(&block[..63]), "not a multiple");
        assert!(!unpads(&[&block[..], &[0; 64]].concat()), "a block too many");
        assert!(!unpads(&[0; 64]), "zeros only");
        assert!(!unpads(&[]), "nothing");
        block[63] = 1;
        assert!(!unpads(&block), "another byte after the marker");
    }
}
