//! What is allowed and what it costs. No I/O: this crate decides, others carry out.
//!
//! | module | holds |
//! |---|---|
//! | [`id`], [`time`], [`clock`] | names, instants and where they come from |
//! | [`tenant`], [`token`], [`issuer`], [`credential`] | what the control plane manages |
//! | [`wrapped`] | keys under a root, as they are stored |
//! | [`sealing`] | keys that clients seal to: stored, published, and used |
//! | [`provider`], [`operation`], [`headers`] | which host, path, method and header a request may reach |
//! | [`model`], [`tier`], [`unified`] | what models are called, who may use them, and where they are reached in one dialect |
//! | [`net`] | the address guard and the canonical-URL rule |
//! | [`breaker`] | when to stop asking something that fails |
//! | [`admission`], [`limits`] | the ordered decision to let a request through |
//! | [`body`], [`meter`], [`usage`], [`record`] | what a request asked for and what it consumed |
//! | [`money`], [`budget`] | what that costs, and what may be spent |
//! | [`mask`], [`verdict`], [`fallback`], [`dialect`] | reading what providers answer, and what follows |
//! | [`audit`] | the hash-chained log of every key operation |
//! | [`code`] | the closed list of error codes |
//! | [`port`] | what a storage or counter backend must do |
#![forbid(unsafe_code)]

pub mod admission;
pub mod audit;
pub mod body;
pub mod breaker;
pub mod budget;
pub mod clock;
pub mod code;
pub mod credential;
pub mod dialect;
pub mod fallback;
pub mod headers;
pub mod id;
pub mod issuer;
pub mod limits;
pub mod map;
pub mod mask;
pub mod meter;
pub mod model;
pub mod money;
pub mod net;
pub mod operation;
pub mod port;
pub mod provider;
pub mod record;
pub mod sealing;
pub mod tenant;
pub mod tier;
pub mod time;
pub mod token;
pub mod unified;
pub mod usage;
pub mod verdict;
pub mod wrapped;
