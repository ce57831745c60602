//! What the tests of delivery and of the gate share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, RcptParams};

use crate::intake::{Body, Origin, Submission};
use crate::queue::{NewMessage, QueueId};
use crate::scan::{Engine, EngineIdentity, POLICY_VERSION, SealKey, Stamp, Verdict};

/// A small mail from nobody in particular.
pub(crate) fn message(id: u64, recipients: &[&str]) -> NewMessage {
    let recipient = |address: &&str| Recipient {
        path: format!("<{address}>").parse().unwrap(),
        params: RcptParams::default(),
    };
    NewMessage {
        id: QueueId(id),
        submission: Submission::new(
            Envelope {
                reverse_path: "<sender@example.org>".parse().unwrap(),
                params: MailParams::default(),
                recipients: recipients.iter().map(recipient).collect(),
            },
            Origin {
                session: "S1".into(),
                listener: "smtp".into(),
                peer: "127.0.0.1:25".parse().unwrap(),
                helo: "client.example.org".into(),
                esmtp: true,
                tls: None,
                user: None,
                received_at_ms: 1_700_000_000_000,
            },
        ),
        trace: b"Received: from client.example.org\r\n".to_vec(),
        body: Body::Memory("Subject: hello\r\n\r\nbody\r\n".into()),
        stamp: None,
    }
}

/// An engine that finds what it is told to find, in items that contain `MARK`.
pub(crate) struct Teachable {
    known: Mutex<(String, Verdict)>,
    /// What is found where the former does not count.
    behind: Mutex<Verdict>,
    scans: AtomicUsize,
}

// === impl Teachable ===

impl Teachable {
    /// Signatures `1`, which find nothing.
    pub(crate) fn new() -> Self {
        let known = Mutex::new(("1".to_owned(), Verdict::Clean));
        Self { known, behind: Mutex::new(Verdict::Clean), scans: AtomicUsize::new(0) }
    }

    pub(crate) fn learn(&self, signatures: &str, verdict_on_mark: Verdict) {
        *self.known.lock().unwrap() = (signatures.to_owned(), verdict_on_mark);
    }

    pub(crate) fn learn_behind(&self, verdict: Verdict) {
        *self.behind.lock().unwrap() = verdict;
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::new(self.identity(), POLICY_VERSION)
    }

    /// As a scanner of this process seals it for a clean body.
    pub(crate) fn sealed(stamp: &Stamp, body: &Body) -> Stamp {
        let content = match body {
            Body::Memory(octets) => *blake3::hash(octets).as_bytes(),
            Body::File(file) => *file.hash(),
        };
        SealKey::default().seal(&content, None, stamp)
    }

    pub(crate) fn scans(&self) -> usize {
        self.scans.load(Ordering::SeqCst)
    }
}

impl Engine for Teachable {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("teachable", &self.known.lock().unwrap().0).unwrap()
    }

    fn scan(&self, item: &[u8], _deadline: Instant) -> Verdict {
        self.scans.fetch_add(1, Ordering::SeqCst);
        let (_, verdict) = self.known.lock().unwrap().clone();
        if item.windows(4).any(|word| word == b"MARK") { verdict } else { Verdict::Clean }
    }

    fn scan_for_others(&self, item: &[u8], deadline: Instant, forgiven: &dyn Fn(&str) -> bool) -> Verdict {
        let counts = |verdict: &Verdict| verdict.finding().is_none_or(|finding| !forgiven(&finding));
        let behind = self.behind.lock().unwrap().clone();
        match self.scan(item, deadline) {
            verdict if counts(&verdict) => verdict,
            _ if counts(&behind) => behind,
            _ => Verdict::Clean,
        }
    }
}
