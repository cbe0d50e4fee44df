//! The slots in which secrets arrive, and which of them means what.
//!
//! The gateway's token may stand in any SDK's key slot, or in `X-Keyferry-Token`; then the
//! provider's own slot may carry the caller's provider key. None of these headers is in the
//! request's map: no later step can pass one on by mistake.

use std::sync::Arc;

use keyferry_core::{
    admission::{Brought, Policy},
    code::Code,
    provider::{AuthSlot, Provider},
    sealing::SealClaim,
    token::looks_like_token,
};
use keyferry_envelope::{ApiKey, SecretBytes};
use serde::Deserialize;

use super::{authenticate::Shown, parse_key, session::SessionKey};
use crate::http::{Problem, Repeated, SecretHeaders, copy};

/// What a request showed: a token that proves nothing yet, and what may be a key.
pub(super) struct Offered {
    /// The gateway token or JWT.
    pub(super) token: Shown,
    /// What may be a key for the provider, if it brought one.
    pub(super) key: Option<OfferedKey>,
}

/// What may be a key.
pub(super) enum OfferedKey {
    /// In plain text.
    Carried(PlacedKey),
    /// Several in plain text, each with the name of its provider: a JSON object.
    ByName(SecretBytes),
    /// Encrypted under a key beside it.
    Session(SessionKey),
    /// Sealed to the gateway.
    Sealed(SecretBytes),
}

/// What a request showed, its key in plain text.
pub(super) struct Presented {
    /// The gateway token or JWT.
    pub(super) token: Shown,
    /// A key for the provider, and in which way it came, if it brought one.
    pub(super) key: Option<(Brought, PlacedKey)>,
    /// The use of a sealed key, which is to be counted before it is used.
    pub(super) claim: Option<SealClaim>,
}

impl Presented {
    /// In which way it brought a key, if it did.
    pub(super) fn brought(&self) -> Option<Brought> {
        self.key.as_ref().map(|(brought, _)| *brought)
    }
}

/// A key and the header it goes into.
pub(super) struct PlacedKey {
    pub(super) slot: AuthSlot,
    pub(super) key: Arc<ApiKey>,
}

const SLOTS: [AuthSlot; 3] = [AuthSlot::Bearer, AuthSlot::XApiKey, AuthSlot::XGoogApiKey];

/// Where a surface expects keys.
struct Place<'a> {
    /// In which headers an SDK may carry one.
    own: &'a [AuthSlot],
    /// In which it goes on.
    slot: AuthSlot,
    /// Whose place it is, for people.
    whose: &'a str,
}

/// Says which of the secrets is which, on a provider's own surface.
pub(super) fn read(secrets: SecretHeaders, provider: &Provider, policy: &Policy) -> Result<Offered, Problem> {
    let place = Place { own: provider.own_slots(), slot: provider.auth_slot(), whose: provider.id.as_str() };
    let mut offered = read_at(secrets, &place, policy)?;
    if let Some(OfferedKey::ByName(map)) = &offered.key {
        offered.key = from_map(provider, map.expose())?.map(OfferedKey::Carried);
    }
    Ok(offered)
}

/// Says which of the secrets is which, where the provider is known only later.
pub(super) fn read_unified(secrets: SecretHeaders, policy: &Policy) -> Result<Offered, Problem> {
    let place = Place { own: &[AuthSlot::Bearer], slot: AuthSlot::Bearer, whose: "this surface" };
    let offered = read_at(secrets, &place, policy)?;
    if let Some(OfferedKey::ByName(map)) = &offered.key {
        KeyMap::read(map.expose())?;
    }
    Ok(offered)
}

fn read_at(secrets: SecretHeaders, place: &Place<'_>, policy: &Policy) -> Result<Offered, Problem> {
    let private = secrets.came_privately();
    let mut taken = Taken::from(secrets)?;
    let (token, in_slot) = match taken.token.take() {
        Some(token) => {
            let key = own_key(&mut taken, place, &token)?;
            (token, key)
        }
        None => (slot_token(&mut taken)?, None),
    };
    if taken.modes + usize::from(in_slot.is_some()) > 1 {
        return Err(two_modes());
    }
    if (taken.sealed.is_some() && !policy.sealed) || (taken.session.is_some() && !policy.session) {
        return Err(Problem::new(
            Code::Disabled,
            "Keys in this mode are not accepted by this gateway. No other key was used in its place.",
        ));
    }
    if taken.session.is_some() && !private {
        return Err(Problem::new(
            Code::InvalidRequest,
            "Session keys are accepted over TLS only, or from a proxy on this host that ended it.",
        ));
    }
    // One of them at most is there.
    let key = if let Some(key) = in_slot {
        Some(OfferedKey::Carried(key))
    } else if let Some(session) = taken.session {
        Some(OfferedKey::Session(session))
    } else if let Some(sealed) = taken.sealed {
        Some(OfferedKey::Sealed(sealed))
    } else if let Some(value) = taken.byok_key {
        Some(OfferedKey::Carried(placed(place.slot, value)?))
    } else {
        taken.byok_keys.map(OfferedKey::ByName)
    };
    Ok(Offered { token: Shown::new(token), key })
}

fn two_modes() -> Problem {
    Problem::new(Code::InvalidRequest, "The request brings keys in two ways. Use one of them.")
}

/// The secrets of a request, by their meaning.
struct Taken {
    token: Option<SecretBytes>,
    /// In the order of [`SLOTS`].
    slots: [Option<SecretBytes>; SLOTS.len()],
    byok_key: Option<SecretBytes>,
    byok_keys: Option<SecretBytes>,
    session: Option<SessionKey>,
    sealed: Option<SecretBytes>,
    /// How many ways of bringing a key were used, besides the provider's own slot.
    modes: usize,
}

impl Taken {
    fn from(mut secrets: SecretHeaders) -> Result<Self, Problem> {
        let mut one = |name: &'static str| secrets.take(name);
        let token = one("x-keyferry-token")?;
        let byok_key = one("x-byok-key")?;
        let byok_keys = one("x-byok-keys")?;
        let session = SessionKey { encrypted: one("x-encrypted-key")?, session: one("x-session-key")? };
        let session = (session.encrypted.is_some() || session.session.is_some()).then_some(session);
        let sealed = one("x-sealed-key")?;
        let mut slots = [const { None }; SLOTS.len()];
        for (value, slot) in slots.iter_mut().zip(SLOTS) {
            *value = one(slot.header())?;
        }
        let modes = [byok_key.is_some(), byok_keys.is_some(), session.is_some(), sealed.is_some()]
            .into_iter()
            .filter(|&m| m)
            .count();
        Ok(Self { token, slots, byok_key, byok_keys, session, sealed, modes })
    }
}

impl Taken {
    /// Takes what came in the slots.
    fn slots(&mut self) -> impl Iterator<Item = (AuthSlot, SecretBytes)> + use<> {
        let values = std::mem::take(&mut self.slots);
        SLOTS.into_iter().zip(values).filter_map(|(slot, value)| Some((slot, value?)))
    }
}

impl From<Repeated> for Problem {
    fn from(repeated: Repeated) -> Self {
        Self::new(Code::InvalidRequest, repeated.to_string())
    }
}

/// The secret in a slot's value: what stands behind `Bearer` in `Authorization`, and all of it elsewhere.
fn secret_of(slot: AuthSlot, value: &SecretBytes) -> Result<&[u8], Problem> {
    let bytes = value.expose();
    if slot != AuthSlot::Bearer {
        return Ok(bytes);
    }
    match bytes.split_at_checked(7) {
        // Without a key, an SDK sends the scheme alone.
        None if bytes.eq_ignore_ascii_case(b"bearer") => Ok(b""),
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case(b"bearer ") => Ok(secret.trim_ascii()),
        _ => Err(Problem::new(
            Code::Unauthorized,
            "The header Authorization must say: Bearer, a space, the token.",
        )),
    }
}

/// The token, where no header of its own carries it.
fn slot_token(taken: &mut Taken) -> Result<SecretBytes, Problem> {
    let mut found: Option<SecretBytes> = None;
    for (slot, value) in taken.slots() {
        let secret = copy(secret_of(slot, &value)?);
        match &found {
            Some(other) if !other.ct_eq(&secret) => {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    "Two key headers with different values. Send the gateway token in X-Keyferry-Token \
                     and the provider's key in its own header, or the token alone.",
                ));
            }
            _ => found = Some(secret),
        }
    }
    found.filter(|token| !token.expose().is_empty()).ok_or_else(|| {
        Problem::new(
            Code::Unauthorized,
            "No token. Use the gateway token as the SDK's API key, or send it in X-Keyferry-Token.",
        )
    })
}

/// The caller's own key in the provider's slot, where the token came in its own header.
fn own_key(taken: &mut Taken, place: &Place<'_>, token: &SecretBytes) -> Result<Option<PlacedKey>, Problem> {
    let mut found: Option<PlacedKey> = None;
    for (slot, value) in taken.slots() {
        let secret = copy(secret_of(slot, &value)?);
        // SDKs insist on a key: one that sends the gateway's token or JWT twice means it once, and
        // it must not go to the provider.
        let again = token.ct_eq(&secret);
        if secret.expose().is_empty() || again || looks_like_token(secret.expose()) {
            continue;
        }
        if !place.own.contains(&slot) {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!("The header {} is not where {} expects a key.", slot.header(), place.whose),
            ));
        }
        let key = parse_key(secret)?;
        match &found {
            Some(other) if !other.key.ct_eq(&key) => return Err(two_modes()),
            _ => found = Some(PlacedKey { slot, key }),
        }
    }
    Ok(found)
}

fn placed(slot: AuthSlot, value: SecretBytes) -> Result<PlacedKey, Problem> {
    Ok(PlacedKey { slot, key: parse_key(value)? })
}

fn malformed() -> Problem {
    Problem::new(Code::InvalidRequest, "X-BYOK-Keys must be a JSON object of provider names and keys.")
}

/// The key for this provider in `X-BYOK-Keys`. The others are read over, never copied.
pub(super) fn from_map(provider: &Provider, value: &[u8]) -> Result<Option<PlacedKey>, Problem> {
    let mut found = None;
    for (name, key) in KeyMap::read(value)?.0 {
        if name == provider.id.as_str() {
            if found.is_some() {
                return Err(malformed());
            }
            found = Some(placed(provider.auth_slot(), copy(key.as_bytes()))?);
        }
    }
    Ok(found)
}

/// A JSON object of texts, borrowed from the header: keys have no escapes, so nothing is copied.
struct KeyMap<'a>(Vec<(&'a str, &'a str)>);

impl<'a> KeyMap<'a> {
    fn read(value: &'a [u8]) -> Result<Self, Problem> {
        serde_json::from_slice(value).map_err(|_| malformed())
    }
}

/// Whether there is a key for this provider in `X-BYOK-Keys`.
pub(super) fn names(map: &[u8], provider: &Provider) -> bool {
    KeyMap::read(map).is_ok_and(|map| map.0.iter().any(|(name, _)| *name == provider.id.as_str()))
}

impl<'de> Deserialize<'de> for KeyMap<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = KeyMap<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<KeyMap<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(KeyMap(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use keyferry_core::{
        limits::{Rate, RateLimits},
        provider::Providers,
    };

    use super::*;

    const TOKEN: &str = "sk-kf-token";
    const KEY: &str = "sk-provider-key-0123456789";

    const POLICY: Policy = Policy {
        enabled: true,
        held: true,
        carried: true,
        daily_quota: 1,
        rates: RateLimits {
            caller: Rate::Unlimited,
            tenant: Rate::Unlimited,
            tenant_provider: Rate::Unlimited,
            key_test: Rate::Unlimited,
        },
        session: false,
        sealed: false,
    };

    fn read_with(provider: &str, headers: &[(&'static str, &str)]) -> Result<Offered, Problem> {
        let providers = Providers::built_in();
        let mut secrets = SecretHeaders::default();
        for (name, value) in headers {
            secrets.add(name, value.as_bytes());
        }
        let provider = providers.get(provider).expect("built in");
        read(secrets, provider, &POLICY)
    }

    fn key_of(offered: &Offered) -> Option<(AuthSlot, &[u8])> {
        match &offered.key {
            Some(OfferedKey::Carried(placed)) => Some((placed.slot, placed.key.expose())),
            _ => None,
        }
    }

    #[test]
    fn the_token_is_found_in_every_slot() {
        let bearer = format!("Bearer {TOKEN}");
        for (name, value) in [
            ("authorization", bearer.as_str()),
            ("x-api-key", TOKEN),
            ("x-goog-api-key", TOKEN),
            ("x-keyferry-token", TOKEN),
        ] {
            for provider in ["openai", "anthropic", "gemini"] {
                let presented = read_with(provider, &[(name, value)]).expect("accepted");
                assert_eq!(presented.token.text(), TOKEN.as_bytes());
                assert!(presented.key.is_none());
            }
        }
    }

    #[test]
    fn with_the_token_apart_the_own_slot_carries_the_key() {
        let bearer = format!("Bearer {KEY}");
        for (provider, name, value, slot) in [
            ("openai", "authorization", bearer.as_str(), AuthSlot::Bearer),
            ("anthropic", "authorization", bearer.as_str(), AuthSlot::Bearer),
            ("anthropic", "x-api-key", KEY, AuthSlot::XApiKey),
            ("gemini", "x-goog-api-key", KEY, AuthSlot::XGoogApiKey),
        ] {
            let presented =
                read_with(provider, &[("x-keyferry-token", TOKEN), (name, value)]).expect("accepted");
            assert_eq!(key_of(&presented), Some((slot, KEY.as_bytes())), "{provider} {name}");
        }
    }

    #[test]
    fn a_key_may_come_by_name_and_others_are_ignored() {
        let map = format!(r#"{{"openai": "{KEY}", "gemini": "other-key-0123"}}"#);
        let presented =
            read_with("openai", &[("x-api-key", TOKEN), ("x-byok-keys", &map)]).expect("accepted");
        assert_eq!(key_of(&presented), Some((AuthSlot::Bearer, KEY.as_bytes())));
        let presented =
            read_with("anthropic", &[("x-api-key", TOKEN), ("x-byok-keys", &map)]).expect("accepted");
        assert!(presented.key.is_none());
    }

    #[test]
    fn two_ways_or_two_values_are_refused() {
        let map = format!(r#"{{"openai": "{KEY}"}}"#);
        let bearer = format!("Bearer {KEY}");
        for headers in [
            vec![("authorization", bearer.as_str()), ("x-api-key", TOKEN)],
            vec![("x-api-key", TOKEN), ("x-byok-key", KEY), ("x-byok-keys", map.as_str())],
            vec![("x-keyferry-token", TOKEN), ("authorization", bearer.as_str()), ("x-byok-key", KEY)],
            vec![("x-keyferry-token", TOKEN), ("authorization", bearer.as_str()), ("x-byok-keys", "{}")],
            vec![("x-api-key", TOKEN), ("x-byok-key", KEY), ("x-sealed-key", "v=1")],
            vec![("x-keyferry-token", TOKEN), ("x-goog-api-key", KEY)],
            vec![("x-api-key", TOKEN), ("x-api-key", TOKEN)],
            vec![("x-api-key", TOKEN), ("x-byok-keys", "[1]")],
            vec![("x-api-key", TOKEN), ("x-byok-key", "short")],
            vec![("x-api-key", TOKEN), ("x-byok-key", "sk-kf-a-gateway-token")],
        ] {
            let problem = read_with("openai", &headers).err().expect("refused");
            assert_eq!(problem.code, Code::InvalidRequest, "{headers:?}");
        }
    }

    #[test]
    fn modes_that_are_not_served_never_fall_back_to_another_key() {
        for name in ["x-sealed-key", "x-encrypted-key", "x-session-key"] {
            let problem = read_with("openai", &[("x-api-key", TOKEN), (name, "v=1")]).err().expect("refused");
            assert_eq!(problem.code, Code::Disabled, "{name}");
        }
    }
    #[test]
    fn what_a_stranger_sends_stays_in_the_share_for_what_comes_in() {
        let long = "k".repeat(500);
        let (token, bearer) = (format!("sk-kf-{long}"), format!("Bearer {long}"));
        let map = format!(r#"{{"openai": "{long}"}}"#);
        let before = keyferry_secretmem::shares();
        let held: Vec<_> = (0..400)
            .flat_map(|_| {
                [
                    read_with("openai", &[("x-api-key", &token)]),
                    read_with("openai", &[("x-keyferry-token", &token), ("authorization", &bearer)]),
                    read_with("openai", &[("x-keyferry-token", &token), ("x-byok-keys", &map)]),
                ]
            })
            .collect();
        assert!(held.iter().all(Result::is_ok));
        let now = keyferry_secretmem::shares();
        // Other tests take of both meanwhile, but never so many.
        assert!(now.own.in_use + (now.own.overflowed as usize) < before.own.in_use + 400);
        assert!(now.incoming.in_use + (now.incoming.overflowed as usize) > before.incoming.in_use + 1200);
    }
}
