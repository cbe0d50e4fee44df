use keyferry_core::{
    credential::{State, TestResult},
    id::CredentialId,
    port::store::{Store, StoreError},
    verdict::KeyStatus,
};

use crate::sample::{credential, draft, now, page, sealed, version, with_tenant};

pub(crate) async fn a_credential_lives_from_storing_to_revocation(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let first = credential("cred_1", &tenant, "openai", "default");
    store.create_credential(&first, draft("credential.stored")).await.expect("stored");

    let twin = credential("cred_2", &tenant, "openai", "default");
    let refused = store.create_credential(&twin, draft("credential.stored")).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "one active key each provider and label");
    let other = credential("cred_3", &tenant, "openai", "second");
    store.create_credential(&other, draft("credential.stored")).await.expect("another label");

    let read = store.sealed_credentials(&tenant).await.expect("read");
    assert_eq!(read.iter().map(|c| c.summary.id.as_str()).collect::<Vec<_>>(), ["cred_1", "cred_3"]);
    assert_eq!(read[0].summary, first.summary);
    assert_eq!((&read[0].sealed, read[0].origin.as_str()), (&first.sealed, first.origin.as_str()));

    let id: CredentialId = "cred_1".parse().expect("valid");
    let test = TestResult { status: KeyStatus::Ok, at: Some(now()) };
    store.record_test(&tenant, &id, test, draft("credential.tested")).await.expect("recorded");
    assert_eq!(store.credential(&tenant, &id).await.expect("read").expect("there").test, test);

    let new = sealed(2);
    let rotated = store.rotate_credential(
        &tenant,
        &id,
        version(2, &new, Some(now().plus_secs(60))),
        draft("credential.rotated"),
    );
    let rotated = rotated.await.expect("rotated");
    assert_eq!(
        (rotated.version, rotated.last4.as_str(), rotated.test.status),
        (2, "wxyz", KeyStatus::Untested)
    );
    let late =
        store.rotate_credential(&tenant, &id, version(2, &new, None), draft("credential.rotated")).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "a rotation that came between is not overwritten");
    let read = store.sealed_credentials(&tenant).await.expect("read");
    assert_eq!((read[0].summary.version, &read[0].sealed), (2, &new));
    assert_eq!(store.destroy_overlapped(now()).await.expect("swept"), 0);
    assert_eq!(store.destroy_overlapped(now().plus_secs(61)).await.expect("swept"), 1);

    store.revoke_credential(&tenant, &id, draft("credential.revoked")).await.expect("revoked");
    let again = store.revoke_credential(&tenant, &id, draft("credential.revoked")).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))), "a second revocation changes nothing");
    let after =
        store.rotate_credential(&tenant, &id, version(3, &new, None), draft("credential.rotated")).await;
    assert!(matches!(after, Err(StoreError::Conflict(_))), "a revoked key does not come back");
    let left = store.sealed_credentials(&tenant).await.expect("read");
    assert_eq!(left.iter().map(|c| c.summary.id.as_str()).collect::<Vec<_>>(), ["cred_3"]);
    let listed = store.credentials(&tenant, &page(10)).await.expect("listed");
    assert_eq!(
        listed.data.iter().map(|c| (c.id.as_str(), c.state)).collect::<Vec<_>>(),
        [("cred_3", State::Active), ("cred_1", State::Revoked)]
    );
    store.create_credential(&twin, draft("credential.stored")).await.expect("its place is free again");

    let stranger = "stranger".parse().expect("valid");
    let other = "cred_3".parse().expect("valid");
    let not_theirs = store.revoke_credential(&stranger, &other, draft("credential.revoked")).await;
    assert!(matches!(not_theirs, Err(StoreError::NotFound(_))));
}
