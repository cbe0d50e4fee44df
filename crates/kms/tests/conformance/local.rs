//! A master secret in a file.

use std::sync::Arc;

use keyferry_core::port::root::{KeyVersions, Root};
use keyferry_envelope::{LocalRoot, SystemEntropy};
use keyferry_kms::local::Local;

use crate::suite::conforms;

#[tokio::test]
async fn a_master_secret_conforms() {
    let local = Local::new(LocalRoot::generate(&SystemEntropy), Arc::new(SystemEntropy));
    conforms(&local).await;
    assert_eq!(local.versions().await.expect("tells"), KeyVersions::One);
}
