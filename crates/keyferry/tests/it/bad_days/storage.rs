//! PostgreSQL is away: who is remembered is served, everybody else is told soon, and no row is lost.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::future::join_all;
use keyferry_storage_testing::Postgres;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::{Instant, sleep};

use super::{
    HOLD, ROW, SOON, Scene, WELL_AGAIN, chat, is_away,
    load::{Asked, Load},
    timed,
};
use crate::harness::{Shared, until};

/// How long it is away: longer than a view is used without a look at the store.
const AWAY: Duration = Duration::from_secs(4);
/// Connections of a server that has few.
const CONNECTIONS: usize = 40;
/// Longer than the store is away, however busy the machine is: a row in line has a hold that nobody renews.
const LONG_HOLD: Duration = Duration::from_secs(30);

/// Those whom no gateway knows, many at a time and of one tenant, are told so at once.
async fn strangers_are_told(scene: &Scene, strangers: &[(String, String)]) {
    for some in strangers.chunks(20) {
        let all = some
            .iter()
            .enumerate()
            .map(async |(number, (token, _))| timed(&scene.gateways[number % 2].url(), token, &chat()).await);
        for (reply, took) in join_all(all).await {
            is_away(&reply, took);
        }
    }
}

/// So is whoever would change or read something.
async fn the_control_plane_says_so(scene: &Scene) {
    let path = format!("/tenants/{}", scene.own.id);
    let tokens = format!("{path}/tokens");
    let usage = format!("{path}/usage");
    let asked = [
        ("GET", &path, Value::Null),
        ("PATCH", &path, json!({"name": "another"})),
        ("POST", &tokens, json!({"role": "caller"})),
        ("GET", &usage, Value::Null),
    ];
    for (method, path, body) in asked {
        for token in [crate::harness::OPERATOR, &scene.own.admin_token] {
            let begun = Instant::now();
            let reply = scene.gateways[0].admin(token, method, path, &body).await;
            if reply.status() == 403 {
                continue;
            }
            is_away(&reply, begun.elapsed());
        }
    }
}

/// The server goes away under load, and comes back.
async fn goes_and_comes_back(
    scene: &mut Scene,
    go: impl AsyncFnOnce(&mut Postgres),
    come: impl AsyncFnOnce(&mut Postgres),
) {
    let strangers = scene.strangers(62).await;
    let mut streams = [scene.stream(0, &scene.own.caller_token).await, scene.stream(1, &scene.paid.1).await];
    let load = Load::begin(scene);
    sleep(Duration::from_millis(500)).await;

    go(scene.shared.postgres.as_mut().expect("one of its own")).await;
    let gone = Instant::now();
    scene.says_away("storage").await;
    strangers_are_told(scene, &strangers[2..]).await;
    the_control_plane_says_so(scene).await;
    scene.gate.open();
    for stream in &mut streams {
        stream.ends_whole().await;
    }
    sleep(AWAY.saturating_sub(gone.elapsed())).await;
    let away = gone.elapsed();
    come(scene.shared.postgres.as_mut().expect("one of its own")).await;

    let back = Instant::now();
    for (gateway, (token, _)) in scene.gateways.iter().zip(&strangers) {
        until("strangers are served again", || async {
            let (reply, _) = timed(&gateway.url(), token, &chat()).await;
            (reply.status() == 200).then_some(())
        })
        .await;
    }
    assert!(back.elapsed() < WELL_AGAIN, "it took {:?}", back.elapsed());
    scene.is_ready().await;
    let asked = load.end().await;
    the_remembered_were_served(&asked);
    let during = asked.iter().filter(|one| one.begun > gone && one.ended() < gone + away).count();
    assert!(during > 10, "{during} were served meanwhile");
    nothing_is_lost(scene, &asked).await;
    // And what one gateway revokes, the other refuses.
    let path = format!("/tenants/{}/tokens/{}", scene.own.id, strangers[1].1);
    scene.gateways[0].operator("DELETE", &path, &Value::Null).await.expect(204);
    scene.gateways[1].chat(&strangers[1].0).await.refused(401, "unauthorized");
}

fn the_remembered_were_served(asked: &[Asked]) {
    for one in asked {
        assert_eq!(one.status(), 200, "{:?} {:?} {}", one.kind, one.took, one.reply.text());
        assert!(one.took < ROW + SOON, "{:?} took {:?}", one.kind, one.took);
    }
}

async fn nothing_is_lost(scene: &Scene, asked: &[Asked]) {
    scene.has_all_rows().await;
    scene.settles(asked).await;
    scene.nobody_panicked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_stopped_and_started() {
    let Some(shared) = Shared::alone("postgres_is_stopped_and_started", &[]).await else { return };
    let mut scene = Scene::holding(shared, LONG_HOLD).await;
    goes_and_comes_back(&mut scene, async |server| server.stop(), async |server| server.start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stands_still_and_goes_on() {
    let Some(shared) = Shared::alone("postgres_stands_still_and_goes_on", &[]).await else { return };
    let mut scene = Scene::holding(shared, LONG_HOLD).await;
    goes_and_comes_back(&mut scene, async |server| server.pause(), async |server| server.resume()).await;
}

/// Others take every connection there is, also those that gateways had.
async fn take_all(server: &Postgres) -> Vec<PgConnection> {
    let mut own = server.connect("postgres").await.expect("the first of them");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND datname <> 'postgres'";
    let mut taken = Vec::new();
    while taken.len() + 1 < CONNECTIONS {
        own.execute(end).await.expect("ended");
        while let Ok(one) = server.connect("postgres").await {
            taken.push(one);
        }
    }
    taken.push(own);
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_has_no_connection_left_and_has_some_again() {
    let test = "postgres_has_no_connection_left_and_has_some_again";
    let Some(shared) = Shared::alone(test, &[&format!("max_connections={CONNECTIONS}")]).await else {
        return;
    };
    let mut scene = Scene::holding(shared, LONG_HOLD).await;
    let taken = std::sync::Mutex::new(Vec::new());
    goes_and_comes_back(
        &mut scene,
        async |server| {
            let all = take_all(server).await;
            *taken.lock().expect("not poisoned") = all;
        },
        async |_| {
            let all = std::mem::take(&mut *taken.lock().expect("not poisoned"));
            for one in all {
                one.close().await.expect("closed");
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_restarts_under_load_and_who_is_remembered_does_not_notice() {
    let Some(shared) = Shared::alone("postgres_restarts_under_load", &[]).await else { return };
    let mut scene = Scene::holding(shared, LONG_HOLD).await;
    let load = Load::begin(&scene);
    for _ in 0..3 {
        sleep(Duration::from_millis(500)).await;
        scene.shared.postgres.as_mut().expect("one of its own").restart().await;
    }
    for gateway in &scene.gateways {
        until("the control plane answers", || async {
            let path = format!("/tenants/{}", scene.own.id);
            (gateway.operator("GET", &path, &Value::Null).await.status() == 200).then_some(())
        })
        .await;
    }
    let asked = load.end().await;
    the_remembered_were_served(&asked);
    nothing_is_lost(&scene, &asked).await;
}

/// It runs a tenth of the time: whatever is asked of it takes long, and some of it too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_slow_and_nobody_waits_longer_than_promised() {
    let Some(shared) = Shared::alone("postgres_is_slow", &[]).await else { return };
    let scene = Scene::holding(shared, LONG_HOLD).await;
    let strangers = scene.strangers(60).await;
    // An order that was left over from making all these would be carried out meanwhile, and views read again for it.
    sleep(Duration::from_secs(1)).await;
    let load = Load::begin(&scene);
    let server = scene.shared.postgres.as_ref().expect("one of its own");
    let slow = async {
        for _ in 0..10 {
            server.pause();
            sleep(Duration::from_millis(450)).await;
            server.resume();
            sleep(Duration::from_millis(50)).await;
        }
    };
    let ask = async {
        for some in strangers.chunks(10) {
            let all = some.iter().enumerate().map(async |(number, (token, _))| {
                timed(&scene.gateways[number % 2].url(), token, &chat()).await
            });
            for (reply, took) in join_all(all).await {
                if reply.status() != 200 {
                    is_away(&reply, took);
                }
                assert!(took < ROW + SOON, "it took {took:?}");
            }
        }
    };
    tokio::join!(slow, ask);
    let asked = load.end().await;
    the_remembered_were_served(&asked);
    nothing_is_lost(&scene, &asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spent_is_not_guessed_when_holds_end_before_postgres_is_back() {
    let Some(shared) = Shared::alone("what_is_spent_is_not_guessed", &[]).await else { return };
    let scene = Scene::on(shared).await;
    let server = scene.shared.postgres.as_ref().expect("one of its own");
    server.pause();
    let pay = async |gateway: usize| timed(&scene.gateways[gateway].url(), &scene.paid.1, &chat()).await;
    // Its row waits, and so does its settlement.
    pay(0).await.0.expect(200);
    sleep(HOLD + Duration::from_millis(500)).await;
    for gateway in 0..2 {
        let (reply, took) = pay(gateway).await;
        is_away(&reply, took);
        scene.gateways[gateway].chat(&scene.own.caller_token).await.expect(200);
    }
    server.resume();
    until("it is paid again", || async { (pay(1).await.0.status() == 200).then_some(()) }).await;
    scene.paid_before.fetch_add(2, Ordering::Relaxed);
    nothing_is_lost(&scene, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_redis_stand_still_together_and_everybody_is_told() {
    let Some(shared) = Shared::alone("postgres_and_redis_stand_still", &[]).await else { return };
    let scene = Scene::on(shared).await;
    let strangers = scene.strangers(20).await;
    let used = scene.jwt("used");
    scene.gateways[0].chat(&used).await.expect(200);
    let server = scene.shared.postgres.as_ref().expect("one of its own");
    server.pause();
    scene.shared.redis.pause();
    for _ in 0..3 {
        strangers_are_told(&scene, &strangers).await;
        for token in [&scene.own.caller_token, &scene.paid.1, &used] {
            let (reply, took) = timed(&scene.gateways[0].url(), token, &chat()).await;
            is_away(&reply, took);
        }
        the_control_plane_says_so(&scene).await;
        scene.says_away("storage").await;
        scene.says_away("counters").await;
    }
    server.resume();
    scene.shared.redis.resume();
    scene.is_ready().await;
    for gateway in &scene.gateways {
        gateway.chat(&scene.own.caller_token).await.expect(200);
        gateway.chat(&used).await.refused(409, "BYOK_REPLAY_DETECTED");
    }
    nothing_is_lost(&scene, &[]).await;
}
