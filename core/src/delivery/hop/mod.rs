//! The next hop: one SMTP or LMTP server at one address, and a mail taken there.
//!
//! ```text
//! NextHop (whoever routes) -> Courier::connect -> Connection::deliver(Consignment) -> Served a recipient
//!                                                 |  source: head, then body, in parts
//!                                                 +- wire: octets both ways, deadlines
//! ```
//! Which servers there are, in which order they are tried and when again is decided elsewhere. Here: sockets, TLS, time,
//! and `gatepost_smtp::client`, which knows the protocol.
//!
//! # Using it
//! `connect` gives a connection that is greeted, secured as `TlsDemand` asks and logged in. `deliver` consumes it and
//! gives it back where it can serve another mail; `is_usable` tells of one that was kept whether the server still holds
//! it; `quit` takes leave. What is dropped is closed without a word. Nothing waits longer than `Patience` and
//! `Settings::connect` say.
//!
//! A mail that somebody is just handing in goes over `Connection::into_live`, command by command.
//!
//! # The duplicate window
//! A recipient is delivered when the server has said so after the whole body, and nothing else counts. Where a
//! connection ends between our end of data and that reply, the server may have the mail all the same; the recipient
//! stays in the queue and may get it twice. SMTP leaves no better choice (RFC 5321 section 4.5.4.2, RFC 1047). The same
//! holds for a crash of ours between that reply and the flush of the queue's record.

mod connection;
mod consignment;
mod courier;
mod failure;
mod live;
mod next_hop;
mod outgoing;
mod served;
mod seven_bit;
mod source;
pub mod tls;
mod verifier;
mod wire;

pub use connection::{Connection, Delivered};
pub use consignment::Consignment;
pub use courier::{CONNECT_TIME, Courier, Settings, StartError};
pub use failure::{HopFailure, TlsFailure};
pub use live::Live;
pub use next_hop::{InsecureLogin, NextHop, Preamble};
pub use served::{Served, Verdict};
pub use tls::TlsDemand;
pub(in crate::delivery) use verifier::Judge;

#[cfg(test)]
mod tests;
