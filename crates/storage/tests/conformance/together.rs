//! Several gateways on one database.

use futures_util::future::join_all;
use keyferry_core::{
    port::store::{Store, StoreError},
    record::Outcome,
};
use keyferry_storage::{Backend, Step, migrate, postgres::PostgresStore, status};
use keyferry_storage_testing::Postgres;

use crate::{
    sample::{credential, draft, now, on, page, tenant, whole_chain, with_tenant},
    usage::record,
};

#[tokio::test]
async fn what_one_gateway_changes_the_other_reads() {
    let Some(server) = Postgres::shared("what_one_gateway_changes_the_other_reads").await else { return };
    let url = server.new_database().await;
    let (one, other) = (on(&url).await, on(&url).await);
    let id = with_tenant(&one).await;
    assert_eq!(other.tenant(&id).await.expect("read"), Some(tenant("acme")));
    let key = credential("cred_1", &id, "openai", "default");
    other.create_credential(&key, draft("credential.stored")).await.expect("stored");
    assert_eq!(one.sealed_credentials(&id).await.expect("read").len(), 1);
    one.revoke_credential(&id, &key.summary.id, draft("credential.revoked")).await.expect("revoked");
    assert!(other.sealed_credentials(&id).await.expect("read").is_empty());
    let orders = other.epochs_to_move(10).await.expect("listed");
    assert_eq!(orders.len(), 3, "any of them may relay the other's");
    other.delete_tenant(&id, draft("tenant.deleted")).await.expect("deleted");
    let late = one.create_credential(&key, draft("credential.stored")).await;
    assert!(matches!(late, Err(StoreError::NotFound(_))), "{late:?}");
    assert_eq!(whole_chain(&one).await, 4);
}

/// Appends so many rows at once, each again until it is in; answers how often one was.
async fn append(store: &PostgresStore, times: usize) -> usize {
    let append = || async {
        for _ in 0..50 {
            match store.append_audit(draft("key.tested")).await {
                Ok(()) => return 1,
                // So it ends where too many wait for too long.
                Err(StoreError::Away(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        0
    };
    join_all((0..times).map(|_| append())).await.into_iter().sum()
}

#[tokio::test]
async fn a_hundred_rows_at_once_from_two_gateways_are_one_chain() {
    let test = "a_hundred_rows_at_once_from_two_gateways_are_one_chain";
    let Some(server) = Postgres::shared(test).await else { return };
    let url = server.new_database().await;
    let (one, other) = (on(&url).await, on(&url).await);
    let (of_one, of_other) = tokio::join!(append(&one, 50), append(&other, 50));
    assert_eq!((of_one, of_other), (50, 50));
    // One that was answered too late may be in all the same.
    assert!(whole_chain(&one).await >= 100);
}

#[tokio::test]
async fn changes_at_once_are_refused_or_whole() {
    let Some(server) = Postgres::shared("changes_at_once_are_refused_or_whole").await else { return };
    let url = server.new_database().await;
    let (one, other) = (on(&url).await, on(&url).await);
    let id = with_tenant(&one).await;
    let key = |store, name: String| {
        let key = credential(&name, &id, "openai", "default");
        async move { Store::create_credential(store, &key, draft("credential.stored")).await }
    };
    let stored =
        join_all((0..10).flat_map(|n| [key(&one, format!("cred_a{n}")), key(&other, format!("cred_b{n}"))]));
    let stored = stored.await;
    assert!(stored.iter().filter(|stored| stored.is_ok()).count() <= 1, "{stored:?}");
    assert_eq!(one.credentials(&id, &page(50)).await.expect("listed").data.len(), 1);
    assert_eq!(whole_chain(&other).await, 2);
}

/// Each has some of its own and uses all keys, and no two begin with the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_the_same_keys_from_two_gateways_hold_up_nobody() {
    let Some(server) = Postgres::shared("rows_of_the_same_keys_hold_up_nobody").await else { return };
    let url = server.new_database().await;
    let (one, other) = (on(&url).await, on(&url).await);
    let id = with_tenant(&one).await;
    let providers = ["openai", "anthropic", "gemini", "mistral"];
    for (number, provider) in providers.iter().enumerate() {
        let key = credential(&format!("cred_{number}"), &id, provider, "default");
        one.create_credential(&key, draft("credential.stored")).await.expect("stored");
    }
    let write = async |store: &PostgresStore, name: &str, first: usize| {
        for round in 0..50_i64 {
            let rows = (0..4).map(|number| {
                let at = (first + number) % 4;
                let mut row =
                    record(&format!("req_{name}_{round}_{number}"), providers[at], round, Outcome::Ok);
                row.credential_id = Some(format!("cred_{at}").parse().expect("valid"));
                row
            });
            store.record_usage(&rows.collect::<Vec<_>>()).await.expect("recorded");
        }
    };
    tokio::join!(write(&one, "a", 0), write(&other, "b", 2), write(&one, "c", 3), write(&other, "d", 1));
    let sums = one.usage(&id, None, None, &[]).await.expect("summed");
    assert_eq!(sums[0].sum.requests, 800);
    let last = Some(now().plus_secs(60 * 49));
    let keys = other.credentials(&id, &page(10)).await.expect("listed").data;
    assert!(keys.len() == 4 && keys.iter().all(|key| key.last_used_at == last), "{keys:?}");
}

#[tokio::test]
async fn gateways_that_start_at_once_migrate_once() {
    let Some(server) = Postgres::shared("gateways_that_start_at_once_migrate_once").await else { return };
    let url = server.new_database().await;
    let backend = Backend::parse(&url).expect("a URL");
    let before = status(&backend).await.expect("asked");
    assert!(!before.is_empty() && before.iter().all(|step| !step.applied));
    let migrated = join_all((0..6).map(|_| migrate(&backend))).await;
    let taken: Vec<Step> = migrated.into_iter().flat_map(|steps| steps.expect("migrated")).collect();
    let after = status(&backend).await.expect("asked");
    assert_eq!(taken, after, "each step was taken, by one of them");
    join_all((0..3).map(|_| on(&url))).await;
}

#[tokio::test]
async fn a_gateway_needs_no_right_to_change_the_tables() {
    let Some(server) = Postgres::shared("a_gateway_needs_no_right_to_change_the_tables").await else {
        return;
    };
    let url = server.new_database().await;
    migrate(&Backend::parse(&url).expect("a URL")).await.expect("migrated");
    let name = url.rsplit('/').next().expect("a name");
    let mut owner = server.connect(name).await.expect("connected");
    let rights = "CREATE ROLE gateway LOGIN PASSWORD 'gateway';
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO gateway";
    sqlx::raw_sql(rights).execute(&mut owner).await.expect("granted");
    let (_, place) = url.split_once('@').expect("a host");
    let store = on(&format!("postgres://gateway:gateway@{place}")).await;
    let id = with_tenant(&store).await;
    store.delete_tenant(&id, draft("tenant.deleted")).await.expect("deleted");
}

#[tokio::test]
async fn a_nul_that_a_caller_sent_holds_up_no_row() {
    let Some(server) = Postgres::shared("a_nul_that_a_caller_sent_holds_up_no_row").await else { return };
    let store = on(&server.new_database().await).await;
    let mut rows = ["req_1", "req_2"].map(|id| record(id, "openai", 0, Outcome::Ok));
    rows[0].model = Some("gpt\0-4".to_owned());
    store.record_usage(&rows).await.expect("recorded");
    let acme = "acme".parse().expect("valid");
    let listed = store.usage_rows(&acme, None, None, &page(10)).await.expect("listed");
    assert_eq!(listed.data[1].model.as_deref(), Some("gpt\u{fffd}-4"));
    assert_eq!(listed.data.len(), 2);
}
