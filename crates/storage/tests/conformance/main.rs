//! The ports' conformance suite: what every backend must do, run against each.
//!
//! A new backend is one more line in each list at the end of this file.

mod audit;
mod budgets;
mod counters;
mod credentials;
mod issuers;
mod keks;
mod sample;
mod sealing;
mod tenants;
mod tokens;
mod usage;

/// Runs each test of a module against a store made by `$open`, whose guard is kept until the end.
macro_rules! against_store {
    ($backend:ident, $open:expr, $($module:ident :: $test:ident),+ $(,)?) => {
        mod $backend {
            $(
                #[tokio::test]
                async fn $test() {
                    let (store, _guard) = $open.await;
                    super::$module::$test(&store).await;
                }
            )+
        }
    };
}

macro_rules! against_counters {
    ($backend:ident, $open:expr, $($module:ident :: $test:ident),+ $(,)?) => {
        mod $backend {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$module::$test(&$open).await;
                }
            )+
        }
    };
}

against_store!(
    sqlite,
    crate::sample::sqlite(),
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
    sealing::a_hundred_uses_at_once_of_one_are_one,
    tokens::a_token_lives_from_issue_to_revocation,
    issuers::an_issuer_comes_and_goes,
    usage::rows_are_summed_and_listed,
    usage::what_the_platform_paid_is_summed_once,
    audit::every_change_is_in_the_chain,
);

against_counters!(
    memory,
    keyferry_storage::counter::MemoryCounters::default(),
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
);
