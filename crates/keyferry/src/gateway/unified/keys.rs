//! Keys that came with a request to the unified surface: opened before it is known which provider serves.

use std::sync::Arc;

use keyferry_core::{
    admission::{Brought, Caller},
    code::Code,
    id::ProviderId,
    provider::AuthSlot,
    sealing::SealClaim,
};
use keyferry_envelope::{SealPurpose, SealedKey, SecretBytes};

use super::super::{
    Gateway,
    slots::{OfferedKey, PlacedKey},
};
use crate::{
    custody::{Opened, SealRefused},
    http::Problem,
};

/// The keys of a request.
pub(super) enum Keys {
    /// It brought none.
    None,
    /// One that does not say whose it is.
    Unnamed(Brought, PlacedKey),
    /// Several, by the names of their providers.
    ByName(SecretBytes),
    /// One that was sealed for this provider.
    Sealed(ProviderId, PlacedKey),
}

impl Gateway {
    /// Opens what came encrypted; also the use of a sealed key, which is to be counted.
    ///
    /// A sealed key says itself for which provider it is, and does not open for another.
    pub(super) async fn open_unified(
        &self,
        offered: Option<OfferedKey>,
        caller: &Caller,
    ) -> Result<(Keys, Option<SealClaim>), Problem> {
        let slot = AuthSlot::Bearer;
        let keys = match offered {
            None => Keys::None,
            Some(OfferedKey::Carried(key)) => Keys::Unnamed(Brought::Carried, key),
            Some(OfferedKey::ByName(map)) => Keys::ByName(map),
            Some(OfferedKey::Session(session)) => {
                Keys::Unnamed(Brought::Session, PlacedKey { slot, key: session.open()? })
            }
            Some(OfferedKey::Sealed(sealed)) => {
                let Some(unsealing) = &self.unsealing else {
                    return Err(Problem::new(
                        Code::Disabled,
                        "Sealed keys are not accepted by this gateway.",
                    ));
                };
                let named = SealedKey::parse(sealed.expose()).ok();
                let provider = named.as_ref().and_then(|sealed| self.endpoints.get(sealed.provider()));
                let provider = &provider.ok_or(SealRefused::DoesNotOpen)?.id;
                let opened = unsealing.open(
                    sealed.expose(),
                    SealPurpose::Request,
                    caller.tenant(),
                    provider,
                    caller.name(),
                );
                let Opened { key, claim } = opened.await?;
                let key = PlacedKey { slot, key: Arc::new(key) };
                return Ok((Keys::Sealed(provider.clone(), key), Some(claim)));
            }
        };
        Ok((keys, None))
    }
}
