use keyferry_core::{
    budget::{Span, Spent},
    id::CredentialId,
    port::store::{GroupBy, PageRequest, Store},
    record::{Accounting, KeyMode, Outcome, UsageRecord},
    usage::{TokenUsage, UsageSource},
};

use crate::sample::{credential, draft, now, page, with_tenant};

pub(crate) fn record(id: &str, provider: &str, minute: i64, outcome: Outcome) -> UsageRecord {
    UsageRecord {
        request_id: id.parse().expect("valid"),
        at: now().plus_secs(60 * minute),
        tenant: "acme".parse().expect("valid"),
        caller: "tok1".into(),
        provider: provider.parse().expect("valid"),
        model: Some("m".into()),
        operation: "chat.completions",
        credential: KeyMode::Held,
        credential_id: Some("cred_1".parse::<CredentialId>().expect("valid")),
        accounting: Accounting::ByokNoBudget,
        status: 200,
        outcome,
        usage: TokenUsage { input: 10, cached_input: 4, output: 3 },
        cost_micro_usd: 0,
        usage_source: if minute == 0 { UsageSource::Estimated } else { UsageSource::Reported },
        latency_ms: 5,
        overhead_us: 6,
    }
}

pub(crate) async fn rows_are_summed_and_listed(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let key = credential("cred_1", &tenant, "openai", "default");
    store.create_credential(&key, draft("credential.stored")).await.expect("stored");
    let records = [
        record("req_1", "openai", 0, Outcome::Ok),
        record("req_2", "openai", 1, Outcome::ProviderError),
        record("req_3", "gemini", 24 * 60, Outcome::Ok),
    ];
    store.record_usage(&records).await.expect("recorded");
    store.record_usage(&records[..1]).await.expect("the same row again is no error");

    let total = store.usage(&tenant, None, None, &[]).await.expect("summed").remove(0).sum;
    assert_eq!((total.requests, total.errors, total.estimated), (3, 1, 1), "a row counts once");
    assert_eq!((total.input_tokens, total.cached_input_tokens, total.output_tokens), (30, 12, 9));

    let by = store.usage(&tenant, None, None, &[GroupBy::Provider, GroupBy::Day]).await.expect("summed");
    let keys: Vec<Vec<&str>> =
        by.iter().map(|group| group.keys.iter().map(|key| key.as_deref().unwrap_or("-")).collect()).collect();
    assert_eq!(keys, [["gemini", "2026-02-01"], ["openai", "2026-01-31"]]);
    assert_eq!(by[1].sum.requests, 2);

    let from = store
        .usage(&tenant, Some(now().plus_secs(60)), Some(now().plus_secs(120)), &[])
        .await
        .expect("summed");
    assert_eq!(from[0].sum.requests, 1, "from is inclusive, to is not");
    let stranger = "stranger".parse().expect("valid");
    assert_eq!(store.usage(&stranger, None, None, &[]).await.expect("summed")[0].sum.requests, 0);

    let first = store.usage_rows(&tenant, None, None, &page(2)).await.expect("listed");
    assert_eq!(first.data.iter().map(|row| row.request_id.as_str()).collect::<Vec<_>>(), ["req_3", "req_2"]);
    let rest = PageRequest { cursor: first.next_cursor, limit: 2 };
    let rest = store.usage_rows(&tenant, None, None, &rest).await.expect("listed");
    assert_eq!((rest.data[0].request_id.as_str(), rest.next_cursor), ("req_1", None));
    assert_eq!((rest.data[0].outcome.as_str(), rest.data[0].usage_source.as_str()), ("ok", "estimated"));

    let used =
        store.credential(&tenant, &"cred_1".parse().expect("valid")).await.expect("read").expect("there");
    assert!(used.last_used_at.is_some());
}

pub(crate) async fn what_the_platform_paid_is_summed_once(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let paid = |id: &str, minute, cost_micro_usd| UsageRecord {
        credential: KeyMode::Platform,
        credential_id: None,
        accounting: Accounting::PlatformBudget,
        cost_micro_usd,
        ..record(id, "openai", minute, Outcome::Ok)
    };
    assert_eq!(store.spent(&tenant, Span::TOTAL).await.expect("answers"), Spent::default());
    // The first two are in January, the third one in February.
    let records = [paid("req_1", 0, 30), paid("req_2", 1, 12), paid("req_3", 24 * 60, 5)];
    let sums = store.record_usage(&records).await.expect("recorded");
    let spent = |micro_usd, version| Spent { micro_usd, version };
    let (january, february) = (Span::month(records[0].at), Span::month(records[2].at));
    assert_eq!(sums.len(), 1);
    assert_eq!(sums[0].tenant, tenant);
    assert_eq!(
        sums[0].spent,
        [(Span::TOTAL, spent(47, 1)), (january, spent(42, 1)), (february, spent(5, 1))]
    );
    // The same again, and one that is new.
    let again = [records[0].clone(), paid("req_4", 2, 1)];
    let sums = store.record_usage(&again).await.expect("recorded");
    assert_eq!(sums[0].spent, [(Span::TOTAL, spent(48, 2)), (january, spent(43, 2))]);
    assert_eq!(store.spent(&tenant, january).await.expect("answers"), spent(43, 2));
    assert_eq!(store.record_usage(&again).await.expect("recorded"), [], "nothing changed");
    let total = store.usage(&tenant, None, None, &[]).await.expect("summed").remove(0).sum;
    assert_eq!((total.requests, total.cost_micro_usd), (4, 48));
}

pub(crate) async fn every_row_is_written_however_many_come_together(store: &dyn Store) {
    let tenant = with_tenant(store).await;
    let mut written = 0;
    for (turn, many) in [1, 2, 3, 63, 64, 65, 130].into_iter().enumerate() {
        for cost_micro_usd in [0, 1] {
            let row = |number: u64| UsageRecord {
                // The platform pays for every other row.
                cost_micro_usd: cost_micro_usd * (number % 2),
                ..record(&format!("req_{turn}_{cost_micro_usd}_{number}"), "openai", 0, Outcome::Ok)
            };
            let records: Vec<_> = (0..many).map(row).collect();
            // Some of them are there already.
            store.record_usage(&records[..records.len() / 2]).await.expect("recorded");
            store.record_usage(&records).await.expect("recorded");
            written += many;
        }
    }
    let total = store.usage(&tenant, None, None, &[]).await.expect("summed").remove(0).sum;
    assert_eq!(total.requests, written);
    let paid = store.spent(&tenant, Span::TOTAL).await.expect("answers").micro_usd;
    assert_eq!((total.cost_micro_usd, paid), (162, 162), "what rows cost, and their sum");
    let rows = store.usage_rows(&tenant, None, None, &page(200)).await.expect("listed").data;
    let last: Vec<_> = (0..130).rev().map(|number| format!("req_6_1_{number}")).collect();
    let listed: Vec<_> = rows.iter().map(|row| row.request_id.clone()).take(65).collect();
    assert_eq!(listed, last[..65], "in the order in which they came");
}
