//! A plan as the script for admissions reads it, and the script's answer as a decision.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use keyferry_core::{
    budget::{Once, Repeat, Reserve, Spent},
    id::TenantId,
    limits::Rate,
    port::counter::{Bucket, Claim, CountersAway, Decision, Epoch, Plan, Room, Scope, Take},
};

use super::{
    super::left_in_bucket,
    link::{away, garbage},
    script::{Answer, Call, SCRIPTS, Word},
};

/// A key of a tenant. What stands in braces decides where a cluster keeps it: all of a tenant's in one place.
pub(super) struct Key<'a> {
    tenant: &'a TenantId,
    name: &'static str,
    /// What comes behind its name.
    of: Cow<'a, str>,
}

impl Word for Key<'_> {
    fn put(&self, bytes: &mut Vec<u8>) {
        for part in ["kf:{", self.tenant.as_str(), "}:", self.name, &self.of] {
            part.put(bytes);
        }
    }
}

/// The one of this name.
pub(super) fn key<'a>(tenant: &'a TenantId, name: &'static str) -> Key<'a> {
    Key { tenant, name, of: Cow::Borrowed("") }
}

/// The keys of a tenant's money.
pub(super) fn account(tenant: &TenantId) -> [Key<'_>; 3] {
    ["spent", "holds", "amounts"].map(|name| key(tenant, name))
}

/// The key of a request that is paid once; one without it has a name that no script looks at.
pub(super) fn once_key<'a>(tenant: &'a TenantId, once: Option<&Once>) -> Key<'a> {
    match once {
        Some(once) => Key { tenant, name: "once:", of: Cow::Owned(HEXLOWER.encode(&once.key)) },
        None => key(tenant, "once"),
    }
}

/// What such a request asks for, or nothing.
pub(super) fn asks(once: Option<&Once>) -> String {
    once.map_or_else(String::new, |once| HEXLOWER.encode(&once.asks))
}

fn bucket_key<'a>(tenant: &'a TenantId, bucket: &Bucket<'a>) -> Key<'a> {
    let name = match bucket.scope {
        Scope::Caller => "bucket:caller:",
        Scope::Tenant => "bucket:tenant:",
        Scope::TenantProvider => "bucket:provider:",
    };
    Key { tenant, name, of: Cow::Borrowed(bucket.name) }
}

/// The plan as a call; `now` is the caller's time in microseconds, if that counts.
pub(super) fn call(plan: &Plan<'_>, now: &str) -> Call {
    let tenant = plan.tenant;
    let fixed = ["epoch", "claims", "quota", "spent", "holds", "amounts", "room"];
    let call = Call::of(&SCRIPTS.decide, fixed.map(|name| key(tenant, name)));
    // A plan that takes nothing has no buckets, and the script looks at none.
    let call = match &plan.take {
        Some(take) => call.keys(take.buckets.each_ref().map(|bucket| bucket_key(tenant, bucket))),
        None => call.keys([(); 3].map(|()| key(tenant, "bucket"))),
    };
    let reserve = plan.take.as_ref().and_then(|take| take.reserve.as_ref());
    let call = call.keys(reserve.map(|reserve| once_key(tenant, reserve.hold.once)));
    let call = call.text(now).integer(plan.epoch.0);
    take_args(claim_args(call, plan), plan.take.as_ref())
}

fn claim_args(call: Call, plan: &Plan<'_>) -> Call {
    let Some(Claim { key, until }) = plan.claim else { return call.text("").text("").text("") };
    let lasts = until.millis().saturating_sub(plan.now.millis());
    let positive = |millis: i64| u64::try_from(millis).unwrap_or(0);
    call.bytes(&key).number(positive(until.millis())).number(positive(lasts))
}

fn take_args(call: Call, take: Option<&Take<'_>>) -> Call {
    let Some(take) = take else { return call.text("") };
    let mut call = call.text("1").number(take.daily_quota);
    for bucket in &take.buckets {
        call = rate_args(call, bucket.rate);
    }
    match &take.reserve {
        Some(reserve) => reserve_args(call, reserve),
        None => call.text(""),
    }
}

/// Interval in microseconds, 0 for no limit, and burst.
pub(super) fn rate_args(call: Call, rate: Rate) -> Call {
    let Some(interval) = rate.interval_micros() else { return call.number(0).number(0) };
    let burst = u64::from(rate.burst().max(1));
    // A full bucket is less than a third of a century ahead: what is added to the time stays exact.
    call.number(interval.min((1 << 50) / burst).max(1)).number(burst)
}

/// Id, amount, time to live, span, limit, what is spent with its version, and what is asked for once.
pub(super) fn reserve_args(call: Call, reserve: &Reserve<'_>) -> Call {
    let hold = &reserve.hold;
    let call = call.text(hold.id.as_str()).number(hold.micro_usd).number(hold.ttl_ms);
    let call = call.integer(reserve.span.number()).number(reserve.limit);
    let call = match reserve.spent {
        Some(Spent { micro_usd, version }) => call.number(micro_usd).number(version),
        None => call.text("").text(""),
    };
    call.text(asks(hold.once))
}

/// What stands in the way of a request that is paid once, if that is what a script says.
pub(super) fn repeat(answer: &Answer) -> Option<Repeat> {
    let first = || answer.text(1)?.parse().ok();
    match answer.word() {
        "another" => Some(Repeat::OfAnother),
        "running" => first().map(Repeat::Running),
        "answered" => first().map(Repeat::Answered),
        _ => None,
    }
}

/// What the script decided.
pub(super) fn decision(plan: &Plan<'_>, answer: &Answer) -> Result<Decision, CountersAway> {
    if let Some(repeat) = repeat(answer) {
        return Ok(Decision::Repeated(repeat));
    }
    let scopes = plan.take.as_ref().map(|take| take.buckets.each_ref().map(|bucket| bucket.scope));
    Ok(match answer.word() {
        "stale" => Decision::Stale(Epoch(answer.number(1).ok_or_else(garbage)?)),
        "unknown" => Decision::SpentUnknown,
        "replayed" => Decision::Replayed,
        "full" => return Err(away("too many live token ids")),
        "claimed" if plan.take.is_none() => Decision::Taken(Room::default()),
        "limited" => {
            let at = answer.number(1).and_then(|at| usize::try_from(at).ok()?.checked_sub(1));
            let scope = scopes.and_then(|scopes| scopes.get(at?).copied()).ok_or_else(garbage)?;
            let wait = answer.number(2).ok_or_else(garbage)?;
            Decision::RateLimited { scope, retry_after_ms: wait.div_ceil(1000) }
        }
        "quota" => Decision::QuotaExceeded,
        "budget" => Decision::BudgetExceeded,
        "taken" => Decision::Taken(room(plan.take.as_ref().ok_or_else(garbage)?, answer)?),
        _ => return Err(garbage()),
    })
}

fn room(take: &Take<'_>, answer: &Answer) -> Result<Room, CountersAway> {
    let mut room = Room::default();
    for (at, (left, bucket)) in room.buckets.iter_mut().zip(&take.buckets).enumerate() {
        if !answer.has_none(1 + at) {
            let ahead = answer.number(1 + at).ok_or_else(garbage)?;
            *left = Some(left_in_bucket(bucket.rate, ahead));
        }
    }
    let used = answer.number(4).ok_or_else(garbage)?;
    room.quota = take.daily_quota.checked_sub(used).ok_or_else(garbage)?;
    Ok(room)
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    /// What a script never says is no decision, and least of all one that lets through.
    #[test]
    fn an_answer_that_is_none_decides_nothing() {
        let tenant: TenantId = "acme".parse().expect("valid");
        let bucket = |scope| Bucket { scope, name: "", rate: Rate::Per { count: 10, per_millis: 1000 } };
        let take = Take {
            buckets: [Scope::Caller, Scope::Tenant, Scope::TenantProvider].map(bucket),
            daily_quota: 5,
            reserve: None,
        };
        let now = keyferry_core::time::Timestamp::from_secs(0);
        let asks = Plan { tenant: &tenant, now, epoch: Epoch(1), claim: None, take: Some(take) };
        let answer = |word: &str, numbers: &[i64]| {
            let word = Value::BulkString(word.as_bytes().to_vec());
            let values = [word].into_iter().chain(numbers.iter().map(|&number| Value::Int(number)));
            Answer::of(Value::Array(values.collect())).expect("an array")
        };
        let taken = decision(&asks, &answer("taken", &[0, 100_000, -1, 5]));
        let room = Room { buckets: [Some(20), Some(19), None], quota: 0 };
        assert_eq!(taken.expect("a decision"), Decision::Taken(room));
        for (word, numbers) in [
            ("", &[][..]),
            ("OK", &[]),
            ("taken", &[]),
            ("taken", &[0, 0, 0]),
            ("taken", &[0, 0, -2, 1]),
            ("taken", &[0, 0, 0, 6]),
            ("claimed", &[]),
            ("limited", &[0, 1]),
            ("limited", &[4, 1]),
            ("limited", &[1, -1]),
            ("stale", &[]),
            ("full", &[]),
        ] {
            assert!(decision(&asks, &answer(word, numbers)).is_err(), "{word} {numbers:?}");
        }
        let claims = Plan { take: None, ..asks };
        assert!(decision(&claims, &answer("taken", &[-1, -1, -1, 1])).is_err());
        assert!(Answer::of(Value::Okay).is_none());
    }
}
