//! Keeps the token alive: it is renewed at half of its time, for ever.

use std::{sync::Arc, time::Duration};

use http::Method;
use keyferry_core::port::root::RootError;
use keyferry_envelope::SecretBytes;

use super::{
    Vault,
    reply::{self, Lease},
    request,
    token::Token,
};
use crate::http as endpoint;

const LOOKUP: &str = "/v1/auth/token/lookup-self";
const RENEW: &str = "/v1/auth/token/renew-self";
/// Not more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// After a failure: doubling to this, or to half of the time that the token has left.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the file is looked at for another token.
const GLANCE: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Renew after so long.
    Renew(Duration),
    /// Look again after so long: something failed.
    Look(Duration),
    /// Nothing, until the file has another token.
    Rest,
}

impl Next {
    /// For a token that has this much left. `share` of 1000 moves the moment up to a tenth earlier,
    /// so that replicas do not all come at once.
    fn after(lease: Lease, share: u64) -> Self {
        if !lease.renewable || lease.ttl == 0 {
            return Self::Rest;
        }
        let half = Duration::from_secs(lease.ttl) / 2;
        Self::Renew(half.saturating_sub(half / 10_000 * (share % 1000) as u32).max(SHORTEST))
    }

    /// After so many failures in a row.
    fn after_failures(failures: u32) -> Self {
        Self::Look((SHORTEST * 2u32.saturating_pow(failures.saturating_sub(1).min(10))).min(LONGEST_PAUSE))
    }
}

impl Vault {
    /// Renews the token, for ever. Run it beside the gateway: it does nothing for tokens that cannot be
    /// renewed or do not end, and looks again when the file has another.
    pub async fn keep_token(self: Arc<Self>) {
        let (mut asked, mut failures) = (Asked::Lookup, 0);
        loop {
            let known = self.token.current().await.ok();
            let next = match self.about_token(asked).await {
                Ok(lease) => {
                    failures = 0;
                    if lease.ttl > 0 && !lease.renewable {
                        tracing::warn!(
                            root = self.id,
                            seconds = lease.ttl,
                            "the root's token ends and cannot be renewed"
                        );
                    }
                    Next::after(lease, self.share())
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(root = self.id, failures, %error, "the root's token cannot be kept alive");
                    Next::after_failures(failures)
                }
            };
            let time;
            (asked, time) = match next {
                Next::Renew(after) => (Asked::Renewal, Some(after)),
                Next::Look(after) => (Asked::Lookup, Some(after)),
                Next::Rest => (Asked::Lookup, None),
            };
            if self.waited_for_another(known.as_ref(), time).await {
                asked = Asked::Lookup;
            }
        }
    }

    async fn about_token(&self, asked: Asked) -> Result<Lease, RootError> {
        let nothing = || SecretBytes::new(Vec::new());
        endpoint::in_time(async {
            match asked {
                Asked::Lookup => reply::looked_up(&self.ask(Method::GET, LOOKUP, nothing).await?),
                Asked::Renewal => {
                    reply::renewed(&self.ask(Method::POST, RENEW, || request::body(&[])).await?)
                }
            }
        })
        .await
    }

    /// Waits, for ever without a time; `true` as soon as the file has another token than this.
    async fn waited_for_another(&self, known: Option<&Token>, time: Option<Duration>) -> bool {
        let mut left = time;
        loop {
            let step = left.map_or(GLANCE, |left| left.min(GLANCE));
            tokio::time::sleep(step).await;
            if let Ok(now) = self.token.current().await
                && known.is_none_or(|known| !known.is(&now))
            {
                return true;
            }
            left = left.map(|left| left.saturating_sub(step));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
        }
    }

    fn share(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[derive(Clone, Copy)]
enum Asked {
    Lookup,
    Renewal,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ttl: u64, renewable: bool, share: u64) -> Next {
        Next::after(Lease { ttl, renewable }, share)
    }

    #[test]
    fn a_token_is_renewed_at_half_of_its_time_or_a_little_earlier() {
        assert_eq!(after(3600, true, 0), Next::Renew(Duration::from_secs(1800)));
        assert_eq!(after(3600, true, 500), Next::Renew(Duration::from_secs(1710)));
        for share in [1, 999, 1000, u64::MAX] {
            let Next::Renew(wait) = after(3600, true, share) else { panic!("it is renewable") };
            assert!((1620..=1800).contains(&wait.as_secs()), "{wait:?}");
        }
        assert_eq!(after(1, true, 0), Next::Renew(SHORTEST));
    }

    #[test]
    fn a_token_that_cannot_be_renewed_or_does_not_end_is_left_alone() {
        assert_eq!(after(3600, false, 0), Next::Rest);
        assert_eq!(after(0, true, 0), Next::Rest);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let after = |seconds| Next::Look(Duration::from_secs(seconds));
        assert_eq!([1, 2, 3, 4, 7, 100].map(Next::after_failures), [1, 2, 4, 8, 60, 60].map(after));
    }
}
