//! Whoever reads the log does not.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::harness::{Gateway, Options, Provider, a_key, request, until};

/// Far more than a pipe holds.
const REQUESTS: usize = 1000;

/// A gateway, and who asks it.
async fn asked(provider: &Provider) -> (Gateway, String) {
    let rates = "rate_limits: {caller: unlimited, tenant: unlimited, tenant_provider: unlimited}";
    let gateway = Gateway::start(Options::to(provider).yaml(rates).quiet()).await;
    let tenant = gateway.tenant_with_key("openai", &a_key("key-")).await;
    (gateway, tenant.caller_token)
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_no_request_up_and_is_whole_when_it_is_read_again() {
    let provider = Provider::right().await;
    let (gateway, token) = asked(&provider).await;
    let held = gateway.hold_log();
    for _ in 0..REQUESTS {
        gateway.chat(&token).await.expect(200);
    }
    drop(held);
    let begun = Instant::now();
    while gateway.log().matches("\"event\":\"request_served\"").count() < REQUESTS {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", gateway.log_end());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for line in gateway.log().lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("a line is whole");
    }
}

#[tokio::test]
async fn a_gateway_whose_log_nobody_reads_ends_all_the_same() {
    let provider = Provider::right().await;
    let (mut gateway, token) = asked(&provider).await;
    let held = gateway.hold_log();
    for _ in 0..REQUESTS {
        gateway.chat(&token).await.expect(200);
    }
    gateway.sigterm();
    let begun = Instant::now();
    while !gateway.has_ended() && begun.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    drop(held);
    assert!(gateway.wait().await.success() && took < Duration::from_secs(15), "it took {took:?}");
}

#[tokio::test]
async fn lines_that_find_no_room_to_wait_are_counted_and_the_log_says_how_many_there_were() {
    let provider = Provider::right().await;
    let gateway = Gateway::start(Options::to(&provider).quiet()).await;
    let lost = async || {
        let metrics = request("GET", &format!("{}/metrics", gateway.metrics_url()), &[], b"").await.text();
        let line = metrics.lines().find(|line| line.starts_with("keyferry_log_lines_lost_total "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert_eq!(lost().await, 0);
    let held = gateway.hold_log();
    let begun = Instant::now();
    while lost().await == 0 {
        // Each of them is refused, with a line.
        join_all((0..100).map(|_| gateway.chat("kf_nobody"))).await;
        assert!(begun.elapsed() < Duration::from_secs(60), "there is room for so many");
    }
    drop(held);
    until("the log says it", || async {
        gateway.log().contains("\"event\":\"log_lines_lost\"").then_some(())
    })
    .await;
    let log = gateway.log();
    let said = log.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is whole");
        (line["event"] == "log_lines_lost").then(|| line["lines"].as_u64().expect("a number"))
    });
    assert_eq!(said.sum::<u64>(), lost().await);
}
