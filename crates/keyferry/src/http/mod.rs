//! HTTP: listeners, the guard in front of everything, and the one route table.

mod allowance;
mod body;
mod clean;
mod client_body;
mod connection;
mod door;
mod dormant;
mod health;
mod ids;
mod ingress;
mod listener;
mod problem;
mod rinsed;
mod route;
mod secrets;
mod short;

pub(crate) use allowance::limit_name;
pub use allowance::{Allowance, LimitName, policy_of};
pub use body::AnswerBody;
pub use clean::Clean;
pub use client_body::{BrokenBody, ClientBody};
pub use door::Door;
pub use health::Health;
pub use ids::RequestIds;
pub use ingress::end_of_head;
#[cfg(fuzzing)]
pub use ingress::fuzzing;
pub use listener::{BindError, Bound, bind};
pub use problem::{Form, Problem};
pub use route::{App, ClientAddr, EndsConnection};
pub use secrets::{Handed, Repeated, SecretHeaders, copy};
pub use short::Short;
