//! What goes over a live connection besides mails: somebody's login, and the verbs between servers.

use gatepost_smtp::client::NotReady;
use gatepost_smtp::client::hand_on::NotHandedOn;
use gatepost_smtp::server::{Extension, Mechanism};
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::verb::Verb;

use super::super::wire::now;
use super::Live;

// === impl Live ===

impl Live {
    /// AUTH or X-EXPS, with the next `reply`: behind 334 `response` follows.
    ///
    /// # Errors
    /// Where the server does not offer the mechanism; then nothing is sent.
    pub fn auth(
        &mut self,
        verb: Verb,
        mechanism: Mechanism,
        initial_response: Option<&Secret>,
    ) -> Result<(), NotHandedOn> {
        self.session.hand_on_auth(now(), verb, mechanism, initial_response, self.outgoing.end())
    }

    /// The response to a challenge, with the next `reply`.
    ///
    /// # Errors
    /// Where there was none.
    pub fn response(&mut self, response: &Secret) -> Result<(), NotReady> {
        self.session.hand_on_response(now(), response, self.outgoing.end())
    }

    /// A verb between servers, with the next `reply`. Behind XEXCH50 and 354 its blob follows, and the `reply` to that.
    ///
    /// # Errors
    /// Where the server does not offer it; then nothing is sent.
    pub fn extension(&mut self, extension: &Extension) -> Result<(), NotHandedOn> {
        self.session.hand_on_extension(now(), extension, self.outgoing.end())
    }

    /// Octets of a blob. What goes wrong is told by `reply`.
    pub fn put_blob(&mut self, octets: &[u8]) {
        if self.ending.is_none() {
            self.session.hand_on_blob(now(), octets, self.outgoing.end());
        }
    }
}
