//! EHLO, HELO and RSET (RFC 5321 sections 4.1.1.1 and 4.1.1.5).

use std::sync::Arc;

use super::connect::Hello;
use super::session::Pending;
use super::{Answer, Question, Refusal, Session, offer};
use crate::wire::client_name::ClientName;
use crate::wire::reply::Reply;

// === impl Session ===

impl Session {
    pub(super) fn on_ehlo(&mut self, name: ClientName) {
        self.abort_transaction();
        let hello = Hello { name, is_esmtp: true };
        if offer::depends_on_behind(self) {
            self.hello = None;
            self.wait_for(Question::Behind, Pending::Behind(hello));
        } else {
            self.greet_back(hello);
        }
    }

    /// Without a server behind there is nothing to offer, and whoever says EHLO again may find one.
    pub(super) fn behind_answered(&mut self, hello: Hello, answer: &Answer) {
        match answer {
            Answer::Behind(behind) => {
                self.behind = Some(*behind);
                self.greet_back(hello);
            }
            Answer::Said(said) => self.relay_refusal(said),
            Answer::Refused(refusal) => self.refuse(*refusal),
            _ => self.refuse(Refusal::BackendFailed),
        }
    }

    fn greet_back(&mut self, hello: Hello) {
        self.hello = Some(hello);
        let keywords = offer::keywords(self);
        let config = Arc::clone(&self.config);
        self.reply(&Reply::hello(&config.hostname, &keywords));
    }

    pub(super) fn on_helo(&mut self, name: ClientName) {
        self.abort_transaction();
        self.hello = Some(Hello { name, is_esmtp: false });
        let config = Arc::clone(&self.config);
        self.reply(&Reply::named(250, &config.hostname, ""));
    }

    pub(super) fn on_rset(&mut self) {
        self.abort_transaction();
        self.reply(&Reply::fixed(250, 0, 0, "OK"));
    }
}
