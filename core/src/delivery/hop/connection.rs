//! A live connection to a next hop.

use gatepost_smtp::client::Capabilities;
use gatepost_smtp::server::TlsFacts;

use super::Served;
use crate::queue::NewMessage;

/// An open session, between two mails.
#[derive(Debug)]
pub struct Connection {}

/// What a connection made of a mail.
#[must_use]
#[derive(Debug)]
pub struct Delivered {
    /// One a recipient, in the order asked for.
    pub served: Vec<Served>,
    /// For the next mail, where the server can take one.
    pub connection: Option<Connection>,
}

// === impl Connection ===

impl Connection {
    /// Takes a mail to the server, for these recipients (indices into `submission.envelope.recipients`).
    pub async fn deliver(self, message: &NewMessage, recipients: &[usize]) -> Delivered {
        let _ = (message, recipients);
        todo!()
    }

    /// Whether a connection that was kept can still be used: the server has neither closed it nor said anything.
    pub async fn is_usable(&mut self) -> bool {
        todo!()
    }

    /// Takes leave. Never fails: what is left of the connection is dropped.
    pub async fn quit(self) {
        todo!()
    }

    /// What the server offers.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        todo!()
    }

    /// Its TLS, where it has any.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFacts> {
        todo!()
    }
}
