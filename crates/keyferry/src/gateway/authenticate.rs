//! Authentication (A1): from a presented token to a caller.
//!
//! A token that is not ours is refused here and never goes further. All refusals say the same:
//! which part was wrong helps only somebody who guesses.

use std::{sync::Arc, time::Duration};

use keyferry_core::{
    admission::Caller,
    clock::Clock,
    code::Code,
    port::counter::Counters,
    token::{self, PresentedToken},
};
use keyferry_envelope::SecretBytes;
use tokio::time::timeout;

use super::{
    jwks::KeySets,
    jwt,
    views::{View, Views},
};
use crate::http::Problem;

/// How long a request waits for the store altogether, its turn included, until it is said to be away.
const LOOK_UP: Duration = Duration::from_millis(900);

/// Proves callers.
pub(super) struct Authenticator {
    clock: Arc<dyn Clock>,
    key_sets: KeySets,
    counters: Arc<dyn Counters>,
}

/// What was presented. It is taken apart once: who sent a request is asked again when it is admitted.
pub(super) struct Shown {
    text: SecretBytes,
    /// `None` where it claims to be no gateway token; then it may be a JWT.
    token: Option<Result<PresentedToken, Malformed>>,
}

/// It claims to be a gateway token and is none.
struct Malformed;

impl Shown {
    /// Takes it apart.
    pub(super) fn new(text: SecretBytes) -> Self {
        let bytes = text.expose();
        let token = token::looks_like_token(bytes).then(|| token::read(bytes).ok_or(Malformed));
        Self { text, token }
    }

    /// As it was presented.
    #[cfg(any(test, fuzzing))]
    pub(super) fn text(&self) -> &[u8] {
        self.text.expose()
    }
}

/// A caller and the view of its tenant that it was proven on.
pub(super) struct Authenticated {
    pub(super) caller: Caller,
    pub(super) view: Arc<View>,
}

pub(super) fn unauthorized() -> Problem {
    Problem::new(Code::Unauthorized, "The token is not valid: unknown, expired, revoked or malformed.")
}

impl Authenticator {
    pub(super) fn new(clock: Arc<dyn Clock>, key_sets: KeySets, counters: Arc<dyn Counters>) -> Self {
        Self { clock, key_sets, counters }
    }

    /// Who presents this token.
    pub(super) async fn authenticate(
        &self,
        views: &Arc<Views>,
        shown: &Shown,
    ) -> Result<Authenticated, Problem> {
        match &shown.token {
            Some(Ok(token)) => self.by_token(views, token).await,
            Some(Err(Malformed)) => Err(unauthorized()),
            // In a box: it may fetch keys, which takes far more room than looking a token up.
            None => Box::pin(self.by_jwt(views, shown.text.expose())).await,
        }
    }

    async fn by_token(&self, views: &Arc<Views>, read: &PresentedToken) -> Result<Authenticated, Problem> {
        let (view, stored) = in_time(views.of_token(&read.id)).await?.ok_or_else(unauthorized)?;
        if !stored.hash.matches(&read.hash) || !stored.token.is_live(self.clock.now()) {
            return Err(unauthorized());
        }
        Ok(Authenticated { caller: Caller::of_token(&stored.token), view })
    }

    async fn by_jwt(&self, views: &Arc<Views>, text: &[u8]) -> Result<Authenticated, Problem> {
        let now = self.clock.now();
        let unverified = jwt::Unverified::read(text).ok_or_else(unauthorized)?;
        let view = in_time(view_for(views, &unverified)).await?.ok_or_else(unauthorized)?;
        for issuer in view.issuers.iter().filter(|issuer| unverified.names(issuer)) {
            let Some(key) = self.key_sets.key(issuer, unverified.kid(), now).await else { continue };
            if let Some(caller) = unverified.verify(issuer, &key, now, self.counters.lost_at()) {
                return Ok(Authenticated { caller, view });
            }
        }
        Err(unauthorized())
    }
}

/// The view of the tenant that a JWT claims to be of.
async fn view_for(
    views: &Arc<Views>,
    unverified: &jwt::Unverified<'_>,
) -> Result<Option<Arc<View>>, Problem> {
    let tenant = unverified.tenant();
    let turn = if views.remembers(tenant) { None } else { Some(views.turn().await?) };
    let Some(view) = views.of_tenant(tenant).await? else { return Ok(None) };
    drop(turn);
    // An issuer may have been registered since the view was read. Admission would find that
    // out, but it is only asked about callers that were proven.
    if view.issuers.iter().any(|issuer| unverified.names(issuer)) {
        return Ok(Some(view));
    }
    let _turn = views.turn().await?;
    views.current(tenant).await
}

async fn in_time<T>(looking: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = |_| Problem::unavailable("A part of the gateway does not answer in time.");
    timeout(LOOK_UP, looking).await.map_err(late)?
}
