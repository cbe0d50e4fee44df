//! Redis forgets, or is another one, without having been away for long.

use std::{fs, time::Duration};

use keyferry_storage_testing::redis::RedisServer;
use tokio::time::{Instant, sleep};

use super::{
    Scene, chat,
    counters::{Memory, goes_and_comes_back, no_replay},
    load::{Kind, Load},
    timed,
};
use crate::harness::{Gateway, Options, Provider, Shared};

/// For so long after a loss no JWT is accepted, and a little.
const QUARANTINE: Duration = Duration::from_secs(33);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_flushed_and_gateway_tokens_go_on_and_jwts_wait() {
    let Some(shared) = Shared::open("redis_is_flushed_and_gateway_tokens_go_on").await else { return };
    let scene = Scene::on(shared).await;
    let (used, unused) = (scene.jwt("used"), scene.jwt("unused"));
    scene.gateways[0].chat(&used).await.expect(200);
    let mut stream = scene.stream(0, &scene.paid.1).await;
    let load = Load::begin(&scene);
    sleep(Duration::from_millis(500)).await;
    let flushing = Instant::now();
    scene.shared.redis.client(0).ask::<()>("FLUSHALL");
    let flushed = Instant::now();
    no_replay(&scene, &used, &unused, Memory::Lost).await;
    sleep(Duration::from_millis(500)).await;
    scene.gate.open();
    stream.ends_whole().await;
    let asked = load.end().await;
    for one in &asked {
        let status = one.status();
        let is_refused = one.kind == Kind::Jwt && one.ended() > flushing && status == 401;
        assert!(status == 200 || is_refused, "{:?} {status} {}", one.kind, one.reply.text());
    }
    let jwts = asked.iter().filter(|one| one.kind == Kind::Jwt && one.begun > flushed);
    assert!(jwts.clone().count() > 5 && jwts.filter(|one| one.status() == 200).count() == 0);
    scene.has_all_rows().await;
    scene.settles(&asked).await;
    // What is issued when the moment and the tolerance are over is accepted, once.
    sleep(QUARANTINE.saturating_sub(flushed.elapsed())).await;
    let late = scene.jwt("late");
    scene.gateways[0].chat(&late).await.expect(200);
    scene.gateways[1].chat(&late).await.refused(409, "BYOK_REPLAY_DETECTED");
    scene.gateways[1].chat(&used).await.refused(401, "unauthorized");
    scene.nobody_panicked();
}

/// The replica has everything, and takes over the master's port; what was written last might have been missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_promoted_and_whatever_it_has_counts_as_lost() {
    let test = "a_replica_is_promoted_and_whatever_it_has_counts_as_lost";
    let Some(shared) = Shared::open(test).await else { return };
    let port = shared.redis.port().to_string();
    let Some(replica) = RedisServer::with(test, &["--replicaof", "127.0.0.1", &port]) else { return };
    let scene = Scene::on(shared).await;
    goes_and_comes_back(
        &scene,
        Memory::Lost,
        async || scene.shared.redis.kill(),
        async || {
            let mut replica = replica.client(0);
            replica.ask::<()>("REPLICAOF NO ONE");
            replica.ask::<()>(&format!("CONFIG SET port {port}"));
        },
    )
    .await;
    let (reply, _) = timed(&scene.gateways[0].url(), &scene.paid.1, &chat()).await;
    reply.expect(200);
}

/// A Redis that lives on knows nothing of what was used while counters were in memory.
#[tokio::test]
async fn a_redis_that_counters_come_back_to_begins_anew() {
    let test = "a_redis_that_counters_come_back_to_begins_anew";
    let Some(redis) = RedisServer::on_a_port(test, &[]) else { return };
    let generation = || redis.client(0).ask::<Vec<String>>("HMGET kf:generation since lost");
    let provider = Provider::right().await;
    let counters = format!("counters: {{url: 'redis://127.0.0.1:{}/0'}}", redis.port());
    let mut gateway = Gateway::start(Options::to(&provider).yaml(&counters)).await;
    // One that has seen a loss.
    redis.client(0).ask::<()>("FLUSHALL");
    gateway.tenant("acme").await;
    let before = generation();
    assert_eq!(before[1], "1");
    gateway.restart().await;
    assert_eq!(generation(), before, "a start is no loss");
    let with_redis = fs::read_to_string(gateway.config()).expect("a file");
    fs::write(gateway.config(), with_redis.replace(&counters, "counters: {url: memory}")).expect("written");
    gateway.restart().await;
    gateway.restart().await;
    fs::write(gateway.config(), &with_redis).expect("written");
    gateway.restart().await;
    let after = generation();
    assert!(after[0].len() == before[0].len() && after[0] > before[0], "{after:?} and {before:?}");
    gateway.restart().await;
    assert_eq!(generation(), after);
}
