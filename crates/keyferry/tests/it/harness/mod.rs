//! What the tests stand on: the real program in a folder of its own, a scripted provider, and a
//! client that sends and reads bytes.

mod client;
mod database;
mod gateway;
pub mod issuer;
mod provider;
mod shared;

use std::{future::Future, time::Duration};

pub use client::{Connection, Piece, Reply, connect, post_json, request};
pub use database::{Blobs, Database};
pub use gateway::{Gateway, OPERATOR, Options, Tenant, command};
pub use issuer::Issuer;
use keyferry_core::clock::{Clock, SystemClock};
pub use provider::{
    ANTHROPIC_STREAM, Answer, GEMINI_STREAM, Gate, OPENAI_STREAM, Provider, Seen, openai_completion,
};
pub use shared::Shared;
use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A key that no provider knows: long enough, and unlike every other one.
pub fn a_key(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}Zq7Hc2Vt9Lm4Xw8Rb{number:04}Kd6Ny3Pf5Sg1")
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemClock.now().secs()
}

/// Asks again and again until there is an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    until_after(Duration::ZERO, what, ask).await
}

/// The same, where it may take so much longer.
pub async fn until_after<T, F: Future<Output = Option<T>>>(
    longer: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE + longer;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
