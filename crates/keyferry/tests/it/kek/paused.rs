//! Each root stops in the middle and is back: what is open serves, the rest is told, and nothing has to
//! be started again. (What the small Transit server is stopped for is in `away`.)

use std::time::Instant;

use keyferry_kms_testing::{Bench, Moto, OpenBao, softhsm::on_a_token};

use super::{
    away::PROMISED,
    aws, kms, pkcs11, readiness,
    roots::{ACCESS_KEY, aws_key},
    store, vault,
};
use crate::harness::{Gateway, Options, Provider, a_key};

async fn stops_and_is_back(root: &str, stop: impl AsyncFnOnce(), begin: impl AsyncFnOnce()) {
    let provider = Provider::right().await;
    let options = ACCESS_KEY
        .iter()
        .fold(Options::to(&provider).quiet(), |options, (name, value)| options.env(name, value));
    let mut gateway = Gateway::start(options.yaml(&kms(root, ""))).await;
    let open = gateway.tenant_with_key("openai", &a_key("sk-open-")).await;
    let closed = gateway.tenant_with_key("openai", &a_key("sk-closed-")).await;
    gateway.restart().await;
    gateway.chat(&open.caller_token).await.expect(200);

    stop().await;
    let begun = Instant::now();
    let (stored, asked, served) =
        tokio::join!(store(&gateway, &open.id, "new"), gateway.chat(&closed.caller_token), async {
            for _ in 0..50 {
                gateway.chat(&open.caller_token).await.expect(200);
            }
            begun.elapsed()
        });
    stored.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    asked.refused(503, "BYOK_SERVICE_UNAVAILABLE");
    assert!(begun.elapsed() < PROMISED, "{:?}; {served:?} for what is open", begun.elapsed());
    assert_eq!(readiness(&gateway).await, "degraded");

    begin().await;
    store(&gateway, &open.id, "new").await.expect(201);
    gateway.chat(&closed.caller_token).await.expect(200);
    gateway.chat(&open.caller_token).await.expect(200);
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn openbao_stops_and_is_back() {
    let Some(bao) = OpenBao::start("openbao_stops_and_is_back").await else { return };
    let bench = Bench::on(bao.operator.clone(), "transit").await;
    stops_and_is_back(&vault(&bench.config), async || bao.pause(), async || bao.resume()).await;
}

#[tokio::test]
async fn aws_kms_stops_and_is_back() {
    let Some(moto) = Moto::start("aws_kms_stops_and_is_back") else { return };
    stops_and_is_back(&aws(&aws_key(&moto)), async || moto.pause(), async || moto.resume()).await;
}

#[test]
fn a_hardware_module_stops_and_is_back() {
    on_a_token("kek::paused::a_hardware_module_stops_and_is_back", async |hsm| {
        let root = pkcs11(&hsm.with_key("kek"));
        stops_and_is_back(&root, async || hsm.take_away(), async || hsm.bring_back()).await;
    });
}
