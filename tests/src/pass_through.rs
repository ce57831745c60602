//! Gatepost before another mail server, session by session: `backend = "pass-through"`.

use std::net::SocketAddr;

use crate::server::Server;
use crate::setup::Setup;
use crate::wait_until;

/// What stands in front of one server, in the clear, for `to.example`.
#[must_use]
pub fn before(upstream: SocketAddr) -> Setup {
    before_with(upstream, "tls = \"none\"", "")
}

/// As `before`, with these keys of `[[upstream]]` and of `[pass_through]`. Mail of strangers is for `to.example`.
#[must_use]
pub fn before_with(upstream: SocketAddr, upstream_keys: &str, keys: &str) -> Setup {
    let sections = format!(
        "[pass_through]\ndomains = [\"to.example\"]\nprobe_interval = \"1s\"\n{keys}\n\
         [[upstream]]\nname = \"behind\"\naddress = \"{upstream}\"\n{upstream_keys}\n"
    );
    Setup::new().open_listener().listener_keys("backend = \"pass-through\"").sections(&sections)
}

/// Waits until strangers are offered an extension that depends on what is behind.
///
/// # Panics
/// When it is not offered.
pub fn wait_for_offer(server: &Server, line: &str) {
    wait_until("the extension is offered", || {
        let mut smtp = server.smtp_open();
        let is_offered = smtp.say("EHLO client.example").offers(line);
        smtp.quit();
        is_offered
    });
}
