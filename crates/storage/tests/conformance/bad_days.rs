//! A server that is slow, gone, or full.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, join_all};
use keyferry_core::port::store::{AuditFilter, Store, StoreError};
use keyferry_storage::postgres::{Address, PostgresStore};
use keyferry_storage_testing::Postgres;

use crate::sample::{draft, on, page, tenant, whole_chain, with_tenant};

/// A second, and what a busy machine adds.
const SOON: Duration = Duration::from_millis(1500);

/// Each kind of call: what it is, how it ended, how long it took.
async fn calls(store: &dyn Store, change: &str) -> Vec<(&'static str, Result<(), StoreError>, Duration)> {
    let acme = "acme".parse().expect("valid");
    let (token, new) = ("tok1".parse().expect("valid"), tenant(change));
    let (filter, page) = (AuditFilter::default(), page(10));
    let calls: Vec<Call<'_>> = vec![
        ("ping", store.ping()),
        ("setting", Box::pin(async { store.setting("x").await.map(drop) })),
        ("init_setting", Box::pin(async { store.init_setting("x", b"x").await.map(drop) })),
        ("tenant", Box::pin(async { store.tenant(&acme).await.map(drop) })),
        ("tenants", Box::pin(async { store.tenants(&page).await.map(drop) })),
        ("create_tenant", store.create_tenant(&new, draft("tenant.created"))),
        ("sealed_credentials", Box::pin(async { store.sealed_credentials(&acme).await.map(drop) })),
        ("token", Box::pin(async { store.token(&token).await.map(drop) })),
        ("kek_uses", Box::pin(async { store.kek_uses().await.map(drop) })),
        ("record_usage", store.record_usage(&[])),
        ("usage", Box::pin(async { store.usage(&acme, None, None, &[]).await.map(drop) })),
        ("append_audit", store.append_audit(draft("key.tested"))),
        ("audit", Box::pin(async { store.audit(&filter, &page).await.map(drop) })),
        ("audit_head", Box::pin(async { store.audit_head().await.map(drop) })),
        ("epochs_to_move", Box::pin(async { store.epochs_to_move(10).await.map(drop) })),
    ];
    join_all(calls.into_iter().map(timed)).await
}

type Call<'c> = (&'static str, BoxFuture<'c, Result<(), StoreError>>);

async fn timed((name, call): Call<'_>) -> (&'static str, Result<(), StoreError>, Duration) {
    let begun = Instant::now();
    let ended = call.await;
    (name, ended, begun.elapsed())
}

async fn all_away(store: &dyn Store, change: &str) {
    for (name, ended, took) in calls(store, change).await {
        assert!(matches!(ended, Err(StoreError::Away(_))), "{name}: {ended:?}");
        assert!(took < SOON, "{name} took {took:?}");
    }
}

async fn all_well(store: &dyn Store, change: &str) {
    for (name, ended, _) in calls(store, change).await {
        assert!(ended.is_ok(), "{name}: {ended:?}");
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_away_within_a_second() {
    let test = "a_server_that_stands_still_is_away_within_a_second";
    let Some(server) = Postgres::alone(test, &[]).await else { return };
    let store = on(&server.new_database().await).await;
    with_tenant(&store).await;
    all_well(&store, "before").await;
    server.pause();
    // More often than there are connections, so that none of them is left.
    for _ in 0..3 {
        all_away(&store, "never").await;
    }
    server.resume();
    until_it_is_back(&store).await;
    all_well(&store, "after").await;
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_of_changes_loses_none_that_was_answered() {
    let test = "a_server_that_stops_in_the_middle_of_changes_loses_none_that_was_answered";
    let Some(server) = Postgres::alone(test, &[]).await else { return };
    let store = on(&server.new_database().await).await;
    let stop = AtomicBool::new(false);
    let work = || async {
        let mut answered = 0;
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let ended = store.append_audit(draft("key.tested")).await;
            assert!(begun.elapsed() < SOON, "{ended:?} took {:?}", begun.elapsed());
            answered += i64::from(ended.is_ok());
        }
        answered
    };
    let day = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.pause();
            tokio::time::sleep(Duration::from_secs(2)).await;
            server.resume();
        }
        until_it_is_back(&store).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (answered, ()) = tokio::join!(join_all((0..8).map(|_| work())), day);
    let answered: i64 = answered.into_iter().sum();
    let rows = whole_chain(&store).await;
    assert!(answered > 0 && rows >= answered, "{rows} rows, {answered} answered");
}

async fn until_it_is_back(store: &dyn Store) {
    let begun = Instant::now();
    while let Err(error) = store.ping().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not come back: {error}");
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_is_used_again() {
    let test = "a_server_that_was_restarted_is_used_again";
    let Some(mut server) = Postgres::alone(test, &[]).await else { return };
    let store = on(&server.new_database().await).await;
    with_tenant(&store).await;
    all_well(&store, "before").await;
    server.restart().await;
    all_well(&store, "after").await;
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_away() {
    let test = "a_server_without_a_free_connection_is_away";
    let few = ["max_connections=6", "superuser_reserved_connections=0"];
    let Some(server) = Postgres::alone(test, &few).await else { return };
    let url = server.new_database().await;
    // Opened, and none of its connections is made yet.
    let store = PostgresStore::open(&Address::parse(&url).expect("a URL")).await.expect("opens");
    let mut taken = Vec::new();
    while let Ok(connection) = server.connect("postgres").await {
        taken.push(connection);
    }
    assert!((1..=6).contains(&taken.len()), "{}", taken.len());
    let begun = Instant::now();
    let ended = store.ping().await;
    assert!(matches!(ended, Err(StoreError::Away(_))), "{ended:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    drop(taken);
    until_it_is_back(&store).await;
}

#[tokio::test]
async fn a_password_goes_to_a_server_that_is_the_one() {
    let Some(server) = Postgres::shared("a_password_goes_to_a_server_that_is_the_one").await else { return };
    let url = server.new_database().await;
    let named = url.replace("127.0.0.1", "localhost");
    let ca = server.ca();
    let trusted = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    let open = |url: String| async move {
        let address = Address::parse(&url).expect("a URL");
        PostgresStore::open(&address).await.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(open(format!("{named}?{trusted}")).await, Ok(()));
    for url in [format!("{named}?sslmode=verify-full"), format!("{url}?{trusted}")] {
        let refused = open(url).await.expect_err("the certificate is for localhost, and by nobody known");
        assert!(refused.contains("TLS"), "{refused}");
    }
    let wrong = url.replace("keyferry:", "keyferry:hush");
    let refused = open(wrong).await.expect_err("the password is wrong");
    assert!(refused.contains("28P01") && !refused.contains("hush"), "{refused}");
}
