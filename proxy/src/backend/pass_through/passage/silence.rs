//! While the client says nothing: what a stranger has lies aside, where others can take it once they need it.
//!
//! It is taken up by what is for the server behind, and by nothing else: whoever says NOOP has been silent all the same. What
//! nobody takes is as it was.

use super::Passage;
use super::sender::Sender;

// === impl Passage ===

impl Passage {
    /// The client has said something that is for the server behind.
    pub(crate) fn go_on(&mut self, is_stranger: bool) {
        self.is_stranger = is_stranger;
        self.take_up();
    }

    /// The connection is the client's again, unless it had to make room: then his mail hears that it is lost.
    pub(super) fn take_up(&mut self) {
        let Some(aside) = self.aside.take() else { return };
        self.link = aside.take_up();
        if self.link.is_none() {
            self.is_lost = self.is_in_mail;
            self.sender = Sender::Told;
        }
    }

    /// The client is waited for.
    pub(crate) fn wait(&mut self, is_stranger: bool) {
        self.is_stranger = is_stranger;
        let Some(mut link) = self.link.take() else { return };
        if !is_stranger {
            link.set_known();
        }
        match link.is_of_stranger() {
            true => self.aside = Some(link.lay_aside()),
            false => self.link = Some(link),
        }
    }

    /// The same between two chunks of a body (BDAT), where a client can say other things, or nothing, as between commands.
    pub(crate) fn wait_for_chunk(&mut self) {
        if self.is_in_body {
            self.wait(self.is_stranger);
        }
    }
}
