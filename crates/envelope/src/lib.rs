//! Seals provider keys and opens them again, in exactly the place they were sealed for. It must never do I/O, log, or
//! hand out a key in a type that can be printed, cloned or serialised.
//!
//! | module | one idea |
//! |---|---|
//! | `secret`, `api_key` | bytes that are wiped on drop and cannot be printed; a provider key among them |
//! | `context` | what a sealed key is bound to, and its one encoding |
//! | `envelope` | [`Sealer`], [`Opener`], [`Rewrapper`]: three capabilities, one operation each |
//! | `kek`, `local` | tenant keys, and the local root that wraps them |
//! | `record_keys` | what a tenant key has opened lately, so that the next request needs one cipher (private) |
//! | `service` | the installation's own keys |
//! | `mac` | keyed fingerprints and chains |
//! | `sealing`, `sealed_key` | keys that clients seal to, and what they send |
//! | `signed` | the operator's signature under the list of these keys |
//! | `hpke` | hybrid public-key encryption (private but for [`Kem`]) |
//! | `session` | opens keys that clients sealed under keys of their own |
//! | `layer`, `wire`, `cbor` | the committing seal, its COSE container, its byte encoding (private) |
//! | `hazmat` | the only calls of the cryptographic library (private) |
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
mod hpke;
mod kek;
mod layer;
mod local;
mod mac;
mod record_keys;
mod sealed_key;
mod sealing;
mod secret;
mod service;
mod session;
mod signed;
mod wire;

pub use api_key::ApiKey;
pub use context::{Context, KeyContext, KeyPurpose};
pub use entropy::{Entropy, SystemEntropy};
pub use envelope::{Opener, Rewrapper, Sealed, Sealer, capabilities};
pub use error::{BadSignature, InvalidApiKey, InvalidMasterSecret, InvalidSealingKey, OpenError, SealError};
pub use hpke::Kem;
pub use kek::{KekId, TenantKek};
pub use local::LocalRoot;
pub use mac::{MacKey, fingerprint};
pub use sealed_key::{SEAL_NONCE_LEN, SealFor, SealPurpose, SealedKey, seal_key};
pub use sealing::{Kid, SealingKey, SealingPublicKey};
pub use secret::SecretBytes;
pub use service::ServiceSecret;
pub use session::open_session;
pub use signed::{SigningKey, VerifyingKey};
