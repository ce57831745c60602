//! A driver of the SMTP machine, and the house behind it, which answers at once; watches over the machine's contract.

use std::sync::Arc;
use std::time::Instant;

use gatepost_smtp::server::{
    Answer, AuthOffer, CloseReason, Config, Identity, Limits, Mechanism, Notice, Output, PeerFacts, Question,
    Refusal, Session, TlsFacts, TlsMode,
};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};

/// One session and its driver.
pub(crate) struct Peer {
    session: Option<Session>,
    now: Instant,
    body: Vec<u8>,
    answers: Answers,
    /// Everything that left the machine, in order; replies that follow one another are joined.
    pub(crate) events: Vec<Event>,
    /// Replies since the last look.
    pub(crate) unread: Vec<u8>,
    pub(crate) stored: Vec<Vec<u8>>,
    /// Whether MAIL was accepted and neither the commit nor the abort has come.
    pub(crate) is_in_transaction: bool,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) is_upgrading: bool,
}

/// What left the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Sent(Vec<u8>),
    Asked(String),
    Noticed(Notice),
    Upgraded,
    Closed(CloseReason),
}

/// What kind of house this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Everything that is legal is taken.
    Willing,
    /// The body is refused, before or behind it.
    RefusesBody,
    RefusesCommit,
}

/// A listener that the octet chooses; with small limits, so that inputs reach them.
pub(crate) fn listener(choice: u8) -> Config {
    let tls = [TlsMode::None, TlsMode::StartTls, TlsMode::Implicit][usize::from(choice % 3)];
    let outside_tls = if choice & 0x40 == 0 { Vec::new() } else { vec![Mechanism::ScramSha256] };
    Config {
        hostname: HOSTNAME.to_owned(),
        tls,
        require_auth: choice & 0x10 != 0,
        auth: AuthOffer { inside_tls: Mechanism::ALL.to_vec(), outside_tls },
        binarymime: choice & 0x20 != 0,
        limits: Limits {
            message_octets: 400,
            recipients: 4,
            transactions: 12,
            commands: 60,
            errors: 8,
            drain_octets: 900,
            ..Limits::default()
        },
    }
}

pub(crate) fn answers(choice: u8) -> Answers {
    [Answers::Willing, Answers::Willing, Answers::RefusesBody, Answers::RefusesCommit]
        [usize::from(choice & 3)]
}

// === impl Peer ===

impl Peer {
    /// Opens a session; the greeting is read.
    pub(crate) fn open(config: Config, answers: Answers) -> Self {
        let now = Instant::now();
        let tls = (config.tls == TlsMode::Implicit).then(tls);
        let facts = PeerFacts { address: "192.0.2.1:4711".parse().unwrap(), tls };
        let mut peer = Self {
            session: Some(Session::open(Arc::new(config), facts, now)),
            now,
            body: Vec::new(),
            answers,
            events: Vec::new(),
            unread: Vec::new(),
            stored: Vec::new(),
            is_in_transaction: false,
            closed: None,
            is_upgrading: false,
        };
        peer.drain();
        assert!(peer.heard().starts_with(b"220 "));
        peer
    }

    /// What a driver does with one read. After the close, octets are dropped.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() && self.closed.is_none() {
            let (now, mut body) = (self.now, std::mem::take(&mut self.body));
            let was_upgrading = self.is_upgrading;
            let taken = self.session().feed(now, rest, &mut body);
            self.body = body;
            rest = &rest[taken..];
            let outputs = self.drain();
            assert!(taken > 0 || outputs > 0, "no progress");
            assert!(
                !self.is_upgrading || rest.is_empty() || was_upgrading,
                "an upgrade with octets behind it"
            );
            assert!(!self.session().is_waiting(), "every answer was given");
        }
    }

    /// The handshake is done.
    pub(crate) fn secure(&mut self) {
        let session = self.session.take().unwrap();
        self.session = Some(session.into_secured(tls(), self.now));
        self.is_upgrading = false;
        let outputs = self.drain();
        assert!(outputs == 0 && !self.is_in_transaction, "nothing is left of the plaintext session");
        let session = self.session();
        assert!(session.helo().is_none() && session.identity().is_none(), "a fresh session");
    }

    pub(crate) fn eof(&mut self) {
        let now = self.now;
        self.session().eof(now);
        self.drain();
        assert!(self.closed.is_some());
        assert!(!self.is_in_transaction, "whoever began to store is told");
    }

    pub(crate) fn heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    fn drain(&mut self) -> usize {
        let mut count = 0;
        while let Some(output) = self.session().poll() {
            count += 1;
            assert_eq!(self.closed, None, "nothing comes behind Close: {output:?}");
            match output {
                Output::Send(octets) => self.sent(octets),
                Output::Ask(ticket, question) => {
                    self.events.push(Event::Asked(format!("{question:?}")));
                    if let Some(answer) = self.decide(question) {
                        let now = self.now;
                        self.session().answer(now, ticket, answer);
                    }
                }
                Output::Upgrade => {
                    self.events.push(Event::Upgraded);
                    self.is_upgrading = true;
                }
                Output::Notice(notice) => self.events.push(Event::Noticed(notice)),
                Output::Close(reason) => {
                    self.events.push(Event::Closed(reason));
                    self.closed = Some(reason);
                }
            }
        }
        count
    }

    fn sent(&mut self, octets: Vec<u8>) {
        assert!(!self.is_upgrading, "nothing is said between 220 and the handshake");
        self.unread.extend_from_slice(&octets);
        match self.events.last_mut() {
            Some(Event::Sent(before)) => before.extend(octets),
            _ => self.events.push(Event::Sent(octets)),
        }
    }

    fn decide(&mut self, question: Question) -> Option<Answer> {
        Some(match question {
            Question::Authenticate { mechanism, initial_response } => match initial_response {
                Some(response) => authenticate(mechanism, response.expose()),
                None if mechanism == Mechanism::Login => Answer::Challenge(b"Username:".to_vec()),
                None => Answer::Challenge(Vec::new()),
            },
            Question::AuthenticateContinue { response } => authenticate_continued(response.expose()),
            Question::AuthenticateAbort => return None,
            Question::Mail { reverse_path: ReversePath::Mailbox(mailbox), .. }
                if mailbox.local_part() == "forged" =>
            {
                Answer::Refused(Refusal::SenderNotOwned)
            }
            Question::Mail { .. } => {
                assert!(!self.is_in_transaction, "one transaction at a time");
                self.is_in_transaction = true;
                self.body.clear();
                Answer::Accepted
            }
            Question::Recipient { path: ForwardPath::Mailbox(mailbox), .. }
                if mailbox.local_part() == "nobody" =>
            {
                Answer::Refused(Refusal::UnknownRecipient)
            }
            Question::Recipient { .. } => Answer::Accepted,
            Question::Body { envelope } => {
                assert!(self.is_in_transaction && !envelope.recipients.is_empty());
                match self.answers {
                    Answers::RefusesBody => Answer::Refused(Refusal::StorageFull),
                    _ => Answer::Accepted,
                }
            }
            Question::Commit => {
                assert!(self.is_in_transaction, "a commit belongs to a transaction");
                self.is_in_transaction = false;
                let body = std::mem::take(&mut self.body);
                if self.answers == Answers::RefusesCommit {
                    return Some(Answer::Refused(Refusal::Infected));
                }
                self.stored.push(body);
                Answer::Stored { queue_id: "01Q".to_owned() }
            }
            Question::Abort => {
                assert!(self.is_in_transaction, "an abort belongs to a transaction");
                self.is_in_transaction = false;
                self.body.clear();
                return None;
            }
        })
    }
}

fn authenticate(mechanism: Mechanism, response: &[u8]) -> Answer {
    match mechanism {
        Mechanism::Plain if response == b"\0joe\0secret" => joe(None),
        Mechanism::ScramSha256 if response == b"client-first" => Answer::Challenge(b"server-first".to_vec()),
        Mechanism::Login if response == b"joe" => Answer::Challenge(b"Password:".to_vec()),
        _ => Answer::Refused(Refusal::AuthenticationFailed),
    }
}

fn authenticate_continued(response: &[u8]) -> Answer {
    match response {
        b"\0joe\0secret" | b"secret" => joe(None),
        b"joe" => Answer::Challenge(b"Password:".to_vec()),
        b"client-final" => joe(Some(b"v=final".to_vec())),
        _ => Answer::Refused(Refusal::AuthenticationFailed),
    }
}

fn joe(final_data: Option<Vec<u8>>) -> Answer {
    Answer::Authenticated { identity: Identity { user: USER.to_owned() }, final_data }
}

fn tls() -> TlsFacts {
    TlsFacts { version: "TLSv1.3".to_owned(), cipher: "TLS_AES_256_GCM_SHA384".to_owned() }
}

pub(crate) const HOSTNAME: &str = "mx.example";
pub(crate) const USER: &str = "joe@x.example";
