//! One suite for every root. To add a root, add it to the list in [`every_root`]: the suite is the
//! specification.

mod aws;
mod pkcs11;

use std::sync::Arc;

use keyferry_core::port::root::{Root, RootError};
use keyferry_envelope::{KeyContext, KeyPurpose, LocalRoot, SecretBytes, SystemEntropy};
use keyferry_kms::local::Local;

const CONTEXT: KeyContext<'static> =
    KeyContext { purpose: KeyPurpose::TenantKek, owner: "acme", id: "kek_1" };

fn key(byte: u8) -> SecretBytes {
    SecretBytes::new(vec![byte; 32])
}

fn local() -> Arc<dyn Root> {
    Arc::new(Local::new(LocalRoot::generate(&SystemEntropy), Arc::new(SystemEntropy)))
}

async fn what_was_wrapped_unwraps(root: &dyn Root) {
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    assert!(wrapped.len() <= 4096);
    assert!(root.unwrap(&CONTEXT, &wrapped).await.expect("unwraps").ct_eq(&key(7)));
    let again = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    assert_ne!(wrapped, again, "the same key twice is wrapped in two ways");
}

async fn another_context_is_refused(root: &dyn Root) {
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    for context in [
        KeyContext { purpose: KeyPurpose::Service, ..CONTEXT },
        KeyContext { purpose: KeyPurpose::Sealing, ..CONTEXT },
        KeyContext { owner: "globex", ..CONTEXT },
        KeyContext { owner: "", ..CONTEXT },
        KeyContext { id: "kek_2", ..CONTEXT },
        KeyContext { owner: "acmek", id: "ek_1", ..CONTEXT },
    ] {
        let refused = root.unwrap(&context, &wrapped).await;
        assert!(matches!(refused, Err(RootError::Refused)), "{context:?}");
    }
}

async fn changed_bytes_are_refused(root: &dyn Root) {
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    let mut changed = vec![Vec::new(), b"garbage".to_vec(), wrapped[..wrapped.len() - 1].to_vec()];
    for at in [0, wrapped.len() / 2, wrapped.len() - 1] {
        let mut bytes = wrapped.clone();
        bytes[at] ^= 1;
        changed.push(bytes);
    }
    for bytes in changed {
        let refused = root.unwrap(&CONTEXT, &bytes).await;
        assert!(matches!(refused, Err(RootError::Refused)), "{} bytes", bytes.len());
    }
}

async fn renewing_keeps_the_key(root: &dyn Root) {
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    let renewed = root.renew(&CONTEXT, &wrapped).await.expect("renews");
    assert!(renewed.is_none(), "it is under the newest version already");
}

async fn conforms(root: Arc<dyn Root>) {
    what_was_wrapped_unwraps(&*root).await;
    another_context_is_refused(&*root).await;
    changed_bytes_are_refused(&*root).await;
    renewing_keeps_the_key(&*root).await;
}

#[tokio::test]
async fn a_master_secret_conforms() {
    conforms(local()).await;
}
