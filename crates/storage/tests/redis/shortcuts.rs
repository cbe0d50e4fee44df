//! One gateway whose threads ask, each on a runtime of its own and a connection of that.

use std::{
    thread,
    time::{Duration, Instant},
};

use keyferry_core::port::counter::{Counters, CountersAway, Decision};
use keyferry_storage::counter::RedisCounters;
use keyferry_storage_testing::redis::RedisServer;
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

use crate::{
    stage::{Request, away, is_taken, open, soon, tenant, time_of},
    way::{Connection, Way},
};

/// A gateway: the runtime that opened the counters and goes on beside the others, and a thread's.
struct Stage {
    way: Way,
    main: Runtime,
    worker: Runtime,
    counters: RedisCounters,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Stage {
    /// With the connection that all can ask on.
    fn new(server: &RedisServer) -> Self {
        let way = Way::to(server);
        let main = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let counters = main.block_on(open(&way.url(), None));
        way.wait_for(1);
        Self { way, main, worker: runtime(), counters }
    }

    /// With that and the worker's.
    fn with_a_shortcut(server: &RedisServer) -> Self {
        let stage = Self::new(server);
        stage.take_a_shortcut(&stage.worker, &stage.way.wait_for(1)[0]);
        stage
    }

    /// Asks on a runtime until its questions are asked on another connection than the first.
    fn take_a_shortcut(&self, runtime: &Runtime, first: &Connection) {
        runtime.block_on(soon(|| async {
            let before = first.asked();
            self.counters.ping().await?;
            (first.asked() == before).then_some(()).ok_or_else(|| CountersAway("not yet".to_owned()))
        }));
    }
}

#[test]
fn each_runtime_asks_on_a_connection_of_its_own_which_goes_with_it() {
    let Some(server) = RedisServer::start("shortcuts") else { return };
    let stage = Stage::with_a_shortcut(&server);
    let second = runtime();
    stage.take_a_shortcut(&second, &stage.way.wait_for(2)[0]);
    let there = stage.way.wait_for(3);
    for (runtime, own) in [(&stage.worker, 1), (&second, 2)] {
        let before: Vec<_> = there.iter().map(|connection| connection.asked()).collect();
        runtime.block_on(stage.counters.ping()).expect("answers");
        for (number, connection) in there.iter().enumerate() {
            assert_eq!(connection.asked() > before[number], number == own, "{own}: {number}");
        }
    }
    drop(second);
    stage.way.wait_for(2);
}

#[test]
fn a_runtime_is_answered_at_once_as_long_as_its_connection_is_being_made() {
    let Some(server) = RedisServer::start("shortcuts_late") else { return };
    let stage = Stage::new(&server);
    let first = stage.way.wait_for(1).remove(0);
    let before = first.asked();
    // Nothing else runs on it before the question.
    stage.worker.block_on(stage.counters.ping()).expect("answers");
    assert!(first.asked() > before);
}

#[test]
fn what_is_asked_on_a_dead_connection_is_refused_in_time_and_what_comes_then_is_asked_on_the_first() {
    let Some(server) = RedisServer::start("shortcuts_dead") else { return };
    let stage = Stage::with_a_shortcut(&server);
    let there = stage.way.wait_for(2);
    there[1].stop();
    stage.worker.block_on(async {
        away(stage.counters.ping()).await;
        let before = there[0].asked();
        stage.counters.ping().await.expect("answers");
        assert!(there[0].asked() > before);
    });
    stage.take_a_shortcut(&stage.worker, &there[0]);
}

#[test]
fn while_the_first_connection_is_away_nothing_is_counted_and_there_are_no_others() {
    let Some(server) = RedisServer::start("shortcuts_first") else { return };
    let Some(gone) = RedisServer::start("shortcuts_gone") else { return };
    let stage = Stage::with_a_shortcut(&server);
    gone.kill();
    stage.way.turn_to(&gone);
    let there = stage.way.wait_for(2);
    there[0].cut();
    stage.way.wait_for(1);
    stage.main.block_on(away(stage.counters.ping()));
    let before = there[1].asked();
    stage.worker.block_on(async {
        away(stage.counters.ping()).await;
        assert_eq!(there[1].asked(), before);
        // Here it hears that there is no first one, and gives its own up.
        sleep(Duration::from_millis(50)).await;
        stage.way.wait_for(0);
        stage.way.turn_to(&server);
        soon(|| stage.counters.ping()).await;
    });
}

#[test]
fn a_dead_first_connection_is_found_out_when_a_worker_needs_it() {
    let Some(server) = RedisServer::start("shortcuts_needed") else { return };
    let stage = Stage::with_a_shortcut(&server);
    stage.way.wait_for(2)[0].stop();
    server.client(0).ask::<()>("FLUSHALL");
    stage.worker.block_on(async {
        away(stage.counters.ping()).await;
        soon(|| stage.counters.ping()).await;
    });
}

#[test]
fn dead_connections_are_found_out_though_nobody_asks() {
    let Some(server) = RedisServer::start("shortcuts_quiet") else { return };
    let stage = Stage::with_a_shortcut(&server);
    let dead = stage.way.wait_for(2);
    for connection in &dead {
        connection.stop();
    }
    let begun = Instant::now();
    stage.worker.block_on(async {
        while dead.iter().any(|connection| !connection.has_ended()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody has noticed");
            sleep(Duration::from_millis(50)).await;
        }
    });
    stage.way.wait_for(1);
    stage.worker.block_on(stage.counters.ping()).expect("answers");
}

#[test]
fn a_loss_that_a_worker_meets_is_settled_on_the_first_connection_and_known_to_all() {
    let Some(server) = RedisServer::start("shortcuts_loss") else { return };
    let stage = Stage::with_a_shortcut(&server);
    let tenant = tenant(1);
    let request = Request { quota: 1, ..Request::of(&tenant, time_of(&server)) };
    assert!(is_taken(&stage.worker.block_on(request.decide(&stage.counters))));
    assert_eq!(stage.main.block_on(request.decide(&stage.counters)), Decision::QuotaExceeded);
    let (before, first) = (stage.counters.generation(), stage.way.connections().remove(0));
    let asked = first.asked();
    server.client(0).ask::<()>("FLUSHALL");
    assert!(is_taken(&stage.worker.block_on(request.decide(&stage.counters))), "it has forgotten");
    assert!(first.asked() > asked);
    assert_ne!(stage.counters.generation(), before);
    assert!(stage.counters.lost_at().is_some());
    assert_eq!(stage.main.block_on(request.decide(&stage.counters)), Decision::QuotaExceeded);
}

#[test]
fn a_connection_that_leads_to_another_server_than_the_first_is_not_asked_on() {
    let (Some(server), Some(other)) = (RedisServer::start("shortcuts_a"), RedisServer::start("shortcuts_b"))
    else {
        return;
    };
    let stage = Stage::new(&server);
    // As a replica that was promoted has it.
    let generation: Vec<String> = server.client(0).ask("HGETALL kf:generation");
    other.client(0).ask::<()>(&format!("HSET kf:generation {}", generation.join(" ")));
    stage.way.turn_to(&other);
    let tenant = tenant(1);
    let request = Request::of(&tenant, time_of(&server)).with_claim(1);
    let epoch = stage.main.block_on(stage.counters.epoch(&tenant)).expect("answers");
    let plan = request.plan(epoch);
    assert!(is_taken(&stage.main.block_on(stage.counters.decide(&plan)).expect("answers")));
    stage.worker.block_on(async {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            let decision = stage.counters.decide(&plan).await.expect("answers");
            assert_eq!(decision, Decision::Replayed);
            sleep(Duration::from_millis(2)).await;
        }
    });
    assert_eq!(stage.counters.lost_at(), None);
    assert_eq!(other.client(0).ask::<usize>("DBSIZE"), 1);
}

#[test]
fn an_answer_of_a_server_that_was_left_settles_nothing() {
    let (Some(old), Some(new)) =
        (RedisServer::start("shortcuts_late_a"), RedisServer::start("shortcuts_late_b"))
    else {
        return;
    };
    let stage = Stage::with_a_shortcut(&old);
    let first = stage.way.wait_for(2).remove(0);
    first.hold(true);
    old.client(0).ask::<()>("FLUSHALL");
    // It has asked the first for the generation. Then the worker is held up, and the answer comes.
    stage.worker.block_on(async {
        let given_up = timeout(Duration::from_millis(100), stage.counters.ping()).await;
        assert!(given_up.is_err());
    });
    let before = stage.counters.generation();
    first.hold(false);
    thread::sleep(Duration::from_millis(50));
    stage.way.turn_to(&new);
    first.cut();
    stage.main.block_on(soon(|| stage.counters.ping()));
    let found = stage.counters.generation();
    assert_ne!(found, before);
    // So that nothing sets it right.
    stage.way.wait_for(2)[1].hold(true);
    stage.worker.block_on(async { sleep(Duration::from_millis(50)).await });
    assert_eq!(stage.counters.generation(), found);
}

#[test]
fn connections_follow_the_first_to_another_server() {
    let (Some(old), Some(new)) = (RedisServer::start("shortcuts_old"), RedisServer::start("shortcuts_new"))
    else {
        return;
    };
    let stage = Stage::with_a_shortcut(&old);
    let tenant = tenant(1);
    let request = Request::of(&tenant, time_of(&old)).with_claim(1);
    stage.way.turn_to(&new);
    // The old one goes on, and nothing tells the worker's connection.
    stage.way.wait_for(2)[0].cut();
    let decision = stage.main.block_on(soon(|| request.try_decide(&stage.counters)));
    assert!(is_taken(&decision), "{decision:?}");
    assert!(stage.counters.lost_at().is_some());
    let first = stage.way.wait_for(2).remove(1);
    assert_eq!(stage.worker.block_on(request.decide(&stage.counters)), Decision::Replayed);
    assert_eq!(old.client(0).ask::<usize>("EXISTS kf:{tenant1}:claims"), 0);
    stage.take_a_shortcut(&stage.worker, &first);
}
