//! Keys that came with a request and are not in plain text: opened here, and nowhere else.

use std::sync::Arc;

use keyferry_core::{
    admission::{Brought, Caller},
    code::Code,
    provider::Provider,
};
use keyferry_envelope::SealPurpose;

use super::{
    Gateway,
    slots::{Offered, OfferedKey, PlacedKey, Presented, from_map},
};
use crate::{custody::Opened, http::Problem};

impl Gateway {
    /// Opens a key that came encrypted. What does not open is never replaced by another key.
    pub(super) async fn open(
        &self,
        offered: Offered,
        provider: &Provider,
        caller: &Caller,
    ) -> Result<Presented, Problem> {
        let slot = provider.auth_slot();
        let mut claim = None;
        let key = match offered.key {
            None => None,
            Some(OfferedKey::Carried(key)) => Some((Brought::Carried, key)),
            Some(OfferedKey::ByName(map)) => {
                from_map(provider, map.expose())?.map(|key| (Brought::Carried, key))
            }
            Some(OfferedKey::Session(session)) => {
                Some((Brought::Session, PlacedKey { slot, key: session.open()? }))
            }
            Some(OfferedKey::Sealed(sealed)) => {
                let Some(unsealing) = &self.unsealing else {
                    return Err(Problem::new(
                        Code::Disabled,
                        "Sealed keys are not accepted by this gateway.",
                    ));
                };
                let opened = Box::pin(unsealing.open(
                    sealed.expose(),
                    SealPurpose::Request,
                    caller.tenant(),
                    &provider.id,
                    caller.name(),
                ));
                let Opened { key, claim: of_key } = opened.await?;
                claim = Some(of_key);
                Some((Brought::Sealed, PlacedKey { slot, key: Arc::new(key) }))
            }
        };
        Ok(Presented { token: offered.token, key, claim })
    }

    /// Refuses a sealed key that was used up, before anything of the tenant's is used for it.
    pub(super) async fn look(&self, presented: &Presented) -> Result<(), Problem> {
        match (&presented.claim, &self.unsealing) {
            (Some(claim), Some(unsealing)) => Ok(Box::pin(unsealing.look(claim)).await?),
            _ => Ok(()),
        }
    }

    /// Counts the use of a sealed key, of a request that was admitted.
    pub(super) async fn claim(&self, presented: &Presented) -> Result<(), Problem> {
        match (&presented.claim, &self.unsealing) {
            (Some(claim), Some(unsealing)) => Ok(Box::pin(unsealing.claim(claim)).await?),
            _ => Ok(()),
        }
    }
}
