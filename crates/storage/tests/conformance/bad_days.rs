//! A server that is slow, gone, or full.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, join_all};
use keyferry_core::port::store::{AuditFilter, Store, StoreError};
use keyferry_storage::postgres::{Address, POOL, PostgresStore, REPORTS};
use keyferry_storage_testing::Postgres;
use sqlx::{PgConnection, Row};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

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
        ("record_usage", Box::pin(async { store.record_usage(&[]).await.map(drop) })),
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

/// All at once go well; on a busy machine not at the first time.
async fn all_well(store: &dyn Store, change: &str) {
    let mut ended = Vec::new();
    for attempt in 0..10 {
        ended = calls(store, &format!("{change}{attempt}")).await;
        if ended.iter().all(|(_, ended, _)| ended.is_ok()) {
            return;
        }
    }
    panic!("{ended:?}");
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
    let store = PostgresStore::open(&Address::parse(&url).expect("a URL")).await.expect("opens");
    let mut taken = vec![server.connect("postgres").await.expect("there is one more")];
    end_connections(&mut taken[0], url.rsplit('/').next().expect("a name")).await;
    while let Ok(connection) = server.connect("postgres").await {
        taken.push(connection);
    }
    assert!((2..=6).contains(&taken.len()), "{}", taken.len());
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

/// Ends what a store has open.
async fn end_connections(owner: &mut PgConnection, database: &str) {
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
               WHERE datname = $1 AND application_name = 'keyferry'";
    sqlx::query(end).bind(database).execute(owner).await.expect("ended");
}

/// A connection of the test's own to the database of a URL.
async fn beside(server: &Postgres, url: &str) -> PgConnection {
    server.connect(url.rsplit('/').next().expect("a name")).await.expect("connected")
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_not_waited_for() {
    let Some(server) = Postgres::shared("a_lock_that_is_held_too_long_is_not_waited_for").await else {
        return;
    };
    let url = server.new_database().await;
    let store = on(&url).await;
    let mut holder = beside(server, &url).await;
    let held = "BEGIN; SELECT * FROM audit_head FOR UPDATE";
    sqlx::raw_sql(held).execute(&mut holder).await.expect("locked");
    let begun = Instant::now();
    let ended = store.append_audit(draft("key.tested")).await;
    assert!(matches!(&ended, Err(StoreError::Away(reason)) if reason.contains("55P03")), "{ended:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    store.ping().await.expect("what needs no lock goes on");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("released");
    store.append_audit(draft("key.tested")).await.expect("appended");
    assert_eq!(whole_chain(&store).await, 1);
}

#[tokio::test]
async fn a_database_that_takes_no_change_is_away() {
    let Some(server) = Postgres::shared("a_database_that_takes_no_change_is_away").await else { return };
    let url = server.new_database().await;
    let store = PostgresStore::open(&Address::parse(&url).expect("a URL")).await.expect("opens");
    let name = url.rsplit('/').next().expect("a name");
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    let mut owner = beside(server, &url).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(read_only)).execute(&mut owner).await.expect("set");
    // It holds for connections that are made from here on.
    end_connections(&mut owner, name).await;
    let ended = store.ping().await;
    assert!(matches!(&ended, Err(StoreError::Away(reason)) if reason.contains("read only")), "{ended:?}");
}

/// The port of a way to a database, on which one connection is slow to be made: this one, counted from 1.
#[expect(clippy::disallowed_methods, reason = "a test is between the store and its server")]
async fn slow_at(slow: usize, server: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        for number in 1.. {
            let Ok((mut near, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                if number == slow {
                    tokio::time::sleep(SOON).await;
                }
                let mut far = TcpStream::connect(("127.0.0.1", server)).await?;
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    port
}

#[tokio::test]
async fn when_it_is_opened_a_connection_that_is_slow_is_tried_again() {
    let test = "when_it_is_opened_a_connection_that_is_slow_is_tried_again";
    let Some(server) = Postgres::shared(test).await else { return };
    // The first looks at the tables, the second is the first that is used.
    for slow in [1, 2] {
        let url = server.new_database().await;
        let (before, name) = url.rsplit_once('/').expect("a name");
        let (before, port) = before.rsplit_once(':').expect("a port");
        let port = slow_at(slow, port.parse().expect("a number")).await;
        let store = on(&format!("{before}:{port}/{name}")).await;
        store.ping().await.expect("it is there at once");
    }
}

#[tokio::test]
async fn a_gateway_takes_no_more_connections_than_it_says() {
    let test = "a_gateway_takes_no_more_connections_than_it_says";
    let Some(server) = Postgres::shared(test).await else { return };
    let url = server.new_database().await;
    let store = on(&url).await;
    let page = page(10);
    let one = async || {
        let ended = store.tenants(&page).await.map(drop).and(store.kek_uses().await.map(drop));
        matches!(ended, Ok(()) | Err(StoreError::Away(_)))
    };
    assert!(join_all((0..50).map(|_| one())).await.into_iter().all(|well| well));
    let count = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'keyferry'";
    let row = sqlx::query(count).fetch_one(&mut beside(server, &url).await).await.expect("counted");
    let connections: i64 = row.get(0);
    assert!((2..=i64::from(POOL + REPORTS)).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_server_on_this_machine_is_reached_by_its_socket() {
    let Some(server) = Postgres::shared("a_server_on_this_machine_is_reached_by_its_socket").await else {
        return;
    };
    let url = server.new_database().await;
    let store = on(&server.socket_url(url.rsplit('/').next().expect("a name"))).await;
    with_tenant(&store).await;
}
