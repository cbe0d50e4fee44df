//! Transit: the small server always, and a real OpenBao where `bao` is on the PATH.

mod conforms;
mod failures;
mod same_as_openbao;
mod token;
mod trust;
