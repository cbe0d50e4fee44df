//! The root on a hardware module, against SoftHSM 2.
//!
//! SoftHSM finds its tokens through an environment variable of the process that loads it. So each test
//! starts this program again for itself alone, with a folder of tokens of its own.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cryptoki::object::Attribute;
use keyferry_core::port::root::{KeyVersions, Root, RootError};
use keyferry_envelope::SystemEntropy;
use keyferry_kms::{
    Pkcs11Config,
    pkcs11::{InvalidPkcs11, Pkcs11},
};

use crate::suite::{CONTEXT, conforms, key};
use keyferry_kms_testing::softhsm::{PIN, on_a_token};

fn root(config: &Pkcs11Config) -> Arc<dyn Root> {
    Arc::new(Pkcs11::new(config, Arc::new(SystemEntropy)).expect("a root"))
}

async fn denied(root: &dyn Root) -> String {
    match root.wrap(&CONTEXT, &key(7)).await {
        Err(RootError::Denied(why)) => why,
        other => panic!("expected a denial, got {:?}", other.map(|wrapped| wrapped.len())),
    }
}

#[test]
fn a_hardware_key_conforms() {
    on_a_token("pkcs11::a_hardware_key_conforms", async |hsm| {
        let root = root(&hsm.with_key("kek"));
        assert_eq!(root.id(), "pkcs11:keyferry/kek");
        conforms(&*root).await;
        assert_eq!(root.versions().await.expect("tells"), KeyVersions::One);
    });
}

#[test]
fn what_the_token_wraps_is_aes_gcm_bound_to_the_context() {
    on_a_token("pkcs11::what_the_token_wraps_is_aes_gcm_bound_to_the_context", async |hsm| {
        let config = hsm.with_known_key("known", &[9; 32]);
        let wrapped = root(&config).wrap(&CONTEXT, &key(7)).await.expect("wraps");
        let (head, sealed) = wrapped.split_at(13);
        assert_eq!(head[0], 1, "the version of the format");
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]).expect("12 bytes");
        let known = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[9; 32]).expect("a key"));
        let mut sealed = sealed.to_vec();
        let opened = known.open_in_place(nonce, Aad::from(CONTEXT.aad()), &mut sealed).expect("opens");
        assert_eq!(opened, [7; 32]);
    });
}

#[test]
fn what_another_key_wrapped_is_refused() {
    on_a_token("pkcs11::what_another_key_wrapped_is_refused", async |hsm| {
        let (one, other) = (root(&hsm.with_key("one")), root(&hsm.with_key("other")));
        let wrapped = one.wrap(&CONTEXT, &key(7)).await.expect("wraps");
        assert!(matches!(other.unwrap(&CONTEXT, &wrapped).await, Err(RootError::Refused)));
        assert!(one.unwrap(&CONTEXT, &wrapped).await.is_ok());
    });
}

#[test]
fn a_token_that_goes_away_is_away_and_works_again_when_it_is_back() {
    on_a_token("pkcs11::a_token_that_goes_away_is_away_and_works_again_when_it_is_back", async |hsm| {
        let root = root(&hsm.with_key("kek"));
        let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
        hsm.take_away();
        for _ in 0..3 {
            let unwrapped = root.unwrap(&CONTEXT, &wrapped).await;
            assert!(matches!(unwrapped, Err(RootError::Away(_))), "a token that is gone refuses nothing");
            assert!(matches!(root.wrap(&CONTEXT, &key(7)).await, Err(RootError::Away(_))));
        }
        hsm.bring_back();
        assert!(root.unwrap(&CONTEXT, &wrapped).await.expect("unwraps").ct_eq(&key(7)));
    });
}

#[test]
fn a_module_that_begins_anew_for_one_token_goes_on_for_the_other() {
    on_a_token("pkcs11::a_module_that_begins_anew_for_one_token_goes_on_for_the_other", async |hsm| {
        let config = hsm.with_key("kek");
        let absent = root(&Pkcs11Config { token_label: "absent".to_owned(), ..config.clone() });
        let root = root(&config);
        for _ in 0..3 {
            let wrapped = root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
            assert!(matches!(absent.wrap(&CONTEXT, &key(7)).await, Err(RootError::Away(_))));
            assert!(root.unwrap(&CONTEXT, &wrapped).await.expect("unwraps").ct_eq(&key(7)));
        }
    });
}

#[test]
fn a_refused_pin_is_not_tried_again_until_its_file_changes() {
    on_a_token("pkcs11::a_refused_pin_is_not_tried_again_until_its_file_changes", async |hsm| {
        let config = hsm.with_key("kek");
        hsm.write_pin("0000");
        let root = root(&config);
        assert!(denied(&*root).await.contains("`pin_file`: PinIncorrect"));
        // Now the token would take it, which shows whether it is tried.
        hsm.set_pin("0000");
        for _ in 0..3 {
            assert!(denied(&*root).await.contains("not tried again"));
            hsm.write_pin("0000");
        }
        hsm.set_pin(PIN);
        hsm.write_pin(PIN);
        root.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    });
}

#[test]
fn a_pin_file_that_others_may_read_is_refused_at_the_start_and_later() {
    on_a_token("pkcs11::a_pin_file_that_others_may_read_is_refused_at_the_start_and_later", async |hsm| {
        let config = hsm.with_key("kek");
        let root = root(&config);
        hsm.let_others_read_the_pin();
        assert!(denied(&*root).await.contains("0644"));
        let refused = Pkcs11::new(&config, Arc::new(SystemEntropy)).err();
        assert!(matches!(refused, Some(InvalidPkcs11::PinFile(_))));
    });
}

#[test]
fn a_key_that_is_not_locked_into_the_token_is_refused() {
    on_a_token("pkcs11::a_key_that_is_not_locked_into_the_token_is_refused", async |hsm| {
        let cases = [
            ("leaves", Attribute::Extractable(true), "extractable"),
            ("shows", Attribute::Sensitive(false), "sensitive"),
            ("short", Attribute::ValueLen(16.into()), "256 bits"),
            ("mute", Attribute::Encrypt(false), "may not encrypt"),
            ("deaf", Attribute::Decrypt(false), "may not decrypt"),
        ];
        for (label, attribute, word) in cases {
            let why = denied(&*root(&hsm.with_key_but(label, attribute))).await;
            assert!(why.contains(word), "{label}: {why}");
        }
    });
}

#[test]
fn a_label_must_name_one_key() {
    on_a_token("pkcs11::a_label_must_name_one_key", async |hsm| {
        let config = hsm.with_key("kek");
        let none = root(&Pkcs11Config { key_label: "absent".to_owned(), ..config.clone() });
        assert!(denied(&*none).await.contains("no AES key"));
        hsm.with_key("kek");
        assert!(denied(&*root(&config)).await.contains("two AES keys"));
    });
}

#[test]
fn what_is_no_module_is_refused_at_the_start() {
    let pin = tempfile::NamedTempFile::new().expect("a file that its owner alone may read");
    std::fs::write(pin.path(), "1234").expect("written");
    for module in [pin.path().to_owned(), "/nonexistent/module.so".into()] {
        let config = Pkcs11Config {
            module,
            token_label: "keyferry".to_owned(),
            key_label: "kek".to_owned(),
            pin_file: pin.path().to_owned(),
        };
        let refused = Pkcs11::new(&config, Arc::new(SystemEntropy)).err();
        assert!(matches!(refused, Some(InvalidPkcs11::Module(_))));
    }
}
