//! One suite for every root. To add a root, run [`suite::conforms`] on it: the suite is the
//! specification. What only one kind of root can do is tested beside it.

mod aws;
mod local;
mod pkcs11;
mod suite;
mod vault;
