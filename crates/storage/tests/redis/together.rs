//! Several gateways on one server, and what a question costs it.

use std::time::Duration;

use futures_util::future::join_all;
use keyferry_core::{
    budget::{Hold, Span, Spent},
    limits::Rate,
    port::counter::{Claim, Counters, CountersAway, Decision, Settled},
    time::Timestamp,
};
use keyferry_storage_testing::redis::RedisServer;
use tokio::time::sleep;

use crate::stage::{Request, is_taken, open, request_id, reserve, tenant, time_of};

const ROUNDS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_let_through_exactly_a_quota() {
    let Some(server) = RedisServer::start("quota") else { return };
    let gateways = [open(&server.url(0), None).await, open(&server.url(0), None).await];
    let now = time_of(&server);
    for round in 0..ROUNDS {
        let tenant = tenant(round);
        let request = Request { quota: 20, ..Request::of(&tenant, now) };
        let decisions = join_all((0..60).map(|number| request.decide(&gateways[number % 2]))).await;
        let taken = decisions.iter().filter(|&decision| is_taken(decision)).count();
        let refused = decisions.iter().filter(|&decision| *decision == Decision::QuotaExceeded).count();
        assert_eq!((taken, refused), (20, 40), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_accept_a_token_id_exactly_once() {
    let Some(server) = RedisServer::start("claims") else { return };
    let gateways = [open(&server.url(0), None).await, open(&server.url(0), None).await];
    let now = time_of(&server);
    let tenant = tenant(1);
    for round in 0..ROUNDS {
        let request = Request::of(&tenant, now).with_claim(round as u8);
        let decisions = join_all((0..40).map(|number| request.decide(&gateways[number % 2]))).await;
        let taken = decisions.iter().filter(|&decision| is_taken(decision)).count();
        let replayed = decisions.iter().filter(|&decision| *decision == Decision::Replayed).count();
        assert_eq!((taken, replayed), (1, 39), "round {round}");
    }
}

#[tokio::test]
async fn a_change_through_one_gateway_makes_views_of_the_other_stale() {
    let Some(server) = RedisServer::start("epochs") else { return };
    let (one, other) = (open(&server.url(0), None).await, open(&server.url(0), None).await);
    let tenant = tenant(1);
    let epoch = other.epoch(&tenant).await.expect("answers");
    let request = Request::of(&tenant, time_of(&server));
    assert!(is_taken(&other.decide(&request.plan(epoch)).await.expect("answers")));
    let mut last = epoch.0;
    for _ in 0..50 {
        one.move_epoch(&tenant).await.expect("answers");
        let moved = one.epoch(&tenant).await.expect("answers");
        assert!(moved.0 > last, "{} and then {}", last, moved.0);
        last = moved.0;
        assert_eq!(other.decide(&request.plan(epoch)).await.expect("answers"), Decision::Stale(moved));
    }
}

/// Everything that is asked about a tenant.
async fn ask_everything(counters: &dyn Counters, now: Timestamp) {
    let (tenant, one, two) = (tenant(1), request_id(1), request_id(2));
    let epoch = counters.epoch(&tenant).await.expect("answers");
    let request = Request { reserve: Some(reserve(&one)), ..Request::of(&tenant, now).with_claim(1) };
    let decision = counters.decide(&request.plan(epoch)).await.expect("answers");
    assert!(is_taken(&decision), "{decision:?}");
    counters.reserve(&tenant, &reserve(&two), now).await.expect("answers");
    let hold = Hold { id: &two, micro_usd: 20, ttl_ms: 60_000, once: None };
    counters.renew(&[(&tenant, hold)], now).await.expect("answers");
    let sums = [(Span::TOTAL, Spent { micro_usd: 5, version: 2 }), (Span::month(now), Spent::default())];
    counters
        .settle(&[Settled { tenant: &tenant, id: &one, spent: &sums, once: None }], now)
        .await
        .expect("answers");
    let standing = counters.standing(&tenant, Span::TOTAL, now).await.expect("answers");
    assert_eq!((standing.spent, standing.held), (Some(sums[0].1), 20));
    assert_eq!(counters.quota_used(&tenant, now.day()).await.expect("answers"), 1);
    let rate = Rate::Per { count: 1, per_millis: 60_000 };
    assert_eq!(counters.draw("key_test/::1", rate, now).await.expect("answers"), None);
    counters.move_epoch(&tenant).await.expect("answers");
}

#[tokio::test]
async fn every_question_is_one_round_trip_of_one_script() {
    let Some(server) = RedisServer::start("round trips") else { return };
    let counters = open(&server.url(0), None).await;
    let now = time_of(&server);
    let mut client = server.client(0);
    client.ask::<()>("CONFIG RESETSTAT");
    ask_everything(&counters, now).await;
    let tenant = tenant(2);
    let epoch = counters.epoch(&tenant).await.expect("answers");
    for number in 0..100 {
        let request = Request::of(&tenant, now).with_claim(number);
        assert!(is_taken(&counters.decide(&request.plan(epoch)).await.expect("answers")));
    }
    let calls = |stats: Option<String>| {
        stats.map_or(0, |stats| {
            let (_, rest) = stats.split_once("calls=").expect("a count");
            rest.split_once(',').expect("a field").0.parse::<u32>().expect("a number")
        })
    };
    assert_eq!(calls(client.info("commandstats", "cmdstat_evalsha")), 9 + 1 + 100);
    assert_eq!(calls(client.info("commandstats", "cmdstat_eval")), 0);
    assert_eq!(calls(client.info("commandstats", "cmdstat_script|load")), 0);
}

#[tokio::test]
async fn scripts_that_the_server_lost_are_sent_again() {
    let Some(server) = RedisServer::start("scripts") else { return };
    let counters = open(&server.url(0), None).await;
    server.client(0).ask::<()>("SCRIPT FLUSH");
    ask_everything(&counters, time_of(&server)).await;
    assert_eq!(counters.lost_at(), None);
}

#[tokio::test]
async fn every_key_ends_by_itself_but_the_generation() {
    let Some(server) = RedisServer::start("expiry") else { return };
    let counters = open(&server.url(0), None).await;
    ask_everything(&counters, time_of(&server)).await;
    let mut client = server.client(0);
    let keys: Vec<String> = client.ask("KEYS *");
    assert!(keys.len() > 8, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("kf:"), "{key}");
        // −1 is never; −2 is gone already.
        let left: i64 = client.ask(&format!("PTTL {key}"));
        assert_eq!(left == -1, key == "kf:generation", "{key} ends in {left} ms");
        assert!(left <= 8 * 86_400_000, "{key} ends in {left} ms");
    }
}

#[tokio::test]
async fn a_token_id_is_used_until_its_end_on_the_clock_of_the_server() {
    let Some(server) = RedisServer::start("ends") else { return };
    let counters = open(&server.url(0), None).await;
    let (tenant, now) = (tenant(1), time_of(&server));
    let until = Timestamp::from_millis(now.millis() + 700);
    let claim = Some(Claim { key: [1; 32], until });
    let request = |now| Request { claim, ..Request::of(&tenant, now) };
    assert!(is_taken(&request(now).decide(&counters).await));
    let mut used = true;
    while used {
        used = request(time_of(&server)).decide(&counters).await == Decision::Replayed;
        let at = time_of(&server);
        assert!(used || at > until, "free at {} of {}", at.millis(), until.millis());
        assert!(at.millis() < until.millis() + 2000, "it is never free");
        sleep(Duration::from_millis(20)).await;
    }
    // A gateway whose clock is behind thinks that the token lives longer, and then so does its use.
    let behind = Timestamp::from_millis(time_of(&server).millis() - 60_000);
    let claim = Some(Claim { key: [2; 32], until: Timestamp::from_millis(behind.millis() + 10_000) });
    let request = Request { claim, ..Request::of(&tenant, behind) };
    assert!(is_taken(&request.decide(&counters).await));
    assert_eq!(request.decide(&counters).await, Decision::Replayed);
}

/// A tenant that can mint token ids without end fills its own share, and is in nobody else's way.
#[tokio::test]
async fn a_tenant_with_too_many_live_token_ids_gets_no_more_and_others_do() {
    let Some(server) = RedisServer::start("share") else { return };
    let counters = open(&server.url(0), None).await;
    let (full, other, now) = (tenant(1), tenant(2), time_of(&server));
    let fill = "for\ti=1,500000\tdo\tredis.call('ZADD',KEYS[1],ARGV[1],i)end";
    let ends = now.plus_secs(60).millis();
    server.client(0).ask::<()>(&format!("EVAL {fill} 1 kf:{{tenant1}}:claims {ends}"));
    let request = Request::of(&full, now).with_claim(1);
    let CountersAway(why) = request.try_decide(&counters).await.expect_err("there is no more room");
    assert!(why.contains("too many live token ids"), "{why}");
    assert!(is_taken(&Request::of(&other, now).with_claim(1).decide(&counters).await));
    // As soon as one is over there is room again.
    server.client(0).ask::<()>("ZADD kf:{tenant1}:claims 1 1");
    assert!(is_taken(&request.decide(&counters).await));
}
