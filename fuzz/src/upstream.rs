//! A session that is passed through to a server of which only the octets are known.

use std::collections::VecDeque;
use std::time::Instant;

use crate::input::{Cuts, Input};
use crate::pair::model::{Front, Setup};
use crate::reply;

/// The client hears one reply for each of his commands, well-formed, and of a mail that it was taken only where the server has
/// said so behind its end; the server hears what it was asked and nothing else; and any split of the same octets gives the
/// same session. 0xFF, which no text has, stands for waiting: what follows is not sent in one read with what stands before.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (choice, offer, cuts) = (input.octet(), input.octet(), input.cuts());
    let stream = input.rest();
    let play = |cuts: Cuts| {
        let mut client = Client::new(Front::new(Setup::of(choice), hello(offer).as_bytes(), Instant::now()));
        client.goes_on();
        for group in stream.split(|octet| *octet == 0xff) {
            cuts.pieces(group).into_iter().for_each(|piece| client.front.hear_behind(piece));
            client.goes_on();
        }
        client.ends();
        client.front
    };
    let fronts = [play(Cuts::WHOLE), play(cuts), play(Cuts::OCTETS)];
    fronts.iter().for_each(Front::check_records);
    // What is said unasked, too early, or with junk behind it ends the session at once only where it comes at once.
    if !fronts.iter().any(Front::was_offended) {
        let [whole, cut, octets] = &fronts;
        assert_eq!(whole.said(), cut.said(), "{}", whole.said().escape_ascii());
        assert_eq!(whole.said(), octets.said(), "{}", whole.said().escape_ascii());
    }
}

/// Says one thing after the other, each when the one before it was answered.
struct Client {
    front: Front,
    steps: VecDeque<Step>,
    /// What follows a 354.
    body: &'static [&'static [u8]],
    /// Replies that were to come by now.
    due: usize,
}

/// A write.
#[derive(Clone, Copy)]
struct Step {
    octets: &'static [u8],
    /// Replies that it has, but for those to a body behind 354.
    replies: usize,
    body: &'static [&'static [u8]],
}

// === impl Client ===

impl Client {
    fn new(front: Front) -> Self {
        Self { front, steps: STEPS.into(), body: &[], due: 1 }
    }

    /// Until something is awaited of the server behind.
    fn goes_on(&mut self) {
        while self.front.is_quiet() && self.front.closed().is_none() {
            let replies = reply::split(self.front.said());
            assert_eq!(replies.len(), self.due, "a reply for each command: {replies:?}");
            match replies.last().expect("a greeting").0 {
                334 => self.says(b"eA==\r\n", 1),
                354 => {
                    let (last, parts) = self.body.split_last().expect("354 is said to what has a body");
                    parts.iter().for_each(|part| self.front.hear(part));
                    self.says(last, 1);
                }
                _ => {
                    let Some(step) = self.steps.pop_front() else { return };
                    self.body = step.body;
                    self.says(step.octets, step.replies);
                }
            }
        }
    }

    /// The server behind is gone for good, and says nothing to whatever else comes.
    fn ends(&mut self) {
        while !self.front.is_quiet() {
            self.front.lose_behind();
            self.goes_on();
        }
        assert!(self.steps.is_empty() && self.front.closed().is_some(), "it went on until QUIT");
        assert_eq!(reply::split(self.front.said()).len(), self.due);
        let is_short = |line: &str| line.len() <= LINE_OCTETS;
        assert!(String::from_utf8_lossy(self.front.said()).lines().all(is_short), "lines are bounded");
    }

    fn says(&mut self, octets: &[u8], replies: usize) {
        self.due += replies;
        self.front.hear(octets);
    }
}

/// From the greeting to the reply to EHLO, each bit one extension.
fn hello(offer: u8) -> String {
    let offered = OFFERS.iter().enumerate().filter(|(bit, _)| offer & (1 << bit) != 0);
    let lines: String = offered.map(|(_, line)| format!("250-{line}\r\n")).collect();
    format!("220 mx.example\r\n250-mx.example\r\n{lines}250 ENHANCEDSTATUSCODES\r\n")
}

const OFFERS: [&str; 8] = [
    "PIPELINING",
    "AUTH PLAIN LOGIN",
    "X-EXPS LOGIN",
    "XEXCH50",
    "X-LINK2STATE",
    "CHUNKING\r\n250-BINARYMIME",
    "DSN\r\n250-8BITMIME",
    "SIZE 100",
];

const fn step(octets: &'static [u8], replies: usize) -> Step {
    Step { octets, replies, body: &[] }
}

const STEPS: [Step; 17] = [
    step(b"EHLO client.example\r\n", 1),
    step(b"X-LINK2STATE FIRST CHUNK=a\r\n", 1),
    step(b"X-LINK2STATE NEXT CHUNK=b\r\n", 1),
    step(b"AUTH LOGIN\r\n", 1),
    step(b"MAIL FROM:<a@b.example> SIZE=50\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\n", 3),
    Step { octets: b"XEXCH50 3 2\r\n", replies: 1, body: &[b"\r", b"\n."] },
    Step { octets: b"DATA\r\n", replies: 1, body: &[b"Subject: x\r\n\r\n..", b"\r\nend", b"\r\n.\r\n"] },
    step(b"NOOP\r\n", 1),
    step(b"MAIL FROM:<> BODY=BINARYMIME\r\n", 1),
    step(b"RCPT TO:<c@d.example> NOTIFY=NEVER\r\n", 1),
    step(b"BDAT 3\r\na\n\0", 1),
    step(b"BDAT 2 LAST\r\n.\r", 1),
    step(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n", 2),
    step(b"RSET\r\n", 1),
    step(b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n", 2),
    step(b"BDAT 3 LAST\r\nabc", 1),
    step(b"QUIT\r\n", 1),
];

/// RFC 5321 section 4.5.3.1.5, without its CRLF.
const LINE_OCTETS: usize = 510;
