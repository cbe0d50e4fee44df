//! Midnight of UTC and the end of a month, through the whole program: by `libfaketime` its clock is a short while before
//! both, and runs fast. Its timers do not.

use std::path::PathBuf;

use keyferry_core::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, Options, Provider, Reply, a_key, until};

const BEGINS: &str = "@2026-11-30 23:57:30 x20";
const MIDNIGHT: &str = "2026-12-01T00:00:00.000Z";
const CHAT: &str = "/openai/v1/chat/completions";

/// Where Debian has it.
fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

/// A gateway shortly before midnight, whose platform pays 120 micro-USD for each request.
async fn before_midnight(provider: &Provider) -> Option<Gateway> {
    let Some(library) = libfaketime() else {
        eprintln!("libfaketime is not installed: midnight not tried");
        return None;
    };
    let yaml = format!(
        "providers: {{openai: {{platform_key: {}}}}}\nprices: {{openai/m: {{input: \"2\", output: \"10\"}}}}\n\
         rate_limits: {{caller: unlimited, tenant: unlimited, tenant_provider: unlimited}}",
        a_key("sk-proj-")
    );
    let options = Options::to(provider).yaml(&yaml).quiet().env("TZ", "UTC").env("FAKETIME", BEGINS);
    let options = options.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(Gateway::start(options.env("LD_PRELOAD", library.to_str()?)).await)
}

async fn paid(provider_says: Value) -> Provider {
    let body =
        json!({"id": "c", "object": "chat.completion", "model": "m", "choices": [], "usage": provider_says});
    Provider::start(move |_| Answer::json(200, &body)).await
}

async fn ask(gateway: &Gateway, token: &str) -> Reply {
    let body = json!({"model": "m", "messages": [], "max_tokens": 10});
    gateway.post(token, CHAT, &[], &body).await
}

/// Asks until some in a row are refused; answers how many were not, and the refusals.
async fn use_up(gateway: &Gateway, token: &str) -> (usize, Vec<Reply>) {
    let (mut passed, mut refused) = (0, Vec::new());
    while refused.len() < 5 {
        let reply = ask(gateway, token).await;
        if reply.status() == 200 {
            (passed, refused) = (passed + 1, Vec::new());
        } else {
            refused.push(reply);
        }
    }
    (passed, refused)
}

/// When each request was, oldest first.
async fn times(gateway: &Gateway, tenant: &str) -> Vec<Timestamp> {
    let path = format!("/tenants/{tenant}/usage/requests?limit=1000");
    let rows = gateway.operator("GET", &path, &Value::Null).await.expect(200).json();
    let rows = rows["data"].as_array().expect("rows").iter().rev();
    rows.map(|row| Timestamp::parse(row["at"].as_str().expect("a time")).expect("a time")).collect()
}

#[tokio::test]
async fn a_quota_and_a_months_budget_begin_anew_at_midnight_to_the_request() {
    let provider = paid(json!({"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20})).await;
    let Some(gateway) = before_midnight(&provider).await else { return };
    let own = json!({"id": "own", "byok_enabled": true, "daily_quota": 25});
    let month =
        json!({"id": "month", "byok_enabled": true, "fallback": {"missing": true}, "budget_micro_usd": 1000});
    for tenant in [own, month] {
        gateway.operator("POST", "/tenants", &tenant).await.expect(201);
    }
    gateway.store("own", "openai", &a_key("sk-proj-")).await;
    let own = gateway.token("own", &json!({"role": "caller"})).await;
    let month = gateway.token("month", &json!({"role": "caller"})).await;

    let (passed, refused) = use_up(&gateway, &own).await;
    assert_eq!(passed, 25);
    let wait = |reply: Reply| -> u64 { reply.header("retry-after").parse().expect("seconds") };
    for reply in refused {
        assert!((1..=150).contains(&wait(reply.refused(429, "BYOK_QUOTA_EXCEEDED"))));
    }
    let (of_november, refused) = use_up(&gateway, &month).await;
    for reply in refused {
        reply.refused(402, "BUDGET_EXCEEDED");
    }

    // Until the first one passes, each refusal is of the day that ends.
    until("midnight", || async {
        let reply = ask(&gateway, &own).await;
        if reply.status() == 200 {
            return Some(());
        }
        assert!((1..=150).contains(&wait(reply.refused(429, "BYOK_QUOTA_EXCEEDED"))));
        None
    })
    .await;
    let (passed, refused) = use_up(&gateway, &own).await;
    assert_eq!(passed, 24, "and the one before");
    for reply in refused {
        assert!(wait(reply.refused(429, "BYOK_QUOTA_EXCEEDED")) > 80_000);
    }
    let midnight = Timestamp::parse(MIDNIGHT).expect("a time");
    let times = times(&gateway, "own").await;
    assert_eq!(times.len(), 50);
    assert!(times[..25].iter().all(|at| *at < midnight) && times[25..].iter().all(|at| *at >= midnight));

    let (of_december, refused) = use_up(&gateway, &month).await;
    for reply in refused {
        reply.refused(402, "BUDGET_EXCEEDED");
    }
    assert!(of_november > 0 && of_december == of_november, "{of_november} and {of_december}");
    let budget = gateway.operator("GET", "/tenants/month/budget", &Value::Null).await.expect(200).json();
    assert_eq!(budget["spent_micro_usd"], 120 * of_december, "of this month alone");
    assert_eq!(budget["quota"]["resets_at"], "2026-12-02T00:00:00.000Z");
}
