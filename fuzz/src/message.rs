//! Submissions with texts from an input in every field.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use gatepost_core::intake::{Origin, Submission};
use gatepost_smtp::server::{Envelope, Recipient, TlsFacts};
use gatepost_smtp::wire::params::{MailParams, RcptParams};

use crate::input::Input;

/// Paths and parameters are what their parsers let through; the rest is any text.
pub(crate) fn submission(input: &mut Input<'_>) -> Submission {
    let flags = input.octet();
    let reverse_path = input.text().parse().unwrap_or_else(|_| "<>".parse().unwrap());
    let params = MailParams::parse(&input.text()).unwrap_or_default();
    let recipient = |text: &str| {
        let path = text.parse().ok()?;
        Some(Recipient { path, params: RcptParams::default() })
    };
    let recipients = (0..flags & 3).filter_map(|_| recipient(&input.text())).collect();
    let address = IpAddr::V6(Ipv6Addr::from(u128::from(input.u64()) << 64 | u128::from(input.u64())));
    let origin = Origin {
        session: input.text(),
        listener: input.text(),
        peer: SocketAddr::new(address.to_canonical(), input.u16()),
        helo: input.text(),
        esmtp: flags & 4 != 0,
        tls: (flags & 8 != 0).then(|| TlsFacts { version: input.text(), cipher: input.text() }),
        user: (flags & 16 != 0).then(|| input.text()),
        received_at_ms: input.u64(),
    };
    Submission::new(Envelope { reverse_path, params, recipients }, origin)
}
