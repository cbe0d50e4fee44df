//! The ports' conformance suite: what every backend must do, run against each.
//!
//! A new backend is one more line in each list at the end of this file.

mod audit;
mod bad_days;
mod budgets;
mod copying;
mod counters;
mod credentials;
mod day;
mod issuers;
mod journal;
mod keks;
mod once;
mod outbox;
mod sample;
mod sealing;
mod tenants;
mod together;
mod tokens;
mod usage;

/// Runs each test of a module against a store made by `$open`, whose guard is kept until the end; or
/// not at all, where it makes none.
macro_rules! against_store {
    ($backend:ident, $open:path, $($module:ident :: $test:ident),+ $(,)?) => {
        mod $backend {
            $(
                #[tokio::test]
                async fn $test() {
                    if let Some((store, _guard)) = $open(stringify!($test)).await {
                        super::$module::$test(&store).await;
                    }
                }
            )+
        }
    };
}

/// The tests of a store, which are the same for each backend.
macro_rules! against_stores {
    ($($backend:ident: $open:path;)+) => {
        $(
            against_store!(
                $backend,
                $open,
                tenants::a_tenant_comes_back_as_it_was_written,
                credentials::a_credential_lives_from_storing_to_revocation,
                keks::a_tenant_has_one_kek_in_use,
                keks::versions_move_to_a_new_kek_once,
                keks::a_rotation_wins_over_a_move,
                keks::a_key_is_rewrapped_if_it_is_still_the_one,
                sealing::sealing_keys_follow_each_other,
                sealing::a_sealed_key_is_good_so_often_and_for_one_caller,
                sealing::what_was_forgotten_is_not_allowed_again_when_the_clock_goes_back,
                sealing::nothing_is_good_that_was_sealed_to_a_destroyed_key,
                sealing::of_a_hundred_uses_at_once_as_many_are_allowed_as_may_be,
                tokens::a_token_lives_from_issue_to_revocation,
                issuers::an_issuer_comes_and_goes,
                usage::rows_are_summed_and_listed,
                usage::what_the_platform_paid_is_summed_once,
                usage::every_row_is_written_however_many_come_together,
                audit::every_change_is_in_the_chain,
                outbox::a_change_to_a_tenants_things_orders_its_epoch_to_move,
            );
        )+
    };
}

/// Runs each test against the counters that each `$open` makes, if it can.
macro_rules! against_counters {
    ($($backend:ident: $open:expr),+ => $tests:tt) => {
        $(against_counters!(@one $backend, $open, $tests);)+
    };
    (@one $backend:ident, $open:expr, [$($module:ident :: $test:ident),+ $(,)?]) => {
        mod $backend {
            $(
                #[tokio::test]
                async fn $test() {
                    if let Some(counters) = $open(stringify!($test)).await {
                        super::$module::$test(&counters).await;
                    }
                }
            )+
        }
    };
}

against_stores! {
    sqlite: crate::sample::sqlite;
    postgres: crate::sample::postgres;
}

against_counters!(
    memory: crate::sample::memory_counters,
    redis: crate::sample::redis_counters
    => [
        counters::a_quota_lets_through_exactly_so_many_in_parallel,
        counters::a_claim_is_good_once_also_in_parallel,
        counters::a_refused_request_takes_nothing,
        counters::a_bucket_refills_with_time,
        counters::a_moved_epoch_makes_plans_stale,
        counters::a_quota_starts_anew_at_midnight,
        budgets::what_is_spent_is_asked_for_before_anything_is_taken,
        budgets::requests_at_once_hold_no_more_than_there_is,
        budgets::a_refused_reservation_takes_nothing,
        budgets::sums_are_right_in_whatever_order_they_come,
        budgets::a_hold_that_was_not_settled_makes_what_is_spent_unknown,
        budgets::a_renewed_hold_lives_on_and_a_lost_one_comes_back,
        budgets::all_of_it_follows_the_model,
        once::a_repetition_is_told_while_the_first_runs_and_after_it_was_paid,
        once::what_cost_nothing_may_come_again,
        once::another_request_under_the_same_key_is_told,
        once::each_key_is_by_itself,
        once::a_repetition_that_ends_leaves_the_first_known,
        once::what_is_known_ends_with_a_hold_that_nobody_settles,
        once::a_renewed_hold_is_known_for_longer,
        once::a_repetition_takes_nothing,
        day::each_decision_of_a_day_is_right,
        day::each_decision_of_a_months_last_day_is_right,
    ]
);
