//! What every root must do: the specification of the port.

use keyferry_core::port::root::{KeyVersions, Root, RootError};
use keyferry_envelope::{KeyContext, KeyPurpose, SecretBytes};

pub const CONTEXT: KeyContext<'static> =
    KeyContext { purpose: KeyPurpose::TenantKek, owner: "acme", id: "kek_1" };

pub fn key(byte: u8) -> SecretBytes {
    SecretBytes::new(vec![byte; 32])
}

/// The whole suite.
pub async fn conforms(root: &dyn Root) {
    what_was_wrapped_unwraps(root).await;
    another_context_is_refused(root).await;
    changed_bytes_are_refused(root).await;
    renewing_keeps_the_key(root).await;
}

pub async fn what_was_wrapped_unwraps(root: &dyn Root) {
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    assert!(wrapped.len() <= 4096);
    assert!(root.unwrap(&CONTEXT, &wrapped).await.expect("unwraps").ct_eq(&key(7)));
    let again = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    assert_ne!(wrapped, again, "the same key twice is wrapped in two ways");
}

pub async fn another_context_is_refused(root: &dyn Root) {
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
        let refused = root.renew(&context, &wrapped).await;
        assert!(matches!(refused, Err(RootError::Refused)) || matches!(refused, Ok(None)), "{context:?}");
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

pub async fn renewing_keeps_the_key(root: &dyn Root) {
    let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    let renewed = root.renew(&CONTEXT, &wrapped).await.expect("renews");
    assert!(renewed.is_none(), "it is under the newest version already");
}

/// For roots whose own key has versions: `rotate` makes a new one.
pub async fn rotation_keeps_old_keys_readable(root: &dyn Root, rotate: impl AsyncFn()) {
    let before = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    rotate().await;
    assert!(root.unwrap(&CONTEXT, &before).await.expect("unwraps").ct_eq(&key(7)));
    let after = root.renew(&CONTEXT, &before).await.expect("renews").expect("there is a newer version");
    assert_ne!(before, after);
    for wrapped in [&before, &after] {
        assert!(root.unwrap(&CONTEXT, wrapped).await.expect("unwraps").ct_eq(&key(7)));
        let other = KeyContext { owner: "globex", ..CONTEXT };
        assert!(matches!(root.unwrap(&other, wrapped).await, Err(RootError::Refused)));
    }
    assert!(root.renew(&CONTEXT, &after).await.expect("renews").is_none(), "it is renewed already");
    let KeyVersions::Newest(newest) = root.versions().await.expect("tells") else {
        panic!("it has versions")
    };
    assert_eq!(root.version_of(&after), Some(newest));
    assert_eq!(root.version_of(&before), Some(newest - 1), "what lies under an old version is seen to");
}
