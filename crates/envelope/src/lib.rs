//! Seals provider keys and opens them again, in exactly the place they were sealed for. It must never do I/O, log, or
//! hand out a key in a type that can be printed, cloned or serialised.
//!
//! | module | one idea |
//! |---|---|
//! | `secret`, `api_key` | bytes that are wiped on drop and cannot be printed; a provider key among them |
//! | `context` | what a sealed key is bound to, and its one encoding |
//! | `envelope` | [`Sealer`], [`Opener`], [`Rewrapper`]: three capabilities, one operation each |
//! | `kek`, `local` | tenant keys, and the local root they come from |
//! | `mac` | keyed fingerprints and chains |
//! | `session` | opens keys that clients sealed under keys of their own |
//! | `layer`, `wire`, `cbor` | the committing seal, its COSE container, its byte encoding (private) |
//! | `hazmat` | the only calls of AES-GCM, HKDF and HMAC (private) |
//!
//! ---
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod api_key;
mod cbor;
mod context;
mod entropy;
mod envelope;
mod error;
mod hazmat;
mod kek;
mod layer;
mod local;
mod mac;
mod secret;
mod session;
mod wire;

pub use api_key::ApiKey;
pub use context::Context;
pub use entropy::{Entropy, SystemEntropy};
pub use envelope::{Opener, Rewrapper, Sealed, Sealer, capabilities};
pub use error::{InvalidApiKey, InvalidMasterSecret, OpenError, SealError};
pub use kek::{KekId, TenantKek};
pub use local::LocalRoot;
pub use mac::{MacKey, fingerprint};
pub use secret::SecretBytes;
pub use session::open_session;
