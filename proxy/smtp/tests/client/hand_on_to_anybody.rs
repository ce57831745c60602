//! Commands of somebody else's, handed on to servers that say anything at all at any time.

use std::time::Instant;

use gatepost_smtp::client::{Output, Session};
use gatepost_smtp::server::{Extension, Mechanism};
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::extension::{Exch50, LinkState};
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::verb::Verb;
use proptest::prelude::*;
use proptest::sample::select;

use crate::dialog::config;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Mail,
    Rcpt,
    Data,
    Body(&'static [u8]),
    End,
    Chunk(bool),
    Reset,
    Auth,
    Response,
    Cancel,
    Blob,
    LinkState,
    BlobOctets(usize),
    /// The server says this.
    Said(Vec<u8>),
    Gone,
}

/// What was handed on, and what was told of it.
#[derive(Default)]
struct Ledger {
    asked: usize,
    told: usize,
    is_over: bool,
}

fn session(now: Instant) -> Session {
    let mut session = Session::new(config(), now);
    session.feed(now, b"220 mx.example\r\n");
    session.feed(
        now,
        b"250-mx.example\r\n250-AUTH LOGIN\r\n250-XEXCH50\r\n250-X-LINK2STATE\r\n250 CHUNKING\r\n",
    );
    while session.poll().is_some() {}
    session
}

fn replies() -> impl Strategy<Value = Vec<u8>> {
    let reply = select(vec![
        "250 2.0.0 ok\r\n",
        "250-more\r\n250 ok\r\n",
        "354 go on\r\n",
        "334 eA==\r\n",
        "235 2.7.0 in\r\n",
        "450 4.2.1 later\r\n",
        "550 5.7.1 never\r\n",
        "421 4.3.2 closing\r\n",
        "250-half",
        "250 ok\n",
        "nonsense\r\n",
        "\r\n",
    ]);
    prop_oneof![
        6 => reply.clone().prop_map(|reply| reply.as_bytes().to_vec()),
        1 => (reply.clone(), reply).prop_map(|(one, other)| [one, other].concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Mail),
        2 => Just(Step::Rcpt),
        2 => Just(Step::Data),
        1 => select(vec![b"line\r\n".as_slice(), b".\r\n", b"half", b"\r", b"bare\n"]).prop_map(Step::Body),
        2 => Just(Step::End),
        1 => any::<bool>().prop_map(Step::Chunk),
        1 => Just(Step::Reset),
        1 => Just(Step::Auth),
        1 => Just(Step::Response),
        1 => Just(Step::Cancel),
        1 => Just(Step::Blob),
        1 => Just(Step::LinkState),
        2 => (0..6_usize).prop_map(Step::BlobOctets),
        12 => replies().prop_map(Step::Said),
        1 => Just(Step::Gone),
    ];
    prop::collection::vec(step, 1..60)
}

// === impl Ledger ===

impl Ledger {
    fn asked<E>(&mut self, handed_on: &Result<(), E>) {
        if handed_on.is_ok() {
            assert!(!self.is_over, "nothing is handed on to a server that is gone");
            self.asked += 1;
        }
    }

    fn settle(&mut self, session: &mut Session) {
        while let Some(output) = session.poll() {
            assert!(!self.is_over, "nothing comes behind the end: {output:?}");
            match output {
                Output::Replied(reply) => {
                    self.told += 1;
                    assert!(self.told <= self.asked, "{reply} answers nothing");
                    assert_ne!(reply.code(), 421);
                }
                Output::Close(_) => self.is_over = true,
                Output::Send(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_reply_answers_what_was_not_asked_and_nothing_comes_behind_the_end(steps in steps(), cut in 1..30_usize) {
        let now = Instant::now();
        let (mut session, mut ledger, mut out) = (session(now), Ledger::default(), Vec::new());
        let exch50 = Extension::Exch50(Exch50 { octets: 5, kind: None });
        let state = Extension::LinkState(LinkState::parse(" FIRST CHUNK=x").unwrap());
        let (path, recipient) = (ReversePath::Null, ForwardPath::Postmaster);
        for step in steps {
            match step {
                Step::Mail => ledger.asked(&session.hand_on_mail(now, &path, &MailParams::default(), &mut out)),
                Step::Rcpt => ledger.asked(&session.hand_on_rcpt(now, &recipient, &RcptParams::default(), &mut out)),
                Step::Data => ledger.asked(&session.hand_on_data(now, &mut out)),
                Step::Body(octets) => session.hand_on_body(octets, &mut out),
                Step::End => ledger.asked(&session.hand_on_end(now, &mut out)),
                Step::Chunk(is_last) => {
                    let handed_on = session.hand_on_chunk(now, b"x", is_last, &mut out);
                    if is_last {
                        ledger.asked(&handed_on);
                    }
                }
                Step::Reset => ledger.asked(&session.hand_on_reset(now, &mut out)),
                Step::Auth => {
                    ledger.asked(&session.hand_on_auth(now, Verb::Auth, Mechanism::Login, None, &mut out));
                }
                Step::Response => {
                    ledger.asked(&session.hand_on_response(now, &Secret::new(b"x".to_vec()), &mut out));
                }
                Step::Cancel => ledger.asked(&session.hand_on_cancel(now, &mut out)),
                // The reply to a blob is a second one.
                Step::Blob => {
                    let handed_on = session.hand_on_extension(now, &exch50, &mut out);
                    ledger.asked += usize::from(handed_on.is_ok());
                    ledger.asked(&handed_on);
                }
                Step::LinkState => ledger.asked(&session.hand_on_extension(now, &state, &mut out)),
                Step::BlobOctets(count) => session.hand_on_blob(now, &b"\r\n.\r\n"[..count.min(5)], &mut out),
                Step::Said(octets) => octets.chunks(cut).for_each(|piece| session.feed(now, piece)),
                Step::Gone => session.eof(now),
            }
            ledger.settle(&mut session);
        }
    }
}
