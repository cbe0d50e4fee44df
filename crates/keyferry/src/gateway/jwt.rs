//! The policy for JWTs of tenants' issuers (RFC 7519, RFC 8725).
//!
//! A token is read strictly before it is verified, and nothing it says is believed until then
//! except where to look: which tenant, which issuer, which key.

use aws_lc_rs::digest;
use keyferry_core::{
    admission::{Caller, Grant},
    id::TenantId,
    issuer::Issuer,
    mask,
    port::counter::Claim,
    time::Timestamp,
};
use serde::{Deserialize, Deserializer, de};

use super::{
    jwk::PublicKey,
    jws::{Jws, Text, given, object},
};

/// How far two clocks may differ, in seconds.
pub(super) const SKEW: i64 = 30;
/// The longest life of a token, in seconds.
const MAX_LIFE: i64 = 3600;
/// The longest token id.
const MAX_JTI: usize = 255;

/// A token that was read and not verified.
pub(super) struct Unverified<'t> {
    jws: Jws<'t>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Claims {
    iss: Text<512>,
    aud: Audience,
    tenant: TenantId,
    exp: Seconds,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<Seconds>,
    #[serde(default, deserialize_with = "given")]
    iat: Option<Seconds>,
    jti: Text<MAX_JTI>,
    #[serde(default, deserialize_with = "given")]
    sub: Option<Text<255>>,
    #[serde(default)]
    byok: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "given")]
    req_hash: Option<Text<128>>,
}

/// Whole seconds; no text, no fraction, no exponent, no negative number.
struct Seconds(i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let fits = i64::try_from(number).ok().filter(|&secs| secs < 1 << 40);
        fits.map(Self).ok_or_else(|| de::Error::custom("not an acceptable time"))
    }
}

/// One audience, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn includes(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

impl<'t> Unverified<'t> {
    /// Takes a compact token apart. `None` for everything that is not exactly of the form.
    pub(super) fn read(text: &'t [u8]) -> Option<Self> {
        let jws = Jws::read(text)?;
        let claims = object(jws.payload())?;
        Some(Self { jws, claims })
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.claims.tenant
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.jws.kid()
    }

    /// Whether the token says that it is of this issuer, for this audience, under its algorithm.
    pub(super) fn names(&self, issuer: &Issuer) -> bool {
        self.claims.iss.0 == issuer.issuer
            && self.claims.aud.includes(&issuer.audience)
            && self.claims.tenant == issuer.tenant
            && self.jws.alg() == issuer.algorithm.as_str()
    }

    /// Verifies the token; `None` if anything is wrong with it.
    pub(super) fn verify(
        &self,
        issuer: &Issuer,
        key: &PublicKey,
        now: Timestamp,
        replay_memory_lost_at: Option<Timestamp>,
    ) -> Option<Caller> {
        if !self.names(issuer) || !self.jws.is_signed_by(key) {
            return None;
        }
        self.check_times(now.secs(), replay_memory_lost_at.map(Timestamp::secs))?;
        let claims = &self.claims;
        let claim =
            Claim { key: claim_key(issuer, &claims.jti.0), until: Timestamp::from_secs(claims.exp.0 + SKEW) };
        let grant = Grant::Jwt {
            issuer: issuer.id.clone(),
            claim,
            claims_byok: claims
                .byok
                .as_ref()
                .is_some_and(|byok| *byok != serde_json::Value::Bool(false) && !byok.is_null()),
            req_hash: claims.req_hash.as_ref().map(|hash| hash.0.clone()),
        };
        // The subject stands in usage rows and logs.
        let subject = claims.sub.as_ref().map_or(&b""[..], |sub| sub.0.as_bytes());
        let subject = mask::scrub(subject, None);
        Some(Caller::of_jwt(issuer.tenant.clone(), &String::from_utf8_lossy(&subject), grant))
    }

    fn check_times(&self, now: i64, lost_at: Option<i64>) -> Option<()> {
        let claims = &self.claims;
        let exp = claims.exp.0;
        let alive = now < exp + SKEW && exp <= now + MAX_LIFE + SKEW;
        let begun = claims.nbf.as_ref().is_none_or(|nbf| nbf.0 <= now + SKEW);
        let issued = claims
            .iat
            .as_ref()
            .is_none_or(|iat| iat.0 <= now + SKEW && iat.0 < exp && exp - iat.0 <= MAX_LIFE);
        // Earlier uses were forgotten: what could have been used before must not be used again.
        // A token without a time of issue is old enough to judge once its end lies so far behind
        // the loss that it could not have been accepted before.
        let fresh = lost_at.is_none_or(|lost| match &claims.iat {
            Some(iat) => iat.0 >= lost + SKEW,
            None => exp > lost + MAX_LIFE + SKEW,
        });
        (alive && begun && issued && fresh).then_some(())
    }
}

/// The name of a token's one use: by issuer and tenant, so that nobody can use up another's.
fn claim_key(issuer: &Issuer, jti: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [issuer.tenant.as_str(), issuer.issuer.as_str(), jti] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// Whether a body is the one a token was made for: `sha256:<64 hex>`, compared in constant time.
pub(super) fn body_matches(req_hash: &str, body: &[u8]) -> bool {
    let Some(hex) = req_hash.strip_prefix("sha256:") else { return false };
    let Ok(wanted) = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else { return false };
    let found = digest::digest(&digest::SHA256, body);
    aws_lc_rs::constant_time::verify_slices_are_equal(&wanted, found.as_ref()).is_ok()
}
