//! The operator's hand on the running server: a socket in the data folder, for its owner and for root.
//!
//! ```text
//! gatepost queue, scan    -> client -- control.sock --> server -> requests -> queue, scan engines
//! gatepost quarantine                                                     `-> quarantine
//!                            message: what travels, one JSON object a line
//! ```
//! A connection carries any number of requests, one after the other. Each is one line, and is answered by any number of
//! `item` lines, or of `content` lines with that many octets behind each, and then by one line that ends it: `done` or
//! `failed`.
//!
//! ```text
//! -> {"version":3,"request":{"change":{"hold":{"domain":"example.org"}}}}
//! <- {"affected":{"messages":3,"in_delivery":1,"other_recipients":0}}
//! <- "done"
//! -> {"version":3,"request":{"list":{}}}
//! <- {"item":{"id":"1M829761E0000", ...}}
//! <- "done"
//! ```
//! The socket is bound before the sandbox is entered, which forbids to make another one.

pub mod background;
pub mod client;
pub mod kept;
pub mod message;
pub mod quarantine;
pub mod queued;
mod requests;
pub mod server;
pub mod socket;
pub mod statistics;

use std::sync::Arc;

use gatepost_core::background::Background;
use gatepost_core::delivery::remote::Remote;
use gatepost_core::events::Log;
use gatepost_core::quarantine::Releaser;
use gatepost_core::queue::Queue;
use gatepost_core::scan::Ensemble;

pub use client::{Client, ClientError};
pub use server::ControlServer;
pub use socket::ControlSocket;

/// What the operator has a hand on.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// What waits.
    pub queue: Queue,
    /// Who knows which other servers are left alone; `None` where mail stays here.
    pub remote: Option<Remote>,
    /// Who scans it.
    pub engines: Arc<Ensemble>,
    /// Who knows the quarantine, and lets mail out of it.
    pub releaser: Releaser,
    /// Who scans the mailboxes again.
    pub background: Background,
    /// Told of each order.
    pub events: Log,
}
