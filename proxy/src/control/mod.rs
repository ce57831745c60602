//! The operator's hand on the running server: a socket in the data folder, for its owner and for root.
//!
//! ```text
//! gatepost queue ... -> client -- control.sock --> server -> requests -> queue
//!                         message: what travels, one JSON object a line
//! ```
//! A connection carries any number of requests, one after the other. Each is one line, and is answered by any number of
//! `item` lines, or of `content` lines with that many octets behind each, and then by one line that ends it: `done` or
//! `failed`.
//!
//! ```text
//! -> {"version":1,"request":{"hold":{"domain":"example.org"}}}
//! <- {"affected":{"messages":3,"in_delivery":1}}
//! <- "done"
//! -> {"version":1,"request":{"list":{}}}
//! <- {"item":{"id":"1M829761E0000", ...}}
//! <- "done"
//! ```
//! The socket is bound before the sandbox is entered, which forbids to make another one.

pub mod background;
pub mod client;
pub mod message;
mod requests;
pub mod server;
pub mod socket;

pub use client::{Client, ClientError};
pub use server::{ControlServer, Rooms};
pub use socket::ControlSocket;
