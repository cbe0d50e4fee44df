//! The sidecar: takes keys over a Unix socket from the application beside it, seals them at once for
//! the gateway, and hands back what the gateway says. The application never sees a key again, and
//! nothing between the sidecar and the gateway's custody can read one.
//!
//! | module | one idea |
//! |---|---|
//! | [`frame`] | length and bytes, to and from a stream |
//! | [`request`] | what may be asked for, read from the bytes of a frame |
//! | [`serve`] | connections: admit, read, answer, end |
//! | [`control`] | the gateway's control plane |
//! | [`ask`] | the other end of the socket |
//! | [`seal`] | the one step that makes a sealed key of a key |

pub mod ask;
pub mod control;
pub mod frame;
pub mod request;
pub mod seal;
pub mod serve;
