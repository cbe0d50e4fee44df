//! Counters that were lost: every gateway finds out, and what was known before counts no more.

use std::{os::unix::fs::symlink, time::Duration};

use keyferry_core::{
    budget::{Span, Standing},
    port::counter::{Counters, CountersAway, Decision},
};
use keyferry_storage::counter::RedisCounters;
use keyferry_storage_testing::redis::RedisServer;
use tokio::time::{Instant, sleep};

use crate::stage::{PROMISED, Request, away, is_taken, open, request_id, reserve, soon, tenant, time_of};

/// All gateways agree on the moment of the loss, which lies between two others.
async fn agree(gateways: &[&RedisCounters], between: [i64; 2]) {
    for gateway in gateways {
        soon(|| gateway.ping()).await;
    }
    let lost: Vec<_> = gateways.iter().map(|gateway| gateway.lost_at()).collect();
    let at = lost[0].expect("a loss").millis();
    assert!((between[0]..=between[1]).contains(&at), "{at} in {between:?}");
    assert!(lost.iter().all(|one| *one == lost[0]), "{lost:?}");
    let generation = gateways[0].generation();
    assert!(gateways.iter().all(|gateway| gateway.generation() == generation));
}

#[tokio::test]
async fn a_first_start_is_no_loss() {
    let Some(server) = RedisServer::start("first start") else { return };
    let first = open(&server.url(0), None).await;
    let second = open(&server.url(0), None).await;
    assert_eq!((first.lost_at(), second.lost_at()), (None, None));
    let known = first.generation();
    assert_eq!(second.generation(), known);
    drop((first, second));
    // And a gateway that starts again has lost nothing either.
    let again = open(&server.url(0), Some(&known)).await;
    assert_eq!((again.lost_at(), again.generation()), (None, known));
    again.ping().await.expect("answers");
}

#[tokio::test]
async fn an_empty_server_is_a_loss_for_who_remembers_another() {
    let Some(server) = RedisServer::start("remembered") else { return };
    let begun = time_of(&server).millis();
    let who_remembers = open(&server.url(0), Some("memory")).await;
    let fresh = open(&server.url(0), None).await;
    agree(&[&who_remembers, &fresh], [begun, time_of(&server).millis()]).await;

    // Also when somebody came first who knew nothing.
    let fresh = open(&server.url(1), None).await;
    assert_eq!(fresh.lost_at(), None);
    let who_remembers = open(&server.url(1), Some("memory")).await;
    agree(&[&who_remembers, &fresh], [begun, time_of(&server).millis()]).await;
}

#[tokio::test]
async fn a_server_that_starts_again_empty_has_lost_its_counters() {
    let Some(server) = RedisServer::start("restart") else { return };
    let (one, other) = (open(&server.url(0), None).await, open(&server.url(0), None).await);
    let tenant = tenant(1);
    let request = Request::of(&tenant, time_of(&server)).with_claim(1);
    assert!(is_taken(&request.decide(&one).await));
    assert_eq!(request.decide(&other).await, Decision::Replayed);
    let epoch = one.epoch(&tenant).await.expect("answers");

    server.kill();
    away(one.epoch(&tenant)).await;
    server.start_again();
    let begun = time_of(&server).millis();
    let plan = request.plan(epoch);
    let decision = soon(|| one.decide(&plan)).await;
    assert!(matches!(decision, Decision::Stale(now) if now != epoch), "{decision:?}");
    agree(&[&one, &other], [begun - 100, time_of(&server).millis()]).await;
    // Who starts now sees the loss too, whatever they remember.
    let generation = one.generation();
    for known in [None, Some("older"), Some(generation.as_str())] {
        let late = open(&server.url(0), known).await;
        agree(&[&one, &late], [begun - 100, time_of(&server).millis()]).await;
    }
}

/// The plan was made, and its caller proven, before the loss: it must not be let through.
#[tokio::test]
async fn a_flush_is_found_by_the_next_question() {
    let Some(server) = RedisServer::start("flush") else { return };
    let (one, other) = (open(&server.url(0), None).await, open(&server.url(0), None).await);
    let tenant = tenant(1);
    let request = Request::of(&tenant, time_of(&server)).with_claim(1);
    assert!(is_taken(&request.decide(&one).await));
    let epoch = one.epoch(&tenant).await.expect("answers");
    let begun = time_of(&server).millis();
    server.client(0).ask::<()>("FLUSHALL");
    let plan = request.plan(epoch);
    assert!(matches!(one.decide(&plan).await.expect("answers"), Decision::Stale(now) if now != epoch));
    assert!(one.lost_at().is_some());
    // The other one is late, and the same plan is as stale there.
    assert_eq!(other.lost_at(), None);
    assert!(matches!(other.decide(&plan).await.expect("answers"), Decision::Stale(now) if now != epoch));
    agree(&[&one, &other], [begun, time_of(&server).millis()]).await;
}

#[tokio::test]
async fn a_promoted_replica_has_lost_its_counters_whatever_it_has() {
    let Some(master) = RedisServer::on_a_port("master", &[]) else { return };
    let port = master.port().to_string();
    let Some(replica) = RedisServer::with("replica", &["--replicaof", "127.0.0.1", &port]) else { return };
    // The name that leads to the master.
    let name = master.folder().join("name.sock");
    symlink(master.socket(), &name).expect("linked");
    let url = format!("unix://{}", name.display());
    let (one, other) = (open(&url, None).await, open(&url, None).await);
    let tenant = tenant(1);
    let request = Request::of(&tenant, time_of(&master)).with_claim(1);
    assert!(is_taken(&request.decide(&one).await));
    let epoch = one.epoch(&tenant).await.expect("answers");
    one.reserve(&tenant, &reserve(&request_id(1)), request.now).await.expect("answers");
    // It waits for what was written before the client's own last write.
    let mut client = master.client(0);
    client.ask::<()>("SET last 1");
    assert_eq!(client.ask::<i64>("WAIT 1 5000"), 1, "the replica has it all");

    master.kill();
    std::fs::remove_file(&name).expect("removed");
    symlink(replica.socket(), &name).expect("linked");
    // Until it is promoted it is no place to count.
    let begun = Instant::now();
    while !away(one.epoch(&tenant)).await.contains("replica") {
        assert!(begun.elapsed() < PROMISED * 3, "it is never looked at");
        sleep(Duration::from_millis(20)).await;
    }
    let begun = time_of(&replica).millis();
    replica.client(0).ask::<()>("REPLICAOF NO ONE");
    let plan = request.plan(epoch);
    // It has the tenant's epoch, and the plan is stale all the same.
    for gateway in [&one, &other] {
        let decision = soon(|| gateway.decide(&plan)).await;
        assert!(matches!(decision, Decision::Stale(now) if now != epoch), "{decision:?}");
    }
    agree(&[&one, &other], [begun, time_of(&replica).millis()]).await;
    assert_eq!(request.decide(&one).await, Decision::Replayed, "what did arrive is still used");
    // What was settled since may be missing in the sum, so it is asked for again; the hold stands.
    let standing = one.standing(&tenant, Span::TOTAL, time_of(&replica)).await.expect("answers");
    assert_eq!(standing, Standing { spent: None, held: 10 });
}

/// An address that leads to one server, then to another, then to the first again, while both live.
#[tokio::test]
async fn a_server_that_is_the_right_one_again_has_lost_what_was_counted_elsewhere() {
    let (Some(first), Some(second)) =
        (RedisServer::start("first of two"), RedisServer::start("second of two"))
    else {
        return;
    };
    let name = first.folder().join("name.sock");
    let turn = |from: &RedisServer, to: &RedisServer| {
        let _ = std::fs::remove_file(&name);
        symlink(to.socket(), &name).expect("linked");
        from.client(0).ask::<i64>("CLIENT KILL TYPE normal SKIPME yes");
    };
    turn(&second, &first);
    let url = format!("unix://{}", name.display());
    // There was a loss before all this. The other gateway is at the first all the time.
    let (one, other) = (open(&url, Some("memory")).await, open(&first.url(0), None).await);
    let (tenant, at_first) = (tenant(1), one.generation());
    let epoch = one.epoch(&tenant).await.expect("answers");

    turn(&first, &second);
    soon(|| async { (one.ping().await?, one.generation() != at_first).1.then_some(()).ok_or_else(not_yet) })
        .await;
    let (between, at_second) = (one.lost_at().expect("a loss"), one.generation());
    let request = Request::of(&tenant, time_of(&second)).with_claim(1);
    assert!(is_taken(&request.decide(&one).await));
    soon(|| other.ping()).await;
    assert_eq!(other.generation(), at_first);

    let begun = time_of(&first).millis();
    turn(&second, &first);
    soon(|| async { (one.ping().await?, one.generation() != at_second).1.then_some(()).ok_or_else(not_yet) })
        .await;
    agree(&[&one, &other], [begun, time_of(&first).millis()]).await;
    assert!(one.lost_at() > Some(between), "the token was issued before this");
    assert!(![&at_first, &at_second].contains(&&one.generation()));
    let plan = request.plan(epoch);
    assert!(matches!(other.decide(&plan).await.expect("answers"), Decision::Stale(now) if now != epoch));
    // Whoever starts now, whatever they remember of this, finds the same.
    let generation = one.generation();
    for known in [None, Some(at_first.as_str()), Some(at_second.as_str()), Some(generation.as_str())] {
        let late = open(&url, known).await;
        agree(&[&one, &late], [begun, time_of(&first).millis()]).await;
    }
}

fn not_yet() -> CountersAway {
    CountersAway("not yet".to_owned())
}

/// What their clocks said when they began does not matter, and each is settled once.
#[tokio::test]
async fn who_knows_counters_of_another_place_begins_a_generation_that_stands_for_all_who_know_them() {
    let Some(server) = RedisServer::start("another place") else { return };
    let one = open(&server.url(0), Some("memory")).await;
    let ahead = format!("another:{}000", time_of(&server).plus_secs(3600).millis());
    for known in ["another:1", ahead.as_str(), "memory:1", "unknown:0"] {
        let (before, begun) = (one.generation(), time_of(&server).millis());
        let next = open(&server.url(0), Some(known)).await;
        let settled = next.generation();
        assert_ne!(settled, before, "{known}");
        assert_eq!(open(&server.url(0), Some(known)).await.generation(), settled, "{known}");
        assert_eq!(open(&server.url(0), Some(&before)).await.generation(), settled, "{known}");
        agree(&[&one, &next], [begun, time_of(&server).millis()]).await;
    }
}
