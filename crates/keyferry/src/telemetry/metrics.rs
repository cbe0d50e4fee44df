//! Every metric: its name, its labels and its meaning, in one table.
//!
//! No label holds a tenant, a caller or anything a request chose freely: the number of series is
//! bounded by the configuration.

use std::time::Duration;

use keyferry_core::breaker::BreakerState;
use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::series::{Series, series};

const KEY_STORED: &str = "byok_key_stored_total";
const KEY_TESTED: &str = "byok_key_tested_total";
const KEY_TEST_FAILED: &str = "byok_key_test_failed_total";
const PROVIDER_API_ERROR: &str = "byok_provider_api_error_total";
pub(super) const REQUESTS: &str = "keyferry_requests_total";
const DENIALS: &str = "keyferry_denials_total";
const REFUSED: &str = "keyferry_refused_requests_total";
pub(super) const DURATION: &str = "keyferry_request_duration_seconds";
pub(super) const OVERHEAD: &str = "keyferry_overhead_seconds";
pub(super) const TOKENS: &str = "keyferry_tokens_total";
pub(super) const ACTIVE: &str = "keyferry_requests_in_flight";
pub(super) const CONNECTIONS: &str = "keyferry_client_connections";
pub(super) const UPSTREAM_CONNECTIONS: &str = "keyferry_upstream_connections_total";
const EGRESS_DENIED: &str = "keyferry_egress_denied_total";
pub(super) const USAGE_WAITING: &str = "keyferry_usage_rows_waiting";
const LOG_LINES_LOST: &str = "keyferry_log_lines_lost_total";
const KMS_CALLS: &str = "keyferry_kms_calls_total";
const KMS_STATE: &str = "keyferry_kms_circuit_state";
const PROVIDER_STATE: &str = "keyferry_provider_circuit_state";
const FALLBACK: &str = "byok_fallback_to_server_key_total";
const SECRETMEM: &str = "keyferry_secretmem";
const SECRETMEM_OVERFLOWED: &str = "keyferry_secretmem_overflowed_total";

/// How often histograms are taken in.
const UPKEEP: Duration = Duration::from_secs(5);

const SHORT: [f64; 8] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1];
const LONG: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// Starts the recorder; the handle renders it for `/metrics`.
pub fn start() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(OVERHEAD.to_owned()), &SHORT)?
        .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &LONG)?
        .install_recorder()?;
    describe();
    super::series::start();
    Ok(handle)
}

/// Takes in what histograms were told, for ever. Until then each value is kept by itself, so that without anybody who asks
/// for the metrics they would grow with every request.
pub async fn keep_up(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

fn describe() {
    describe_counter!(KEY_STORED, "Keys stored or rotated, by provider.");
    describe_counter!(KEY_TESTED, "Key tests, by provider and status.");
    describe_counter!(KEY_TEST_FAILED, "Key tests that did not find a usable key, by provider and status.");
    describe_counter!(PROVIDER_API_ERROR, "Error answers of providers, by provider and status.");
    describe_counter!(REQUESTS, "Admitted requests, by provider, operation, credential and outcome.");
    describe_counter!(DENIALS, "Requests that were not let through, by code.");
    describe_counter!(REFUSED, "Requests refused for their bytes, before anything was read from them.");
    describe_histogram!(DURATION, Unit::Seconds, "From admission to the last byte, by provider.");
    describe_histogram!(OVERHEAD, Unit::Seconds, "Spent in the gateway before the provider was called.");
    describe_counter!(TOKENS, "Tokens, by provider and direction.");
    describe_gauge!(ACTIVE, "Requests being served.");
    describe_gauge!(CONNECTIONS, "Client connections.");
    describe_counter!(
        UPSTREAM_CONNECTIONS,
        "Connections to providers, by provider and whether opened or reused."
    );
    describe_counter!(EGRESS_DENIED, "Dials refused by the address guard, by provider.");
    describe_gauge!(USAGE_WAITING, "Usage rows that are not in the store yet.");
    describe_counter!(LOG_LINES_LOST, "Log lines that were left out because nobody read those before them.");
    describe_counter!(KMS_CALLS, "Calls of a root, by root, operation and outcome.");
    describe_gauge!(
        KMS_STATE,
        "Circuit of a root, by root: 0 closed, 1 some calls failed, 2 probing, 3 open."
    );
    describe_gauge!(
        PROVIDER_STATE,
        "Circuit of a provider, by provider: 0 closed, 1 some calls failed, 2 probing, 3 open."
    );
    describe_counter!(
        FALLBACK,
        "Requests that the platform's key served in the place of a tenant's, by provider and reason."
    );
    describe_gauge!(SECRETMEM, Unit::Bytes, "Memory locked for secrets, by the kind that is in use.");
    describe_counter!(SECRETMEM_OVERFLOWED, "Secrets for which no locked memory was left.");
    for provider in ["openai", "anthropic", "gemini"] {
        counter!(KEY_STORED, "provider" => provider).absolute(0);
        counter!(PROVIDER_API_ERROR, "provider" => provider, "status" => "500").absolute(0);
        counter!(FALLBACK, "provider" => provider, "reason" => "missing").absolute(0);
        gauge!(PROVIDER_STATE, "provider" => provider).set(0.0);
        for status in ["ok", "invalid"] {
            counter!(KEY_TESTED, "provider" => provider, "status" => status).absolute(0);
        }
        counter!(KEY_TEST_FAILED, "provider" => provider, "status" => "invalid").absolute(0);
    }
}

/// Everything, as it is now.
pub fn render(handle: &PrometheusHandle) -> String {
    let memory = keyferry_secretmem::report();
    gauge!(SECRETMEM, "backend" => memory.backend.as_str()).set(memory.locked as f64);
    counter!(SECRETMEM_OVERFLOWED).absolute(memory.overflowed);
    handle.render()
}

/// A key was stored or rotated.
pub fn key_stored(provider: &str) {
    counter!(KEY_STORED, "provider" => provider.to_owned()).increment(1);
}

/// A key was tested.
pub fn key_tested(provider: &str, status: &'static str, usable: bool) {
    counter!(KEY_TESTED, "provider" => provider.to_owned(), "status" => status).increment(1);
    if !usable {
        counter!(KEY_TEST_FAILED, "provider" => provider.to_owned(), "status" => status).increment(1);
    }
}

/// A provider answered with an error.
pub fn provider_error(provider: &str, status: u16) {
    counter!(PROVIDER_API_ERROR, "provider" => provider.to_owned(), "status" => status.to_string())
        .increment(1);
}

/// The platform's key serves in the place of a tenant's.
pub fn fallback(provider: &str, reason: &'static str) {
    counter!(FALLBACK, "provider" => provider.to_owned(), "reason" => reason).increment(1);
}

/// The circuit of a provider is in this state.
pub fn provider_state(provider: &str, state: BreakerState) {
    gauge!(PROVIDER_STATE, "provider" => provider.to_owned()).set(number(state));
}

/// A request was not let through.
pub fn denied(code: &'static str) {
    counter!(DENIALS, "code" => code).increment(1);
}

/// A request was refused for its bytes.
pub fn refused() {
    counter!(REFUSED).increment(1);
}

/// An admitted request ended.
pub fn request_ended(record: &keyferry_core::record::UsageRecord) {
    let Some(series) = series() else { return };
    let of_provider = series.of(record.provider.as_str());
    of_provider.requests(record).increment(1);
    of_provider.duration.record(Duration::from_millis(record.latency_ms).as_secs_f64());
    series.overhead.record(Duration::from_micros(record.overhead_us).as_secs_f64());
    for (direction, tokens) in [("input", record.usage.input), ("output", record.usage.output)] {
        if tokens > 0 {
            of_provider.tokens(direction).increment(tokens);
        }
    }
}

/// A request is being served until the guard is dropped.
pub fn in_flight() -> InFlight {
    InFlight::of(|series| &series.active)
}

/// A client is connected until the guard is dropped.
pub fn connected() -> InFlight {
    InFlight::of(|series| &series.connections)
}

/// Something that is going on.
pub struct InFlight(Option<&'static Gauge>);

impl InFlight {
    fn of(gauge: impl FnOnce(&'static Series) -> &'static Gauge) -> Self {
        let gauge = series().map(gauge);
        gauge.inspect(|gauge| gauge.increment(1));
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.inspect(|gauge| gauge.decrement(1));
    }
}

/// A connection to a provider was opened or taken from the pool.
pub fn upstream_connection(provider: &str, how: &'static str) {
    series().inspect(|series| series.of(provider).connections(how).increment(1));
}

/// The address guard refused a dial.
pub fn egress_denied(provider: &str) {
    counter!(EGRESS_DENIED, "provider" => provider.to_owned()).increment(1);
}

/// A root was called.
pub fn kms_called(root: &str, operation: &'static str, outcome: &'static str) {
    counter!(KMS_CALLS, "root" => root.to_owned(), "operation" => operation, "outcome" => outcome)
        .increment(1);
}

/// The circuit of a root is in this state.
pub fn kms_state(root: &str, state: BreakerState) {
    gauge!(KMS_STATE, "root" => root.to_owned()).set(number(state));
}

fn number(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::Degraded => 1.0,
        BreakerState::Probing => 2.0,
        BreakerState::Open => 3.0,
    }
}

/// So many usage rows wait for the store.
pub fn usage_waiting(rows: usize) {
    series().inspect(|series| series.usage_waiting.set(rows as f64));
}

/// Lines of the log were left out, because nobody read those before them.
pub fn log_lines_lost(lines: u64) {
    counter!(LOG_LINES_LOST).increment(lines);
}
