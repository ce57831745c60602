//! Messages to play with.

use gatepost_smtp::server::{Envelope, Recipient, TlsFacts};
use gatepost_smtp::wire::params::{BodyKind, MailParams, Notify, OriginalRecipient, RcptParams};

use super::{NewMessage, QueueId};
use crate::intake::{Body, Origin, Submission};
use crate::scan::{EngineIdentity, Stamp};

/// A message with everything in it that an envelope can hold.
pub(super) fn message(id: QueueId, recipients: usize, body: Body) -> NewMessage {
    let params = RcptParams {
        notify: Some(Notify::On { success: false, failure: true, delay: true }),
        orcpt: Some(OriginalRecipient { kind: "rfc822".to_owned(), address: "a+b@example.org".to_owned() }),
    };
    let recipient = |number: usize| Recipient {
        path: format!("<recipient{number}@example.org>").parse().unwrap(),
        params: params.clone(),
    };
    let envelope = Envelope {
        reverse_path: "<\"a sender\"@example.com>".parse().unwrap(),
        params: MailParams {
            size: Some(77),
            body: BodyKind::EightBitMime,
            envid: Some("QQ314159".to_owned()),
            ..MailParams::default()
        },
        recipients: (0..recipients).map(recipient).collect(),
    };
    let origin = Origin {
        session: "SESSION1".to_owned(),
        listener: "submission".to_owned(),
        peer: "192.0.2.7:4711".parse().unwrap(),
        helo: "client.example.com".to_owned(),
        esmtp: true,
        tls: Some(TlsFacts { version: "TLSv1.3".to_owned(), cipher: "TLS_AES_256_GCM_SHA384".to_owned() }),
        user: Some("me@localhost".to_owned()),
        received_at_ms: 1_700_000_000_123,
    };
    let stamp = Stamp::new(EngineIdentity::new("yara", "0123abcd").unwrap(), 3);
    let trace = b"Received: from client.example.com\r\n".to_vec();
    NewMessage { id, submission: Submission::new(envelope, origin), trace, body, stamp: Some(stamp) }
}
