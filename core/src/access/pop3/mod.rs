//! POP3 without sockets: RFC 1939, CAPA (RFC 2449), STLS (RFC 2595), AUTH PLAIN (RFC 5034), UTF8 (RFC 6856).
//!
//! ```text
//! octets -> line -> command -> session (authorization -> transaction -> update) -> replies, questions
//! ```
//! In: octets of a client, answers from outside, the time. Out: octets to send, questions, an upgrade to TLS, a reason
//! to close. Passwords are taken inside TLS alone. A message is asked for one at a time and goes out in pieces, so a
//! session holds one message and one piece, whatever was pipelined.
//!
//! One deviation: a message goes out as it is stored whether or not the client said UTF8 (RFC 6856 section 2.1 would have
//! internationalised ones hidden from the others). Every client that is still maintained reads them; none can do
//! anything about a message that it is not given.

mod authorization;
mod command;
mod contract;
mod line;
mod messages;
mod multiline;
mod outbox;
mod reply;
mod session;
mod transaction;

pub use contract::{Answer, CloseReason, Config, Entry, Limits, Maildrop, Output, Question, Ticket};
pub use session::Session;
