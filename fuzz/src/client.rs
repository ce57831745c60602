//! The client machine against servers that say anything at all.

use std::time::Instant;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost_smtp::client::scram::{Exporter, ITERATIONS_MAX, ITERATIONS_MIN, Means, Proof};
use gatepost_smtp::client::{
    Config, Content, Failure, Login, Mail, Outcome, Output, Patience, Protocol, Session, Stage, StartTls,
};
use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::params::{BodyKind, MailParams, RcptParams};
use gatepost_smtp::wire::reply_parse::REPLY_OCTETS;

use crate::input::{Cuts, Input};

/// A server of which only the octets are known. 0xFF, which no text has, stands for waiting: what follows is not sent in one
/// read with what stands before. Every mail has its outcomes once, a recipient is only delivered behind the whole body,
/// what is said is SMTP, a password is said inside TLS alone, and behind SCRAM no mail goes to a server without its proof; and any split of the same octets gives the same session.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (choice, cuts) = (input.octet(), input.cuts());
    let stream = input.rest();
    let play = |cuts: Cuts| {
        let mut client = Client::open(choice);
        for group in stream.split(|octet| *octet == 0xff) {
            for piece in cuts.pieces(group) {
                client.hear(piece);
            }
        }
        client.cut();
        client
    };
    let (whole, cut, octets) = (play(Cuts::WHOLE), play(cuts), play(Cuts::OCTETS));
    // What is said unasked, too early, or with junk behind it ends the session at once only where it comes at once.
    if [&whole, &cut, &octets].iter().any(|client| client.was_offended()) {
        return;
    }
    for other in [&cut, &octets] {
        assert_eq!(whole.said, other.said, "{}", whole.said.escape_ascii());
        assert_eq!(whole.outcomes, other.outcomes);
        assert_eq!(whole.ending, other.ending);
    }
}

/// Sends mail after mail, and watches itself.
struct Client {
    session: Option<Session>,
    means: Means,
    now: Instant,
    mail: Mail,
    is_secured: bool,
    is_upgrading: bool,
    /// Where in the body the mail stands; `None`: between mails.
    sent: Option<usize>,
    begun: usize,
    /// From the first word to the last; what is said inside TLS begins anew.
    said: Vec<u8>,
    heard: Vec<u8>,
    /// Where the mail that is being sent begins in it.
    mail_at: usize,
    outcomes: Vec<Vec<Outcome>>,
    ending: Option<Result<(), Failure>>,
}

// === impl Client ===

impl Client {
    fn open(choice: u8) -> Self {
        let has = |bit: u8| choice & (1 << bit) != 0;
        let login = Login::new(USER.to_owned(), Secret::new(PASSWORD.as_bytes().to_vec())).unwrap();
        let config = Config {
            name: "us.example".parse().unwrap(),
            protocol: if has(0) { Protocol::Lmtp } else { Protocol::Smtp },
            starttls: [StartTls::Never, StartTls::IfOffered, StartTls::Required]
                [usize::from(choice >> 1) % 3],
            login: has(3).then_some(login),
            patience: Patience::default(),
        };
        let now = Instant::now();
        let is_secured = has(4);
        let session = if is_secured {
            Session::new_secured(config, now).with_scram(means(choice))
        } else {
            Session::new(config, now)
        };
        let mut client = Self {
            session: Some(session),
            means: means(choice),
            now,
            mail: mail(has(5), has(6), has(7)),
            is_secured,
            is_upgrading: false,
            sent: None,
            begun: 0,
            said: Vec::new(),
            heard: Vec::new(),
            mail_at: 0,
            outcomes: Vec::new(),
            ending: None,
        };
        client.drain();
        client
    }

    fn hear(&mut self, octets: &[u8]) {
        let now = self.now;
        self.heard.extend_from_slice(octets);
        self.session().feed(now, octets);
        self.drain();
        if self.is_upgrading && self.ending.is_none() {
            // The handshake comes when nothing else does.
            self.is_upgrading = false;
            self.is_secured = true;
            let session = self.session.take().unwrap().into_secured(now);
            assert_eq!(
                *session.capabilities(),
                Default::default(),
                "what was offered in plaintext is forgotten"
            );
            self.session = Some(session.with_scram(self.means.clone()));
            self.drain();
        }
    }

    fn cut(&mut self) {
        let now = self.now;
        self.session().eof(now);
        self.drain();
        assert!(self.ending.is_some() && self.session().deadline().is_none());
        assert_eq!(self.outcomes.len(), self.begun, "every mail has its outcomes");
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    fn drain(&mut self) {
        let mut octets_at_once = 0;
        loop {
            let now = self.now;
            let Some(output) = self.session().poll() else { break };
            assert!(self.ending.is_none(), "nothing behind the end: {output:?}");
            assert!(!self.is_upgrading, "nothing behind the upgrade: {output:?}");
            match output {
                Output::Send(octets) => {
                    octets_at_once += octets.len();
                    self.said.extend_from_slice(&octets);
                }
                Output::NeedBody { octets_max } => {
                    let sent = self.sent.unwrap();
                    let end = BODY.len().min(sent.saturating_add(usize::try_from(octets_max).unwrap()));
                    self.sent = Some(end);
                    self.session().body(now, &BODY[sent..end]);
                }
                Output::Upgrade => self.is_upgrading = true,
                Output::Prove(challenge) => {
                    let iterations = u64::from(challenge.iterations.get());
                    assert!((ITERATIONS_MIN..=u64::from(ITERATIONS_MAX)).contains(&iterations));
                    assert!(self.is_secured && !challenge.salt.is_empty());
                    self.session().proved(now, &Proof { client: [PROOF; 32], server: [SIGNATURE; 32] });
                }
                Output::Ready if self.begun < MAILS => {
                    self.check_proof();
                    assert_eq!(self.outcomes.len(), self.begun);
                    (self.sent, self.mail_at) = (Some(0), self.said.len());
                    self.begun += 1;
                    let mail = self.mail.clone();
                    self.session().begin(now, mail).unwrap();
                }
                Output::Ready => self.session().quit(now).unwrap(),
                Output::Replied(reply) => panic!("nothing was handed on: {reply}"),
                Output::Done(outcomes) => self.done(outcomes),
                Output::Close(ending) => self.ending = Some(ending),
            }
        }
        assert!(octets_at_once < OCTETS_AT_ONCE, "what waits to be written is bounded");
        self.check_words();
    }

    fn done(&mut self, outcomes: Vec<Outcome>) {
        assert_eq!(outcomes.len(), self.mail.envelope.recipients.len());
        let said = &self.said[self.mail_at..];
        let accepted = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Accepted(_)));
        let is_whole = said.ends_with(STUFFED) || said.ends_with(BODY);
        assert!(!accepted || (is_whole && self.sent == Some(BODY.len())), "{}", said.escape_ascii());
        for outcome in &outcomes {
            if let Outcome::Accepted(reply) | Outcome::Temporary(reply) | Outcome::Permanent(reply) = outcome
            {
                let octets: usize = reply.lines().iter().map(String::len).sum();
                assert!(octets <= REPLY_OCTETS);
                assert!(reply.to_string().bytes().all(|octet| matches!(octet, b' '..=b'~')));
            }
        }
        self.sent = None;
        self.outcomes.push(outcomes);
    }

    /// Whole lines, each a command of ours, a response of AUTH or a line of the body.
    fn check_words(&self) {
        let mut text = std::str::from_utf8(&self.said).expect("the mail is UTF-8");
        while let Some((line, rest)) = text.split_once("\r\n") {
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            let is_body = BODY_LINES.contains(&line);
            let is_proof = line.starts_with(CLIENT_FINAL);
            let is_ours = VERBS.contains(&verb) || RESPONSES.contains(&line) || is_body || is_proof;
            assert!(is_ours, "{line:?}");
            assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
            text = rest;
        }
        assert_eq!(text, "", "lines are whole");
        if !self.is_secured {
            for secret in [PASSWORD, "AUTH PLAIN", "AUTH LOGIN", "AUTH SCRAM", RESPONSES[1]] {
                let octets = secret.as_bytes();
                assert!(
                    !self.said.windows(octets.len()).any(|window| window == octets),
                    "{secret} in plaintext"
                );
            }
        }
    }

    /// Behind SCRAM a mail goes to a server that has shown the right signature. (The last of its octets may be written in
    /// several ways, since an extension may follow.)
    fn check_proof(&self) {
        let has = |octets: &[u8], part: &[u8]| octets.windows(part.len()).any(|window| window == part);
        let proof = BASE64_STANDARD.encode(format!("v={}", BASE64_STANDARD.encode([SIGNATURE; 32])));
        let is_shown = has(&self.heard, proof.as_bytes().get(..60).unwrap());
        assert!(is_shown || !has(&self.said, b"AUTH SCRAM"), "{}", self.heard.escape_ascii());
    }

    fn was_offended(&self) -> bool {
        matches!(
            self.ending,
            Some(Err(Failure::Unsolicited(_)
                | Failure::NoReply { .. }
                | Failure::Injected
                | Failure::Refused { stage: Stage::Body, .. }
                | Failure::ServiceClosing { .. }))
        )
    }
}

/// Some connections have what -PLUS needs.
fn means(choice: u8) -> Means {
    let exporter = (choice & 1 == 0).then_some(Exporter([3; 32]));
    Means { random: *b"fifteen letters", exporter }
}

fn mail(is_utf8: bool, is_eight_bit: bool, asks: bool) -> Mail {
    let recipient = |path: &str, params: &str| Recipient {
        path: path.parse().unwrap(),
        params: RcptParams::parse(params).unwrap(),
    };
    let mut recipients = vec![
        recipient("<b@mx.example>", if asks { " NOTIFY=FAILURE ORCPT=rfc822;o+2B@x" } else { "" }),
        recipient("<\"c d\"@mx.example>", ""),
    ];
    if is_utf8 {
        recipients.push(recipient("<\u{e4}@mx.example>", " ORCPT=utf-8;\u{e4}@x"));
    }
    let params = match (is_utf8, asks) {
        (false, false) => "",
        (true, false) => " SMTPUTF8",
        (false, true) => " RET=FULL ENVID=x AUTH=q@x REQUIRETLS",
        (true, true) => " SMTPUTF8 RET=HDRS ENVID=y",
    };
    let kind = if is_eight_bit { BodyKind::EightBitMime } else { BodyKind::SevenBit };
    Mail {
        envelope: Envelope {
            reverse_path: "<a@us.example>".parse().unwrap(),
            params: MailParams::parse(params).unwrap(),
            recipients,
        },
        content: Content { octets: BODY.len() as u64, kind, has_utf8_header: is_utf8 },
    }
}

const USER: &str = "user";
const PASSWORD: &str = "open sesame";
const RESPONSES: [&str; 2] = ["dXNlcg==", "b3BlbiBzZXNhbWU="];
/// `c=`, in base64.
const CLIENT_FINAL: &str = "Yz1";
const PROOF: u8 = 5;
const SIGNATURE: u8 = 9;
const BODY: &[u8] = b"Subject: x\r\n\r\n.dot\r\n";
const STUFFED: &[u8] = b"Subject: x\r\n\r\n..dot\r\n.\r\n";
const BODY_LINES: [&str; 5] = ["Subject: x", "", ".dot", "..dot", "."];
const VERBS: [&str; 11] =
    ["EHLO", "LHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT"];
const MAILS: usize = 4;
/// A group of commands and the body, with room to spare.
const OCTETS_AT_ONCE: usize = 4 * 1024;
