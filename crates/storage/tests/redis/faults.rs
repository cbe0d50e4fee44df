//! Servers that are stopped, hang, are full, or may not be written to.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use keyferry_core::{
    budget::{Hold, Reserve, Span, Standing},
    port::counter::{Counters, Reserved, Settled},
};
use keyferry_storage::counter::{RedisCounters, RedisError};
use keyferry_storage_testing::redis::RedisServer;
use tokio::time::{Instant, sleep, timeout};

use crate::stage::{
    PROMISED, Request, away, is_taken, open, request_id, reserve, soon, tenant, time_of, try_open,
};

/// For thousands who are told what is known already: less than the deadline of one who waits.
const AT_ONCE: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_stopped_server_is_said_to_be_away_and_comes_back() {
    let Some(server) = RedisServer::start("stopped") else { return };
    let counters = open(&server.url(0), None).await;
    let tenant = tenant(1);
    server.kill();
    away(counters.epoch(&tenant)).await;
    sleep(Duration::from_millis(300)).await;
    // Now that it is known, nobody waits.
    let begun = Instant::now();
    for asked in join_all((0..1000).map(|_| counters.epoch(&tenant))).await {
        assert!(asked.is_err());
    }
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    server.start_again();
    let begun = Instant::now();
    soon(|| counters.epoch(&tenant)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Each tenant has used another part of its quota, so an answer that came to the wrong question would show.
async fn tenants_tell_each_other_apart(server: &RedisServer, counters: &RedisCounters) {
    let day = time_of(server).day();
    let tenants: Vec<_> = (0..40).map(tenant).collect();
    let used = join_all(tenants.iter().map(|tenant| counters.quota_used(tenant, day))).await;
    for (number, used) in used.into_iter().enumerate() {
        assert_eq!(used.expect("answers"), number as u64);
    }
}

async fn use_quotas(server: &RedisServer, counters: &RedisCounters) {
    let now = time_of(server);
    for number in 0..40 {
        let tenant = tenant(number);
        for _ in 0..number {
            assert!(is_taken(&Request::of(&tenant, now).decide(counters).await));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_holds_nobody_up_and_mixes_nothing_up_afterwards() {
    let Some(server) = RedisServer::start("hanging") else { return };
    let counters = open(&server.url(0), None).await;
    use_quotas(&server, &counters).await;
    let day = time_of(&server).day();
    let tenants: Vec<_> = (0..40).map(tenant).collect();
    server.pause();
    let begun = Instant::now();
    let asked = join_all((0..2000).map(|number| counters.quota_used(&tenants[number % 40], day))).await;
    assert!(asked.iter().all(Result::is_err));
    assert!(begun.elapsed() < PROMISED, "{:?}", begun.elapsed());
    // It is known to hang: the next are told at once.
    let begun = Instant::now();
    let asked = join_all((0..2000).map(|number| counters.quota_used(&tenants[number % 40], day))).await;
    assert!(asked.iter().all(Result::is_err));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    server.resume();
    soon(|| counters.ping()).await;
    tenants_tell_each_other_apart(&server, &counters).await;
    assert_eq!(counters.lost_at(), None, "it has lost nothing");
}

#[tokio::test]
async fn a_question_that_is_given_up_leaves_its_answer_to_nobody() {
    let Some(server) = RedisServer::start("given up") else { return };
    let counters = open(&server.url(0), None).await;
    use_quotas(&server, &counters).await;
    let day = time_of(&server).day();
    let tenants: Vec<_> = (0..40).map(tenant).collect();
    for micros in 0..200 {
        let given_up = tenants
            .iter()
            .map(|tenant| timeout(Duration::from_micros(micros * 10), counters.quota_used(tenant, day)));
        join_all(given_up).await;
        tenants_tell_each_other_apart(&server, &counters).await;
    }
}

#[tokio::test]
async fn a_full_server_refuses_and_nothing_is_half_taken() {
    let Some(server) = RedisServer::start("full") else { return };
    let counters = open(&server.url(0), None).await;
    let tenant = tenant(1);
    let now = time_of(&server);
    let (held, refused) = (request_id(1), request_id(2));
    let before = Request { reserve: Some(reserve(&held)), ..Request::of(&tenant, now) };
    assert!(is_taken(&before.decide(&counters).await));
    // Here there is something to drop first, which must not open the door to what comes behind it.
    let untidy = crate::stage::tenant(2);
    let over = Reserve { hold: Hold { ttl_ms: 1, ..reserve(&held).hold }, ..reserve(&held) };
    assert_eq!(counters.reserve(&untidy, &over, now).await.expect("answers"), Reserved::Held);
    let epoch = counters.epoch(&untidy).await.expect("answers");
    sleep(Duration::from_millis(5)).await;

    let mut client = server.client(0);
    client.ask::<()>("CONFIG SET maxmemory 1");
    let request = Request { reserve: Some(reserve(&refused)), ..Request::of(&tenant, now).with_claim(1) };
    assert!(away(request.try_decide(&counters)).await.contains("full"));
    assert!(away(counters.reserve(&tenant, &reserve(&refused), now)).await.contains("full"));
    let other = Request { reserve: Some(reserve(&refused)), ..Request::of(&untidy, now).with_claim(1) };
    assert!(away(counters.decide(&other.plan(epoch))).await.contains("full"));
    assert!(away(counters.ping()).await.contains("full"), "nobody is sent to who can count nothing");
    // What gives room back goes on.
    let settled = Settled { tenant: &tenant, id: &held, spent: &[], once: None };
    counters.settle(&[settled], now).await.expect("answers");
    let standing = counters.standing(&tenant, Span::TOTAL, now).await.expect("answers");
    assert_eq!(standing, Standing { held: 0, ..standing });

    client.ask::<()>("CONFIG SET maxmemory 0");
    assert_eq!(counters.quota_used(&tenant, now.day()).await.expect("answers"), 1);
    assert_eq!(counters.standing(&tenant, Span::TOTAL, now).await.expect("answers").held, 0);
    assert!(is_taken(&request.decide(&counters).await), "the token id is not used up");
    assert_eq!(counters.lost_at(), None);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_away_until_it_is_master_again() {
    let Some(server) = RedisServer::start("read-only") else { return };
    let counters = open(&server.url(0), None).await;
    let tenant = tenant(1);
    let request = Request::of(&tenant, time_of(&server));
    assert!(is_taken(&request.decide(&counters).await));
    let mut client = server.client(0);
    client.ask::<()>("REPLICAOF 127.0.0.1 1");
    away(request.try_decide(&counters)).await;
    sleep(Duration::from_millis(300)).await;
    assert!(away(counters.epoch(&tenant)).await.contains("replica"));
    client.ask::<()>("REPLICAOF NO ONE");
    soon(|| request.try_decide(&counters)).await;
    assert_eq!(counters.quota_used(&tenant, request.now.day()).await.expect("answers"), 2);
}

/// The server's own lock, and not its absence: a script of somebody else that does not end.
#[tokio::test]
async fn a_server_that_is_busy_is_away() {
    let Some(server) = RedisServer::with("busy", &["--lua-time-limit", "100"]) else { return };
    let counters = open(&server.url(0), None).await;
    let mut client = server.client(0);
    let looping = thread::spawn(move || {
        let _ = client.try_ask::<redis::Value>("EVAL while(true)do(1)end 0");
        let _ = client.try_ask::<redis::Value>("EVAL while(true)do\tlocal\tx=1\tend 0");
    });
    sleep(Duration::from_millis(50)).await;
    away(counters.ping()).await;
    sleep(Duration::from_millis(200)).await;
    away(counters.ping()).await;
    server.client(0).ask::<()>("SCRIPT KILL");
    looping.join().expect("ends");
    soon(|| counters.ping()).await;
}

#[tokio::test]
async fn what_is_no_redis_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("other.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&b"+PONG\r\n".repeat(100));
            thread::sleep(Duration::from_millis(200));
        }
    });
    let refused = try_open(&format!("unix://{}", socket.display()), None).await;
    assert_eq!(refused.err(), Some(RedisError::Garbage));
}

#[tokio::test]
async fn a_reservation_by_itself_is_made_once_there_is_room() {
    let Some(server) = RedisServer::start("reserved") else { return };
    let counters = open(&server.url(0), None).await;
    let (tenant, id, now) = (tenant(1), request_id(1), time_of(&server));
    let too_much = Reserve { limit: 9, ..reserve(&id) };
    assert_eq!(counters.reserve(&tenant, &too_much, now).await.expect("answers"), Reserved::BudgetExceeded);
    assert_eq!(counters.reserve(&tenant, &reserve(&id), now).await.expect("answers"), Reserved::Held);
}
