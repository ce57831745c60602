//! SMTP without I/O.
//!
//! In: octets of a peer, answers from outside, the time. Out: octets to write, questions to ask, body octets, a reason to
//! close. No sockets, no clock, no logging, no async runtime: `Cargo.toml` proves it.
//!
//! ```text
//! octets -> wire::line -> wire::command (nom) -> server::session (a file per state) -> replies, questions
//!                         wire::data / wire::bdat  -> body octets
//! octets -> wire::reply_parse -> client::session -> commands, body parts, an outcome a recipient
//! ```
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod client;
pub mod server;
pub mod wire;
