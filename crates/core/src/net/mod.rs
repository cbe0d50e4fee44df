//! Decides which provider hosts, addresses, base URLs and request targets may exist; it must never resolve, dial or
//! repair anything.
//!
//! In a gateway that attaches a tenant's key to whatever it dials, a forged destination is a stolen key. So the
//! rules here share one posture: the input must already *be* the canonical spelling. Nothing is trimmed, decoded,
//! mapped or normalised into acceptance, because every form that one parser repairs is a form that the next parser in
//! the chain (SNI, `Host`, log, firewall, the operator's eyes) reads differently.
//!
//! | module | judges |
//! |---|---|
//! | [`address`] | an IP address, and the whole answer to a lookup |
//! | [`host`] | the name of a provider, and the set of names in use |
//! | [`base_url`] | the base URL of a provider |
//! | [`path`] | the path in a base URL or a request target |
//! | [`target`] | the target of a request that a client sent |
//!
//! Refusals are closed enums of static text. They never repeat the input: a pasted URL can hold a key.

pub mod address;
pub mod base_url;
pub mod host;
pub mod path;
pub mod target;
