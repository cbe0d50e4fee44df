//! Bad days: each failure of the server is the right error, in time.

use std::time::{Duration, Instant};

use keyferry_core::port::root::{Root, RootError};
use keyferry_kms_testing::{
    Bench,
    transit::{Day, Transit},
};

use crate::suite::{CONTEXT, key};

/// What the port promises for one call, and what a loaded machine may add.
const PROMISED: Duration = Duration::from_millis(5500);

/// What each of the three operations answers on this day.
async fn on(day: Day) -> [Option<RootError>; 3] {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    let wrapped = vault.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    server.has(day);
    let started = Instant::now();
    let fresh = key(7);
    let (wrap, unwrap, renew) = tokio::join!(
        vault.wrap(&CONTEXT, &fresh),
        vault.unwrap(&CONTEXT, &wrapped),
        vault.renew(&CONTEXT, &wrapped)
    );
    assert!(started.elapsed() < PROMISED, "{day:?} took {:?}", started.elapsed());
    server.has(Day::Fine);
    assert!(vault.unwrap(&CONTEXT, &wrapped).await.is_ok(), "after {day:?} all is well");
    [wrap.err(), unwrap.err(), renew.err()]
}

#[tokio::test]
async fn a_server_that_cannot_answer_now_is_away() {
    for day in [Day::Sealed, Day::Throttling, Day::Failing, Day::Redirecting, Day::ResetInBody] {
        for error in on(day).await {
            assert!(matches!(error, Some(RootError::Away(_))), "{day:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_away_in_time() {
    for day in [Day::Silent, Day::Stalling] {
        for error in on(day).await {
            assert!(matches!(error, Some(RootError::Away(_))), "{day:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_away_and_comes_back() {
    let mut server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    let wrapped = vault.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    server.down().await;
    let started = Instant::now();
    assert!(matches!(vault.unwrap(&CONTEXT, &wrapped).await, Err(RootError::Away(_))));
    assert!(started.elapsed() < PROMISED);
    server.up().await;
    assert!(vault.unwrap(&CONTEXT, &wrapped).await.is_ok());
}

#[tokio::test]
async fn a_server_that_denies_is_told_apart() {
    for error in on(Day::Denying).await {
        assert!(matches!(error, Some(RootError::Denied(_))), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_garbage() {
    for day in [Day::Html, Day::TruncatedJson, Day::WrongBase64, Day::ShortKey, Day::Huge, Day::NotHttp] {
        for error in on(day).await {
            assert!(matches!(error, Some(RootError::Garbage(_))), "{day:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn every_failure_but_a_refusal_speaks_of_the_root() {
    for day in [Day::Sealed, Day::Denying, Day::Html] {
        for error in on(day).await {
            assert!(error.is_some_and(|error| error.is_failure()), "{day:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_have_come_from_transit_is_refused_without_asking() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let (vault, before) = (bench.vault(), server.requests());
    for bytes in [b"".as_slice(), b"vault:v1:", b"\xFF\xFE", b"vault:v1:AA\",\"x\":\"", &[b'v'; 9000]] {
        assert!(matches!(vault.unwrap(&CONTEXT, bytes).await, Err(RootError::Refused)));
    }
    assert_eq!(server.requests(), before);
}

#[tokio::test]
async fn a_server_that_binds_nothing_wraps_nothing() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    server.has(Day::Unbinding);
    for _ in 0..2 {
        match vault.wrap(&CONTEXT, &key(7)).await {
            Err(RootError::Denied(words)) => assert!(words.contains("associated data"), "{words}"),
            other => panic!("expected a denial, got {:?}", other.err()),
        }
    }
    server.has(Day::Fine);
    vault.wrap(&CONTEXT, &key(7)).await.expect("it was updated");
}

#[tokio::test]
async fn every_call_has_a_connection_of_its_own() {
    let server = Transit::start().await;
    let bench = Bench::small(&server, "transit").await;
    let vault = bench.vault();
    vault.wrap(&CONTEXT, &key(7)).await.expect("wraps, and proves that the server binds");
    let before = server.connections();
    let wrapped = vault.wrap(&CONTEXT, &key(7)).await.expect("wraps");
    vault.unwrap(&CONTEXT, &wrapped).await.expect("unwraps");
    vault.unwrap(&CONTEXT, &wrapped).await.expect("unwraps");
    assert_eq!(server.connections() - before, 3);
}
