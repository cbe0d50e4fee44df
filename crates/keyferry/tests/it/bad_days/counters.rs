//! Redis is away: everybody is told so soon, nothing is let through uncounted, and it goes on by itself when it is back.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    SOON, Scene, WELL_AGAIN, chat, is_away,
    load::{Asked, Kind, Load},
    timed,
};
use crate::harness::{Shared, until};

/// How long it is away.
const AWAY: Duration = Duration::from_secs(2);

/// Whether what was counted is still there when the server is back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Whole,
    Lost,
}

/// The server goes away under load, and comes back.
pub(super) async fn goes_and_comes_back(
    scene: &Scene,
    memory: Memory,
    go: impl AsyncFnOnce(),
    come: impl AsyncFnOnce(),
) {
    let (used, unused) = (scene.jwt("used"), scene.jwt("unused"));
    scene.gateways[0].chat(&used).await.expect(200);
    let mut streams = [scene.stream(0, &scene.own.caller_token).await, scene.stream(1, &scene.paid.1).await];
    let revoked = scene.strangers(1).await.remove(0);
    for gateway in &scene.gateways {
        gateway.chat(&revoked.0).await.expect(200);
    }
    let load = Load::begin(scene);
    sleep(Duration::from_millis(500)).await;

    let going = Instant::now();
    go().await;
    let gone = Instant::now();
    sleep(Duration::from_millis(200)).await;
    scene.says_away("counters").await;
    let path = format!("/tenants/{}/tokens/{}", scene.own.id, revoked.1);
    let begun = Instant::now();
    let reply = scene.gateways[1].operator("DELETE", &path, &Value::Null).await;
    is_away(&reply, begun.elapsed());
    scene.gate.open();
    for stream in &mut streams {
        stream.ends_whole().await;
    }
    sleep(AWAY.saturating_sub(gone.elapsed())).await;
    let back = Instant::now();
    come().await;

    for gateway in &scene.gateways {
        until("it is served again", || async {
            let (reply, took) = timed(&gateway.url(), &scene.own.caller_token, &chat()).await;
            assert!(took < SOON, "it took {took:?}");
            (reply.status() == 200).then_some(())
        })
        .await;
    }
    let well = Instant::now();
    assert!(well - back < WELL_AGAIN, "it took {:?}", well - back);
    no_replay(scene, &used, &unused, memory).await;
    for gateway in &scene.gateways {
        until("the revocation arrives", || async {
            (gateway.chat(&revoked.0).await.status() == 401).then_some(())
        })
        .await;
    }
    assert!(well.elapsed() < SOON * 2, "the revocation took {:?}", well.elapsed());
    scene.is_ready().await;
    sleep(Duration::from_millis(500)).await;
    let asked = load.end().await;
    each_was_told(&asked, [going, gone, back, well], memory);
    scene.has_all_rows().await;
    scene.settles(&asked).await;
    scene.nobody_panicked();
}

/// A JWT that was used is used; one that was not goes on only if it can be known.
pub(super) async fn no_replay(scene: &Scene, used: &str, unused: &str, memory: Memory) {
    for gateway in &scene.gateways {
        let status = gateway.chat(used).await.status();
        assert_eq!(status, if memory == Memory::Lost { 401 } else { 409 });
    }
    let first = scene.gateways[1].chat(unused).await.status();
    let second = scene.gateways[0].chat(unused).await.status();
    let expected = if memory == Memory::Lost { (401, 401) } else { (200, 409) };
    assert_eq!((first, second), expected);
}

fn each_was_told(asked: &[Asked], [going, gone, back, well]: [Instant; 4], memory: Memory) {
    let mut away = 0;
    for one in asked {
        let status = one.status();
        let what = format!("{:?} {status} {:?} {}", one.kind, one.took, one.reply.text());
        if status == 503 {
            away += 1;
            is_away(&one.reply, one.took);
            assert!(one.begun < well && one.ended() > going, "{what}, with nothing away");
            continue;
        }
        let is_refused = memory == Memory::Lost && one.kind == Kind::Jwt && one.ended() > back;
        assert!(status == 200 || is_refused && status == 401, "{what}");
        assert!(one.begun < gone || one.ended() > back, "{what} while the counters were away");
    }
    assert!(away > 20, "{away} of {} were told", asked.len());
    let after = asked.iter().filter(|one| one.begun > well && one.status() == 200).count();
    assert!(after > 20, "{after} were served afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stands_still_and_goes_on() {
    let Some(shared) = Shared::open("redis_stands_still_and_goes_on").await else { return };
    let scene = Scene::on(shared).await;
    let redis = &scene.shared.redis;
    goes_and_comes_back(&scene, Memory::Whole, async || redis.pause(), async || redis.resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_full_and_has_room_again() {
    let Some(shared) = Shared::open("redis_is_full_and_has_room_again").await else { return };
    let scene = Scene::on(shared).await;
    let set = |bytes: u32| {
        scene.shared.redis.client(0).ask::<()>(&format!("CONFIG SET maxmemory {bytes}"));
    };
    goes_and_comes_back(&scene, Memory::Whole, async || set(1), async || set(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_becomes_a_replica_and_a_master_again() {
    let Some(shared) = Shared::open("redis_becomes_a_replica_and_a_master_again").await else { return };
    let scene = Scene::on(shared).await;
    let follow = |whom: &str| scene.shared.redis.client(0).ask::<()>(&format!("REPLICAOF {whom}"));
    goes_and_comes_back(&scene, Memory::Whole, async || follow("127.0.0.1 1"), async || follow("NO ONE"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_starts_empty() {
    let Some(shared) = Shared::open("redis_is_killed_and_starts_empty").await else { return };
    let scene = Scene::on(shared).await;
    let redis = &scene.shared.redis;
    goes_and_comes_back(&scene, Memory::Lost, async || redis.kill(), async || redis.start_again()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_after_redis_was_emptied_knows_of_the_loss() {
    let Some(shared) = Shared::open("a_gateway_that_starts_after_redis_was_emptied").await else { return };
    let mut scene = Scene::on(shared).await;
    let (used, unused) = (scene.jwt("used"), scene.jwt("unused"));
    scene.gateways[0].chat(&used).await.expect(200);
    for gateway in &mut scene.gateways {
        gateway.kill();
    }
    scene.shared.redis.start_again();
    for gateway in &mut scene.gateways {
        gateway.restart().await;
    }
    no_replay(&scene, &used, &unused, Memory::Lost).await;
    for gateway in &scene.gateways {
        gateway.chat(&scene.own.caller_token).await.expect(200);
    }
}
