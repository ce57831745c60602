//! A driver of the SMTP machine, and the house behind it, which answers at once; watches over the machine's contract.

use std::sync::Arc;
use std::time::Instant;

use gatepost_smtp::server::{
    Answer, AuthOffer, BodySink, ClassRights, CloseReason, Config, Extension, Extensions, Identity, Limits,
    Mechanism, Notice, Output, PeerClass, PeerFacts, Question, Refusal, Right, Session, TlsFacts, TlsMode,
};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::verb::Verb;

use crate::reply;

/// One session and its driver.
pub(crate) struct Peer {
    session: Option<Session>,
    now: Instant,
    sink: Sink,
    answers: Answers,
    rights: ClassRights,
    class: PeerClass,
    user_class: PeerClass,
    is_passed_through: bool,
    /// Replies with 354 that have been allowed and not been given yet.
    allowed_354: usize,
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

/// What the machine puts away.
#[derive(Default)]
struct Sink {
    body: Vec<u8>,
    blob: Vec<u8>,
    blob_octets: u64,
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
        rights: if choice & 0x10 == 0 {
            ClassRights::default()
        } else {
            ClassRights::default().requiring_auth()
        },
        auth: AuthOffer { inside_tls: Mechanism::OURS.to_vec(), outside_tls, is_relayed: false },
        binarymime: choice & 0x20 != 0,
        limits: Limits {
            message_octets: 400,
            message_octets_bypass: 800,
            recipients: 4,
            transactions: 12,
            commands: 60,
            errors: 8,
            drain_octets: 900,
            ..Limits::default()
        },
        ..Config::default()
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
        Self::of_classes(config, answers, PeerClass::Anonymous, PeerClass::User)
    }

    /// As above, with a peer whose address says more, and another class for whoever authenticates.
    pub(crate) fn of_classes(
        config: Config,
        answers: Answers,
        class: PeerClass,
        user_class: PeerClass,
    ) -> Self {
        let now = Instant::now();
        let rights = config.rights;
        let is_passed_through = matches!(config.extensions, Extensions::PassThrough { .. });
        let tls = (config.tls == TlsMode::Implicit).then(tls);
        let facts = PeerFacts { class, ..PeerFacts::anonymous("192.0.2.1:4711".parse().unwrap(), tls) };
        let mut peer = Self {
            session: Some(Session::open(Arc::new(config), facts, now)),
            now,
            sink: Sink::default(),
            answers,
            rights,
            class,
            user_class,
            is_passed_through,
            allowed_354: 0,
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
            let (now, mut sink) = (self.now, std::mem::take(&mut self.sink));
            let was_upgrading = self.is_upgrading;
            let taken = self.session().feed(now, rest, &mut sink);
            self.sink = sink;
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

    /// The rights are looked up by the house, not by the machine that it watches over.
    fn extends(&mut self, extension: &Extension) -> Answer {
        let right = right_of(extension);
        let rights = self.rights;
        let identity = self.session().identity().map(|identity| identity.class);
        let class = identity.unwrap_or(self.class);
        assert!(self.is_passed_through, "nobody works on {extension:?}");
        assert!(rights.of(class).contains(right), "{extension:?} of a peer without the right");
        if let Extension::Exch50(exch50) = extension {
            assert!(exch50.octets <= BLOB_OCTETS);
            self.sink.blob_octets = exch50.octets;
            self.allowed_354 = 1;
        }
        Answer::Accepted
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
        for (code, _) in reply::split(&octets) {
            if code == 354 {
                let left = self.allowed_354.checked_sub(1);
                self.allowed_354 = left.expect("354 was said, and nobody is ready for a body or a blob");
            }
        }
        self.unread.extend_from_slice(&octets);
        match self.events.last_mut() {
            Some(Event::Sent(before)) => before.extend(octets),
            _ => self.events.push(Event::Sent(octets)),
        }
    }

    fn decide(&mut self, question: Question) -> Option<Answer> {
        let class = self.user_class;
        Some(match question {
            Question::Authenticate { mechanism, initial_response, .. } => match initial_response {
                Some(response) => authenticate(mechanism, response.expose(), class),
                None if mechanism == Mechanism::Login => Answer::Challenge(b"Username:".to_vec()),
                None => Answer::Challenge(Vec::new()),
            },
            Question::AuthenticateContinue { response } => authenticate_continued(response.expose(), class),
            Question::AuthenticateAbort => return None,
            Question::Behind => panic!("nobody stands behind this listener"),
            Question::Mail { reverse_path: ReversePath::Mailbox(mailbox), .. }
                if mailbox.local_part() == "forged" =>
            {
                Answer::Refused(Refusal::SenderNotOwned)
            }
            Question::Mail { .. } => {
                assert!(!self.is_in_transaction, "one transaction at a time");
                self.is_in_transaction = true;
                self.sink.body.clear();
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
                    _ => {
                        self.allowed_354 = 1;
                        Answer::Accepted
                    }
                }
            }
            Question::Extension(extension) => self.extends(&extension),
            Question::ExtensionEnd => {
                let Sink { blob, blob_octets, .. } = &mut self.sink;
                assert_eq!(
                    std::mem::take(blob).len() as u64,
                    std::mem::take(blob_octets),
                    "exactly the blob"
                );
                Answer::Accepted
            }
            Question::Xclient(_) => panic!("nobody here may speak for others"),
            Question::Commit => {
                assert!(self.is_in_transaction, "a commit belongs to a transaction");
                self.is_in_transaction = false;
                let body = std::mem::take(&mut self.sink.body);
                if self.answers == Answers::RefusesCommit {
                    return Some(Answer::Refused(Refusal::Infected));
                }
                self.stored.push(body);
                Answer::Stored { queue_id: "01Q".to_owned() }
            }
            Question::Abort => {
                assert!(self.is_in_transaction, "an abort belongs to a transaction");
                self.is_in_transaction = false;
                self.sink.body.clear();
                return None;
            }
        })
    }
}

fn right_of(extension: &Extension) -> Right {
    match extension {
        Extension::Exch50(_) => Right::AcceptExch50,
        Extension::LinkState(_) => Right::AcceptLinkState,
        Extension::Line { verb: Verb::Etrn | Verb::Atrn, .. } => Right::AcceptDequeue,
        Extension::Line { .. } => Right::AcceptOpaque,
    }
}

// === impl Sink ===

impl BodySink for Sink {
    fn put(&mut self, octets: &[u8]) {
        self.body.extend_from_slice(octets);
    }

    fn put_blob(&mut self, octets: &[u8]) {
        self.blob.extend_from_slice(octets);
    }
}

fn authenticate(mechanism: Mechanism, response: &[u8], class: PeerClass) -> Answer {
    match mechanism {
        Mechanism::Plain if response == b"\0joe\0secret" => joe(None, class),
        Mechanism::ScramSha256 if response == b"client-first" => Answer::Challenge(b"server-first".to_vec()),
        Mechanism::Login if response == b"joe" => Answer::Challenge(b"Password:".to_vec()),
        _ => Answer::Refused(Refusal::AuthenticationFailed),
    }
}

fn authenticate_continued(response: &[u8], class: PeerClass) -> Answer {
    match response {
        b"\0joe\0secret" | b"secret" => joe(None, class),
        b"joe" => Answer::Challenge(b"Password:".to_vec()),
        b"client-final" => joe(Some(b"v=final".to_vec()), class),
        _ => Answer::Refused(Refusal::AuthenticationFailed),
    }
}

fn joe(final_data: Option<Vec<u8>>, class: PeerClass) -> Answer {
    Answer::Authenticated { identity: Identity { user: USER.to_owned(), class }, final_data }
}

fn tls() -> TlsFacts {
    TlsFacts { version: "TLSv1.3".to_owned(), cipher: "TLS_AES_256_GCM_SHA384".to_owned() }
}

/// The largest blob where there is a server behind us.
pub(crate) const BLOB_OCTETS: u64 = 300;
pub(crate) const HOSTNAME: &str = "mx.example";
pub(crate) const USER: &str = "joe@x.example";
