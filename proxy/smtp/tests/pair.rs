//! The two machines as a pair, as a session is passed through: a client before one, a server behind the other. Whatever the
//! client sends, however it is cut, it hears what that server would have said to it, and the server has the same mails.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use gatepost_smtp::client::{self, Capabilities, Patience, Protocol, StartTls};
use gatepost_smtp::server::{Answer, Config, Limits, Output, PeerFacts, Question, Refusal, Session, Ticket};
use gatepost_smtp::wire::params::BodyKind;
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};
use proptest::prelude::*;
use proptest::sample::select;

/// A server that takes everything that is legal, and keeps it.
struct Behind {
    session: Session,
    now: Instant,
    body: Vec<u8>,
    said: Vec<u8>,
    stored: Vec<Vec<u8>>,
}

/// A server that keeps nothing, and has one behind it.
struct Front {
    session: Session,
    link: client::Session,
    behind: Behind,
    now: Instant,
    /// Written to the server behind, and not sent yet.
    out: Vec<u8>,
    body: Vec<u8>,
    goes_in_chunks: bool,
    replies: VecDeque<ServerReply>,
    said: Vec<u8>,
    /// How many octets a read gives, of both connections.
    cut: usize,
}

fn config(asks_in_groups: bool) -> Config {
    let limits = Limits { message_octets: 4_000, errors: 1_000, ..Limits::default() };
    Config { binarymime: true, asks_in_groups, limits, ..Config::default() }
}

fn open(asks_in_groups: bool, now: Instant) -> Session {
    let facts = PeerFacts::anonymous("192.0.2.1:4711".parse().unwrap(), None);
    Session::open(Arc::new(config(asks_in_groups)), facts, now)
}

// === impl Behind ===

impl Behind {
    fn new(now: Instant) -> Self {
        let mut behind =
            Self { session: open(false, now), now, body: Vec::new(), said: Vec::new(), stored: Vec::new() };
        behind.drain();
        behind
    }

    fn hear(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let taken = self.session.feed(self.now, rest, &mut self.body);
            rest = &rest[taken..];
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(octets) => self.said.extend(octets),
                Output::Ask(ticket, question) => {
                    let answer = match question {
                        Question::Abort => {
                            self.body.clear();
                            continue;
                        }
                        Question::Commit => {
                            self.stored.push(std::mem::take(&mut self.body));
                            Answer::Stored { queue_id: "01Q".to_owned() }
                        }
                        _ => Answer::Accepted,
                    };
                    self.session.answer(self.now, ticket, answer);
                }
                _ => {}
            }
        }
    }
}

// === impl Front ===

impl Front {
    fn new(cut: usize) -> Self {
        let now = Instant::now();
        let config = client::Config {
            name: "front.example".parse().unwrap(),
            protocol: Protocol::Smtp,
            starttls: StartTls::Never,
            login: None,
            patience: Patience::default(),
        };
        let mut front = Self {
            session: open(true, now),
            link: client::Session::new(config, now),
            behind: Behind::new(now),
            now,
            out: Vec::new(),
            body: Vec::new(),
            goes_in_chunks: false,
            replies: VecDeque::new(),
            said: Vec::new(),
            cut,
        };
        front.exchange();
        let offered: Capabilities = *front.link.capabilities();
        front.session = front.session.before(offered);
        front
    }

    fn hear(&mut self, octets: &[u8]) {
        for piece in octets.chunks(self.cut) {
            let mut rest = piece;
            while !rest.is_empty() {
                let mut body = std::mem::take(&mut self.body);
                let taken = self.session.feed(self.now, rest, &mut body);
                rest = &rest[taken..];
                self.put(&body);
                self.drain();
            }
        }
    }

    fn put(&mut self, body: &[u8]) {
        if body.is_empty() {
            return;
        }
        if self.goes_in_chunks {
            self.link.hand_on_chunk(self.now, body, false, &mut self.out).unwrap();
        } else {
            self.link.hand_on_body(body, &mut self.out);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(octets) => self.said.extend(octets),
                Output::Ask(ticket, question) => self.pass(ticket, question),
                _ => {}
            }
        }
    }

    fn pass(&mut self, ticket: Ticket, question: Question) {
        let mut group = vec![(ticket, self.ask(question))];
        while let Some((ticket, question)) = self.session.poll_recipient() {
            group.push((ticket, self.ask(question)));
        }
        for (ticket, is_asked) in group {
            if is_asked {
                let said = self.reply();
                let is_ready = said.class() == ReplyClass::Intermediate;
                let answer = if is_ready { Answer::Accepted } else { Answer::Said(said) };
                self.session.answer(self.now, ticket, answer);
            } else if self.goes_in_chunks {
                self.session.answer(self.now, ticket, Answer::Accepted);
            }
        }
    }

    /// Answers whether a reply will come.
    fn ask(&mut self, question: Question) -> bool {
        let (now, out) = (self.now, &mut self.out);
        match question {
            Question::Mail { reverse_path, params } => {
                if self.link.is_in_transaction() {
                    self.link.hand_on_reset(now, out).unwrap();
                    assert_eq!(self.reply().code(), 250);
                }
                self.link.hand_on_mail(now, &reverse_path, &params, &mut self.out).unwrap();
            }
            Question::Recipient { path, params } => {
                self.link.hand_on_rcpt(now, &path, &params, out).unwrap();
            }
            Question::Body { envelope } => {
                self.goes_in_chunks = envelope.params.body == BodyKind::BinaryMime;
                if self.goes_in_chunks {
                    return false;
                }
                self.link.hand_on_data(now, out).unwrap();
            }
            Question::Commit if self.goes_in_chunks => {
                self.link.hand_on_chunk(now, &[], true, out).unwrap();
                self.goes_in_chunks = false;
            }
            Question::Commit => self.link.hand_on_end(now, out).unwrap(),
            Question::Abort => {
                self.abort();
                return false;
            }
            other => panic!("{other:?} with {:?}", Refusal::NotImplemented),
        }
        true
    }

    /// In the middle of a body the connection behind is closed, and there is another one.
    fn abort(&mut self) {
        self.goes_in_chunks = false;
        if !self.link.is_resting() {
            let stored = std::mem::take(&mut self.behind.stored);
            let fresh = Self::new(self.cut);
            (self.link, self.behind) = (fresh.link, fresh.behind);
            self.behind.stored = stored;
            self.out.clear();
        }
    }

    fn reply(&mut self) -> ServerReply {
        self.exchange();
        self.replies.pop_front().expect("the server behind answers each command")
    }

    fn exchange(&mut self) {
        loop {
            while let Some(output) = self.link.poll() {
                match output {
                    client::Output::Send(octets) => self.out.extend(octets),
                    client::Output::Replied(reply) => self.replies.push_back(reply),
                    client::Output::Ready => {}
                    other => panic!("out of step: {other:?}"),
                }
            }
            let out = std::mem::take(&mut self.out);
            for piece in out.chunks(self.cut) {
                self.behind.hear(piece);
            }
            let said = std::mem::take(&mut self.behind.said);
            if said.is_empty() {
                return;
            }
            for piece in said.chunks(self.cut) {
                self.link.feed(self.now, piece);
            }
        }
    }
}

/// The codes of all replies.
fn codes(said: &[u8]) -> Vec<String> {
    let lines = String::from_utf8(said.to_vec()).unwrap();
    let is_last = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
    lines.lines().filter(is_last).map(|line| line.get(..3).unwrap().to_owned()).collect()
}

/// What clients say, and what they should not: each in one write of its own, or in one with those behind it.
fn dialogs() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = select(vec![
        "EHLO client.example\r\n",
        "HELO client.example\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "MAIL FROM:<> BODY=8BITMIME SIZE=100\r\n",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n",
        "MAIL FROM:<a@b.example> RET=HDRS ENVID=x\r\n",
        "MAIL FROM:<a@b.example> SIZE=999999\r\n",
        "MAIL FROM: <a@b.example>\r\n",
        "RCPT TO:<c@d.example>\r\n",
        "RCPT TO:<c@d.example> NOTIFY=NEVER\r\n",
        "RCPT TO:<e@f.example>\r\nRCPT TO:<g@h.example>\r\n",
        "RCPT TO:c@d.example\r\n",
        "DATA\r\n",
        "BDAT 3\r\na\r\n",
        "BDAT 5 LAST\r\n.\r\nb\n",
        "BDAT 7 LAST\r\n\r\n.\r\n\r\n",
        "BDAT 0 LAST\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "VRFY x\r\n",
        "XEXCH50 2 2\r\n",
        "text\r\n..dots\r\n.\r\n",
        "bare\nline feed\r\n.\r\n",
        ".\r\n",
        "\r\n",
    ]);
    let whole = select(vec![
        "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
        "RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<bad\r\nBDAT 4 LAST\r\nab\r\n",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\nBDAT 4\r\n\0\r\n.BDAT 1 LAST\r\n\n",
    ]);
    let write = prop_oneof![4 => line.clone().prop_map(str::to_owned), 1 => whole.prop_map(str::to_owned),
        2 => prop::collection::vec(line, 1..5).prop_map(|lines| lines.concat())];
    prop::collection::vec(write.prop_map(String::into_bytes), 1..20)
}

proptest! {
    #[test]
    fn whatever_a_client_sends_it_hears_what_the_server_behind_would_have_said(
        dialog in dialogs(),
        cut in prop_oneof![Just(1_usize), 2..40_usize, Just(usize::MAX)],
    ) {
        let mut front = Front::new(cut);
        let mut direct = Behind::new(Instant::now());
        front.hear(b"EHLO client.example\r\n");
        front.drain();
        direct.hear(b"EHLO client.example\r\n");
        for write in &dialog {
            front.hear(write);
            for piece in write.chunks(cut) {
                direct.hear(piece);
            }
        }
        prop_assert_eq!(codes(&front.said), codes(&direct.said));
        prop_assert_eq!(front.behind.stored, direct.stored);
    }
}

/// That the property above is about something: each of these mails goes through.
#[test]
fn mails_of_all_ways_go_through_one_behind_the_other() {
    for cut in [1, 7, usize::MAX] {
        let mut front = Front::new(cut);
        front.hear(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
        front.hear(
            b"one\r\n..two\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 3\r\n.\r\nBDAT 1 LAST\r\nx",
        );
        front.hear(b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\nBDAT 2 LAST\r\n\0\rQUIT\r\n");
        let expected: [&[u8]; 3] = [b"one\r\n.two\r\n", b".\r\nx\r\n", b"\0\r"];
        assert_eq!(front.behind.stored, expected);
        let heard = codes(&front.said);
        let expected = [
            "220", "250", "250", "250", "354", "250", "250", "250", "250", "250", "250", "250", "250", "221",
        ];
        assert_eq!(heard, expected, "cut {cut}");
    }
}
