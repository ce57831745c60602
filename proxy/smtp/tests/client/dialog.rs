//! A driver on virtual time, and a server that says what the test tells it to.

use std::time::{Duration, Instant};

use gatepost_smtp::client::scram::{Challenge, Means, Proof};
use gatepost_smtp::client::{
    Config, Content, Failure, Introduction, Login, Mail, Outcome, Output, Patience, Protocol, Session,
    StartTls,
};
use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::params::{BodyKind, MailParams, RcptParams};

/// One session and its driver.
pub(crate) struct Dialog {
    session: Option<Session>,
    now: Instant,
    /// What was said since `says` was asked last.
    unheard: String,
    body: Vec<u8>,
    part_max: usize,
    is_ready: bool,
    is_upgrading: bool,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) outcomes: Option<Vec<Outcome>>,
    pub(crate) ending: Option<Result<(), Failure>>,
    /// To commands that were handed on.
    replies: Vec<String>,
}

pub(crate) fn config() -> Config {
    Config {
        name: "us.example".parse().unwrap(),
        protocol: Protocol::Smtp,
        starttls: StartTls::IfOffered,
        login: None,
        patience: Patience::default(),
    }
}

pub(crate) fn login() -> Login {
    Login::new("user".to_owned(), Secret::new(PASSWORD.as_bytes().to_vec())).unwrap()
}

/// From `a@us.example` to these recipients.
pub(crate) fn mail(recipients: &[&str], body: &[u8]) -> Mail {
    let recipients = recipients
        .iter()
        .map(|text| {
            let (path, params) = text.split_once(' ').unwrap_or((text, ""));
            let params = if params.is_empty() { String::new() } else { format!(" {params}") };
            let path = format!("<{path}>").parse().unwrap();
            Recipient { path, params: RcptParams::parse(&params).unwrap() }
        })
        .collect();
    let reverse_path = "<a@us.example>".parse().unwrap();
    Mail {
        envelope: Envelope { reverse_path, params: MailParams::default(), recipients },
        content: Content { octets: body.len() as u64, kind: BodyKind::SevenBit, has_utf8_header: false },
    }
}

// === impl Dialog ===

impl Dialog {
    pub(crate) fn new(config: Config) -> Self {
        let now = Instant::now();
        Self::of(Session::new(config, now), now)
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::new(config)
    }

    /// It speaks for somebody.
    pub(crate) fn introducing(config: Config, introduction: Introduction) -> Self {
        let now = Instant::now();
        Self::of(Session::new(config, now).introducing(introduction), now)
    }

    /// TLS came first.
    pub(crate) fn secured(config: Config) -> Self {
        let now = Instant::now();
        Self::of(Session::new_secured(config, now), now)
    }

    /// Ready for a mail with a server that offers these.
    pub(crate) fn offered(keywords: &[&str]) -> Self {
        Self::new(config()).greeted(keywords)
    }

    pub(crate) fn greeted(self, keywords: &[&str]) -> Self {
        let mut lines = vec!["mx.example".to_owned()];
        lines.extend(keywords.iter().map(|&keyword| keyword.to_owned()));
        let last = lines.pop().unwrap();
        let reply: String = lines.iter().map(|line| format!("250-{line}\n")).collect();
        let mut greeted = self.hears("220 mx.example").hears(&format!("{reply}250 {last}"));
        greeted.unheard.clear();
        assert!(greeted.is_ready);
        greeted
    }

    fn of(session: Session, now: Instant) -> Self {
        let mut dialog = Self {
            session: Some(session),
            now,
            unheard: String::new(),
            body: Vec::new(),
            part_max: usize::MAX,
            is_ready: false,
            is_upgrading: false,
            challenge: None,
            outcomes: None,
            ending: None,
            replies: Vec::new(),
        };
        dialog.drain();
        dialog
    }

    /// Parts of the body have so many octets at most.
    pub(crate) fn in_parts_of(mut self, octets: usize) -> Self {
        self.part_max = octets;
        self
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    /// The server says this; a line break is CRLF, and one is added.
    pub(crate) fn hears(self, reply: &str) -> Self {
        let octets = format!("{}\r\n", reply.replace('\n', "\r\n"));
        self.receives(octets.as_bytes())
    }

    pub(crate) fn receives(mut self, octets: &[u8]) -> Self {
        let now = self.now;
        self.session().feed(now, octets);
        self.drain();
        self
    }

    /// Somebody hands something on; what it writes is said.
    pub(crate) fn hands_on<E: std::fmt::Debug>(
        mut self,
        step: impl FnOnce(&mut Session, Instant, &mut Vec<u8>) -> Result<(), E>,
    ) -> Self {
        let (now, mut out) = (self.now, Vec::new());
        step(self.session(), now, &mut out).unwrap();
        self.unheard.push_str(std::str::from_utf8(&out).unwrap());
        self.drain();
        self
    }

    /// The replies that were told since the last time.
    #[track_caller]
    pub(crate) fn tells(mut self, expected: &[&str]) -> Self {
        assert_eq!(std::mem::take(&mut self.replies), expected, "{:?}", self.ending);
        self
    }

    /// All that was said since the last time, CRLF as a line break.
    #[track_caller]
    pub(crate) fn says(mut self, expected: &str) -> Self {
        let said = std::mem::take(&mut self.unheard);
        assert_eq!(said.replace("\r\n", "\n"), format!("{expected}\n"), "{:?}", self.ending);
        self
    }

    #[track_caller]
    pub(crate) fn says_nothing(self) -> Self {
        assert_eq!(self.unheard, "");
        self
    }

    pub(crate) fn said(&mut self) -> String {
        std::mem::take(&mut self.unheard)
    }

    pub(crate) fn sends(mut self, mail: Mail, body: &[u8]) -> Self {
        assert!(self.is_ready, "{:?}", self.ending);
        (self.is_ready, self.body, self.outcomes) = (false, body.to_vec(), None);
        let now = self.now;
        self.session().begin(now, mail).unwrap();
        self.drain();
        self
    }

    pub(crate) fn verifies(mut self, address: &str) -> Self {
        let now = self.now;
        self.session().verify(now, format!("<{address}>").parse().unwrap()).unwrap();
        (self.is_ready, self.outcomes) = (false, None);
        self.drain();
        self
    }

    pub(crate) fn quits(mut self) -> Self {
        let now = self.now;
        self.session().quit(now).unwrap();
        self.drain();
        self
    }

    pub(crate) fn cut(mut self) -> Self {
        let now = self.now;
        self.session().eof(now);
        self.drain();
        self
    }

    pub(crate) fn waits(mut self, time: Duration) -> Self {
        self.now += time;
        let now = self.now;
        self.session().tick(now);
        self.drain();
        self
    }

    /// TLS came first, and SCRAM can be done.
    pub(crate) fn secured_with(config: Config, means: Means) -> Self {
        let now = Instant::now();
        Self::of(Session::new_secured(config, now).with_scram(means), now)
    }

    /// The proof that was asked for.
    #[track_caller]
    pub(crate) fn proves(mut self, proof: &Proof) -> Self {
        assert!(self.challenge.take().is_some(), "{:?}", self.ending);
        let now = self.now;
        self.session().proved(now, proof);
        self.drain();
        self
    }

    /// The handshake that was asked for succeeds.
    pub(crate) fn secures(mut self) -> Self {
        assert!(std::mem::take(&mut self.is_upgrading), "{:?}", self.ending);
        let secured = self.session.take().unwrap().into_secured(self.now);
        self.session = Some(secured);
        self.drain();
        self
    }

    #[track_caller]
    pub(crate) fn gets_ready(self) -> Self {
        assert!(self.is_ready, "{:?}", self.ending);
        self
    }

    /// One word and the text an outcome.
    #[track_caller]
    pub(crate) fn comes_to(self, expected: &[&str]) -> Self {
        let outcomes = self.outcomes.as_ref().unwrap();
        assert_eq!(outcomes.iter().map(shown).collect::<Vec<_>>(), expected);
        self
    }

    #[track_caller]
    pub(crate) fn ends(self, expected: &str) -> Self {
        let ending = self.ending.as_ref().expect("an end");
        let shown = ending.as_ref().map_or_else(ToString::to_string, |()| "quit".to_owned());
        assert_eq!(shown, expected);
        self
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    fn drain(&mut self) {
        loop {
            let session = self.session.as_mut().unwrap();
            let Some(output) = session.poll() else { return };
            assert!(self.ending.is_none(), "nothing behind the end: {output:?}");
            match output {
                Output::Send(octets) => self.unheard.push_str(std::str::from_utf8(&octets).unwrap()),
                Output::Upgrade => self.is_upgrading = true,
                Output::Prove(challenge) => {
                    assert!(self.challenge.replace(challenge).is_none(), "asked once");
                }
                Output::Ready => self.is_ready = true,
                Output::NeedBody { octets_max } => {
                    let octets_max = usize::try_from(octets_max).unwrap();
                    let part = octets_max.min(self.part_max).min(self.body.len());
                    let part: Vec<_> = self.body.drain(..part).collect();
                    session.body(self.now, &part);
                }
                Output::Replied(reply) => self.replies.push(reply.to_string()),
                Output::Done(outcomes) => assert!(self.outcomes.replace(outcomes).is_none(), "done once"),
                Output::Close(ending) => self.ending = Some(ending),
            }
        }
    }
}

pub(crate) fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(reply) => format!("accepted {reply}"),
        Outcome::Temporary(reply) => format!("temporary {reply}"),
        Outcome::Permanent(reply) => format!("permanent {reply}"),
        Outcome::Unsuited(unsuited) => format!("unsuited {unsuited}"),
        Outcome::Lost(failure) => format!("lost {failure}"),
    }
}

pub(crate) const PASSWORD: &str = "open sesame";
