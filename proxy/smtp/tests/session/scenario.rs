//! A driver with a backend that answers at once, on virtual time: `Scenario::open().say("NOOP", "250 2.0.0")`.

mod answers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_smtp::client::Capabilities;
use gatepost_smtp::server::{
    Answer, AuthOffer, BodySink, ClassRights, CloseReason, Config, Mechanism, Notice, Output, PeerFacts,
    Question, Refusal, Session, Ticket, TlsFacts, TlsMode,
};
use gatepost_smtp::wire::token::Tokens;

/// Everything that left the machine, in order; replies that follow one another are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Sent(String),
    Asked(String),
    Noticed(Notice),
    Upgraded,
    Closed(CloseReason),
}

/// Where octets go.
#[derive(Default)]
pub(crate) struct Sink {
    octets: Vec<u8>,
    blob: Vec<u8>,
}

impl BodySink for Sink {
    fn put(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    fn put_blob(&mut self, octets: &[u8]) {
        self.blob.extend_from_slice(octets);
    }
}

/// One session and its driver.
pub(crate) struct Scenario {
    session: Option<Session>,
    now: Instant,
    body: Sink,
    pub(crate) extension: Answer,
    /// To EHLO where that is asked about, and to every step of a login where it is not `Accepted`.
    pub(crate) behind: Answer,
    pub(crate) login: Answer,
    holds_answers: bool,
    held: Vec<(Ticket, Answer)>,
    commit: Answer,
    unread: String,
    pub(crate) events: Vec<Event>,
    pub(crate) stored: Vec<Vec<u8>>,
    /// The most body octets that ever were in memory.
    pub(crate) body_peak: usize,
}

pub(crate) fn tls() -> TlsFacts {
    TlsFacts { version: "TLSv1.3".to_owned(), cipher: "TLS_AES_256_GCM_SHA384".to_owned() }
}

/// A listener without TLS and without AUTH.
pub(crate) fn config() -> Config {
    Config { hostname: "mx.example".to_owned(), ..Config::default() }
}

/// A listener with STARTTLS and every mechanism inside of TLS.
pub(crate) fn submission() -> Config {
    let inside_tls = Mechanism::OURS.to_vec();
    let auth = AuthOffer { inside_tls, outside_tls: Vec::new(), is_relayed: false };
    let rights = ClassRights::default().requiring_auth();
    Config { tls: TlsMode::StartTls, rights, auth, ..config() }
}

// === impl Scenario ===

impl Scenario {
    /// Opens a session on `config()` changed by `change`; the greeting is read.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::on(config)
    }

    pub(crate) fn open() -> Self {
        Self::on(config())
    }

    pub(crate) fn on(config: Config) -> Self {
        Self::start(config, None)
    }

    /// Opens a session whose peer began with TLS.
    pub(crate) fn inside_tls(config: Config) -> Self {
        Self::start(config, Some(tls()))
    }

    /// As above, in the version before.
    pub(crate) fn inside_tls_1_2(config: Config) -> Self {
        Self::start(config, Some(TlsFacts { version: "TLSv1.2".to_owned(), ..tls() }))
    }

    fn start(config: Config, tls: Option<TlsFacts>) -> Self {
        Self::from(config, PeerFacts::anonymous("192.0.2.1:4711".parse().unwrap(), tls))
    }

    /// Opens a session of this peer.
    pub(crate) fn from(config: Config, peer: PeerFacts) -> Self {
        let now = Instant::now();
        let mut scenario = Self {
            session: Some(Session::open(Arc::new(config), peer, now)),
            now,
            body: Sink::default(),
            extension: Answer::Accepted,
            behind: Answer::Accepted,
            login: Answer::Accepted,
            holds_answers: false,
            held: Vec::new(),
            commit: Answer::Stored { queue_id: "01Q".to_owned() },
            unread: String::new(),
            events: Vec::new(),
            stored: Vec::new(),
            body_peak: 0,
        };
        scenario.drain();
        assert_eq!(std::mem::take(&mut scenario.unread), "220 mx.example ESMTP Gatepost\r\n");
        scenario
    }

    /// Refusals by policy carry these from now on.
    pub(crate) fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.session = self.session.take().map(|session| session.with_tokens(tokens));
        self
    }

    /// The peer has shown a certificate that was verified.
    pub(crate) fn with_certificate(mut self) -> Self {
        self.session = self.session.take().map(Session::with_certificate);
        self
    }

    /// A server stands behind that has said this to EHLO when it was asked last.
    pub(crate) fn before(mut self, behind: Capabilities) -> Self {
        self.session = self.session.take().map(|session| session.before(behind));
        self
    }

    /// EHLO, and its reply is read.
    pub(crate) fn greeted(self) -> Self {
        self.say("EHLO client.example", "250-mx.example")
    }

    /// A transaction with one accepted recipient.
    pub(crate) fn ready_for_body(self) -> Self {
        self.greeted().say("MAIL FROM:<a@b.example>", "250 2.1.0").say("RCPT TO:<joe@x.example>", "250 2.1.5")
    }

    /// Commits are answered with this refusal from now on.
    pub(crate) fn refuse_commits(mut self, refusal: Refusal) -> Self {
        self.commit = Answer::Refused(refusal);
        self
    }

    /// Verbs between servers are answered with this refusal from now on.
    pub(crate) fn refuse_extensions(mut self, refusal: Refusal) -> Self {
        self.extension = Answer::Refused(refusal);
        self
    }

    /// Answers are kept back until `answer_held`.
    pub(crate) fn hold_answers(mut self) -> Self {
        self.holds_answers = true;
        self
    }

    pub(crate) fn answer_held(mut self) -> Self {
        self.holds_answers = false;
        for (ticket, answer) in std::mem::take(&mut self.held) {
            let now = self.now;
            self.session().answer(now, ticket, answer);
            self.drain();
        }
        self
    }

    /// Sends a line; the reply must begin with this and be the only one.
    #[track_caller]
    pub(crate) fn say(self, line: &str, reply: &str) -> Self {
        self.exchange(&format!("{line}\r\n"), reply)
    }

    /// Sends BDAT and its octets; the reply must begin with this and be the only one.
    #[track_caller]
    pub(crate) fn chunk(self, command: &str, octets: &str, reply: &str) -> Self {
        self.exchange(&format!("{command}\r\n{octets}"), reply)
    }

    #[track_caller]
    fn exchange(self, octets: &str, reply: &str) -> Self {
        let (scenario, heard) = self.send(octets.as_bytes()).heard();
        assert!(heard.starts_with(reply), "{octets:?} was answered with {heard:?}, not {reply:?}");
        let is_final = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
        assert_eq!(
            heard.lines().filter(is_final).count(),
            usize::from(!reply.is_empty()),
            "replies: {heard:?}"
        );
        scenario
    }

    /// Sends octets as they are.
    pub(crate) fn send(mut self, octets: &[u8]) -> Self {
        self.feed(octets);
        self
    }

    /// Everything heard since the last time must be exactly this, `|` standing for CRLF.
    #[track_caller]
    pub(crate) fn hears(self, replies: &str) -> Self {
        let (scenario, heard) = self.heard();
        assert_eq!(heard.replace("\r\n", "|"), replies);
        scenario
    }

    pub(crate) fn heard(mut self) -> (Self, String) {
        let heard = std::mem::take(&mut self.unread);
        (self, heard)
    }

    /// The codes of everything heard since the last time.
    pub(crate) fn codes(self) -> (Self, Vec<String>) {
        let (scenario, heard) = self.heard();
        let codes = heard
            .lines()
            .filter(|line| line.as_bytes().get(3) == Some(&b' '))
            .map(|line| line[..3].to_owned());
        (scenario, codes.collect())
    }

    #[track_caller]
    pub(crate) fn closed_by(self, reason: CloseReason) -> Self {
        assert_eq!(self.close_reason(), Some(reason), "{:#?}", self.events);
        self
    }

    #[track_caller]
    pub(crate) fn still_open(self) -> Self {
        assert_eq!(self.close_reason(), None);
        self
    }

    /// The handshake is done.
    pub(crate) fn secured(mut self) -> Self {
        assert_eq!(self.events.last(), Some(&Event::Upgraded));
        let session = self.session.take().unwrap();
        self.session = Some(session.into_secured(tls(), self.now));
        self.drain();
        self
    }

    /// Time passes, and the driver looks whether the deadline has passed.
    pub(crate) fn wait(mut self, time: Duration) -> Self {
        self.now += time;
        let now = self.now;
        if self.session().deadline() <= now {
            self.session().tick(now);
        }
        self.drain();
        self
    }

    /// The driver finds that a body comes too slowly.
    pub(crate) fn too_slow(mut self) -> Self {
        let now = self.now;
        self.session().too_slow(now);
        self.drain();
        self
    }

    pub(crate) fn eof(mut self) -> Self {
        let now = self.now;
        self.session().eof(now);
        self.drain();
        self
    }

    pub(crate) fn shutdown(mut self) -> Self {
        let now = self.now;
        self.session().shutdown(now);
        self.drain();
        self
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.session.as_ref().unwrap().deadline() - self.now
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        let reasons = self.events.iter().filter_map(|event| match event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        });
        let reasons: Vec<_> = reasons.collect();
        assert!(reasons.len() <= 1, "a session ends once");
        reasons.first().copied()
    }

    /// How often that was asked.
    pub(crate) fn asked(&self, question: &str) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, Event::Asked(asked) if asked.starts_with(question)))
            .count()
    }

    /// All that XEXCH50 brought.
    pub(crate) fn blob(&self) -> &[u8] {
        &self.body.blob
    }

    /// The evidence of every attack.
    pub(crate) fn attacks(&self) -> Vec<String> {
        let attacks = self.events.iter().filter_map(|event| match event {
            Event::Noticed(Notice::Attack { evidence, .. }) => Some(evidence.to_string()),
            _ => None,
        });
        attacks.collect()
    }

    pub(crate) fn rules(&self) -> Vec<&'static str> {
        let rules = self.events.iter().filter_map(|event| match event {
            Event::Noticed(Notice::Refused { rule, .. }) => Some(*rule),
            _ => None,
        });
        rules.collect()
    }

    /// What a driver does with a read: feed, drain, feed the rest; stops where an answer is held back or TLS begins.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        loop {
            let (now, mut body) = (self.now, std::mem::take(&mut self.body));
            let taken = self.session().feed(now, rest, &mut body);
            self.body = body;
            self.body_peak = self.body_peak.max(self.body.octets.len());
            rest = &rest[taken..];
            self.drain();
            if rest.is_empty() || self.session().is_waiting() {
                return;
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session().poll() {
            match output {
                Output::Send(octets) => self.sent(&String::from_utf8(octets).unwrap()),
                Output::Ask(ticket, question) => self.asked_for(ticket, question),
                Output::Upgrade => self.events.push(Event::Upgraded),
                Output::Notice(notice) => self.events.push(Event::Noticed(notice)),
                Output::Close(reason) => self.events.push(Event::Closed(reason)),
            }
        }
    }

    fn sent(&mut self, text: &str) {
        self.unread.push_str(text);
        match self.events.last_mut() {
            Some(Event::Sent(before)) => before.push_str(text),
            _ => self.events.push(Event::Sent(text.to_owned())),
        }
    }

    fn asked_for(&mut self, ticket: Ticket, question: Question) {
        self.events.push(Event::Asked(format!("{question:?}")));
        let Some(answer) = self.decide(question) else {
            return;
        };
        if self.holds_answers {
            self.held.push((ticket, answer));
        } else {
            let now = self.now;
            self.session().answer(now, ticket, answer);
        }
    }
}
