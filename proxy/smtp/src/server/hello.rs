//! EHLO, HELO and RSET (RFC 5321 sections 4.1.1.1 and 4.1.1.5).

use std::sync::Arc;

use super::connect::Hello;
use super::{Session, offer};
use crate::wire::client_name::ClientName;
use crate::wire::reply::Reply;

// === impl Session ===

impl Session {
    pub(super) fn on_ehlo(&mut self, name: ClientName) {
        self.abort_transaction();
        self.has_link_state = false;
        self.hello = Some(Hello { name, is_esmtp: true });
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
