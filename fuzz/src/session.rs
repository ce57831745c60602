//! The whole SMTP session: against a model of what the client may conclude from the replies, and against itself in other
//! splits.

use gatepost_smtp::server::{CloseReason, PeerClass, Right, TlsMode};

use crate::body::{NaiveData, first_fault, with_last_line_ended};
use crate::input::{Cuts, Input};
use crate::peer::{Peer, USER, answers, listener};
use crate::reply;

/// A client that sends one command, waits for its reply, and knows RFC 5321: every command gets exactly one final reply,
/// every 250 says what it may say, and what is stored is what was sent.
pub fn check_against_model(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (choice, house, cuts) = (input.octet(), input.octet(), input.cuts());
    let config = listener(choice);
    let mut model = Model {
        require_auth: !config.rights.of(PeerClass::Anonymous).contains(Right::Submit),
        is_secured: config.tls == TlsMode::Implicit,
        ..Model::default()
    };
    let mut peer = Peer::open(config, answers(house));
    let mut rest = input.rest();
    while !rest.is_empty() && peer.closed.is_none() {
        let (unit, is_whole) = model.next_unit(rest);
        rest = &rest[unit.len()..];
        for piece in cuts.pieces(unit) {
            peer.feed(piece);
        }
        let replies = reply::split(&peer.heard());
        if let Some(reason) = peer.closed {
            model.ends(unit, reason, &replies);
        } else if is_whole {
            model.concludes(unit, &replies, &mut peer);
        } else {
            assert!(replies.is_empty(), "no reply before the end of {:?}: {replies:?}", unit.escape_ascii());
        }
    }
    if peer.closed.is_none() {
        peer.eof();
    }
}

/// Any split of the same octets gives the same session. 0xFF, which no text has, stands for waiting: what follows is not
/// sent in one read with what stands before.
pub fn check_splits(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (choice, house, cuts) = (input.octet(), input.octet(), input.cuts());
    let stream = input.rest();
    let play = |cuts: Cuts| {
        let mut peer = Peer::open(listener(choice), answers(house));
        for group in stream.split(|octet| *octet == 0xff) {
            for piece in cuts.pieces(group) {
                peer.feed(piece);
            }
        }
        peer
    };
    let (whole, cut, octets) = (play(Cuts::WHOLE), play(cuts), play(Cuts::OCTETS));
    // Octets behind DATA and STARTTLS are an offence only where they can be seen to stand behind it.
    let offends = [CloseReason::EarlyTalker, CloseReason::PlaintextAfterStarttls];
    if [&whole, &cut, &octets].iter().any(|peer| peer.closed.is_some_and(|reason| offends.contains(&reason)))
    {
        return;
    }
    for other in [&cut, &octets] {
        assert_eq!(whole.events, other.events);
        assert_eq!(whole.stored, other.stored);
    }
}

/// Nothing that was said in plaintext is left inside TLS: the driver checks the border itself, see `Peer`.
pub fn check_starttls(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (choice, cuts) = (input.octet(), input.cuts());
    let mut config = listener(choice);
    config.tls = TlsMode::StartTls;
    let offers_outside = !config.auth.outside_tls.is_empty();
    let mut peer = Peer::open(config, answers(0));
    let mut is_secured = false;
    for group in input.rest().split(|octet| *octet == 0xff) {
        for piece in cuts.pieces(group) {
            peer.feed(piece);
            let has_identity = peer.session().identity().is_some();
            assert!(is_secured || offers_outside || !has_identity, "no identity in plaintext");
        }
        if peer.is_upgrading && peer.closed.is_none() {
            assert!(!is_secured, "TLS begins once");
            peer.secure();
            is_secured = true;
        } else if peer.is_upgrading {
            assert_eq!(peer.closed, Some(CloseReason::PlaintextAfterStarttls));
        }
    }
}

/// What the client knows.
#[derive(Debug, Default)]
struct Model {
    require_auth: bool,
    is_secured: bool,
    expects: Expects,
    /// `Some(true)` after EHLO, `Some(false)` after HELO.
    hello: Option<bool>,
    is_authenticated: bool,
    transaction: Option<Transaction>,
    stored: usize,
}

#[derive(Debug, Default)]
struct Transaction {
    recipients: usize,
    is_binary: bool,
    chunks: Option<Vec<u8>>,
}

/// What the client sends next.
#[derive(Debug, Default, Clone, Copy)]
enum Expects {
    #[default]
    Command,
    Response,
    Body,
    Chunk {
        octets: u64,
        is_last: bool,
    },
}

// === impl Model ===

impl Model {
    /// The octets up to where a reply is due, and whether they are all there.
    fn next_unit<'a>(&self, rest: &'a [u8]) -> (&'a [u8], bool) {
        let end = match self.expects {
            Expects::Command | Expects::Response => {
                rest.windows(2).position(|window| window == b"\r\n").map(|at| at + 2)
            }
            Expects::Body => NaiveData::read(rest).end,
            Expects::Chunk { octets, .. } => {
                usize::try_from(octets).ok().filter(|octets| *octets <= rest.len())
            }
        };
        end.map_or((rest, false), |end| (&rest[..end], true))
    }

    /// The server has ended the session over this.
    fn ends(&self, unit: &[u8], reason: CloseReason, replies: &[(u16, String)]) {
        assert!(replies.len() <= 1, "{replies:?}");
        let code = replies.first().map(|(code, _)| *code);
        match reason {
            CloseReason::Quit => assert_eq!((verb(unit), code), ("QUIT".to_owned(), Some(221))),
            CloseReason::BadFraming => assert!(matches!(code, Some(500..=599)), "{code:?}"),
            CloseReason::ForeignProtocol => {
                let word =
                    unit.split(|octet| matches!(octet, b' ' | b'\t' | b'\r')).next().unwrap_or_default();
                let is_method = [&b"GET"[..], b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"PRI"]
                    .into_iter()
                    .chain([&b"CONNECT"[..], b"OPTIONS", b"TRACE"])
                    .any(|method| method == word);
                assert!(is_method && code == Some(500), "{code:?} {:?}", unit.escape_ascii());
            }
            CloseReason::BudgetSpent | CloseReason::TooManyErrors | CloseReason::DrainLimit => {
                assert_eq!(code, Some(421));
            }
            other => panic!("{other:?} over {:?}", unit.escape_ascii()),
        }
        if reason == CloseReason::BadFraming && matches!(self.expects, Expects::Command | Expects::Response) {
            let is_unreadable_chunk = verb(unit) == "BDAT" && chunk(unit).is_none();
            // A chunk of nothing is judged with its command: a CR that waited for its LF is a bare one now.
            let ends_body = chunk(unit).is_some_and(|(octets, _)| octets == 0) && verb(unit) == "BDAT";
            let body = self.transaction.as_ref().and_then(|transaction| transaction.chunks.as_deref());
            let is_bad_body = ends_body && body.is_some_and(|body| first_fault(body).is_some());
            assert!(
                first_fault(unit).is_some() || is_unreadable_chunk || is_bad_body,
                "{}",
                unit.escape_ascii()
            );
        }
    }

    /// One unit was sent, and the session goes on.
    fn concludes(&mut self, unit: &[u8], replies: &[(u16, String)], peer: &mut Peer) {
        let is_command = matches!(self.expects, Expects::Command);
        if is_command && verb(unit) == "BDAT" && unit.len() <= 512 {
            let (octets, is_last) = chunk(unit).expect("an unreadable chunk ends the session");
            self.expects = Expects::Chunk { octets, is_last };
            if octets > 0 {
                assert!(replies.is_empty(), "a chunk is answered behind its octets: {replies:?}");
                return;
            }
            return self.concludes(&[], replies, peer);
        }
        let [(code, text)] = replies else {
            panic!("{:?} got {} replies: {replies:?}", unit.escape_ascii(), replies.len());
        };
        let is_text = first_fault(unit).is_none();
        assert!(
            is_text || !matches!(self.expects, Expects::Command | Expects::Response),
            "a fault ends the session"
        );
        match self.expects {
            Expects::Command => self.commanded(unit, *code, peer),
            Expects::Response => self.responded(*code),
            Expects::Body => self.sent_body(unit, *code, text, peer),
            Expects::Chunk { is_last, .. } => self.sent_chunk(unit, is_last, *code, text, peer),
        }
        assert_eq!(self.transaction.is_some(), peer.is_in_transaction, "after {code}");
        assert_eq!(
            self.stored,
            peer.stored.len(),
            "250 is said of what is stored, and of nothing else: {code}"
        );
        let identity = peer.session().identity().map(|identity| identity.user.as_str());
        assert_eq!(identity, self.is_authenticated.then_some(USER));
    }

    fn commanded(&mut self, unit: &[u8], code: u16, peer: &mut Peer) {
        let verb = verb(unit);
        let may_submit = !self.require_auth || self.is_authenticated;
        match (verb.as_str(), code) {
            ("EHLO" | "HELO", 250) => {
                self.hello = Some(verb == "EHLO");
                self.transaction = None;
            }
            ("MAIL", 250) => {
                assert!(may_submit && self.hello.is_some() && self.transaction.is_none());
                let is_binary =
                    unit.to_ascii_uppercase().windows(15).any(|window| window == b"BODY=BINARYMIME");
                self.transaction = Some(Transaction { is_binary, ..Transaction::default() });
            }
            ("RCPT", 250) => {
                let transaction = self.transaction.as_mut().expect("RCPT belongs to a transaction");
                assert!(may_submit && transaction.chunks.is_none());
                transaction.recipients += 1;
            }
            ("DATA", 354) => {
                let transaction = self.transaction.as_ref().expect("DATA belongs to a transaction");
                assert!(may_submit && transaction.recipients > 0);
                assert!(transaction.chunks.is_none() && !transaction.is_binary);
                self.expects = Expects::Body;
            }
            // The house refused to make ready: the transaction is over.
            ("DATA", 452) => self.transaction = None,
            ("RSET", 250) => self.transaction = None,
            ("AUTH", 334) => {
                assert!(self.hello == Some(true) && !self.is_authenticated && self.transaction.is_none());
                self.expects = Expects::Response;
            }
            ("AUTH", 235) => {
                assert!(self.hello == Some(true) && self.transaction.is_none());
                self.is_authenticated = true;
            }
            ("STARTTLS", 220) => {
                assert!(!self.is_secured && peer.is_upgrading);
                peer.secure();
                *self = Self {
                    require_auth: self.require_auth,
                    is_secured: true,
                    stored: self.stored,
                    ..Self::default()
                };
            }
            ("NOOP", 250) | ("VRFY", 252) | ("HELP", 214) => {}
            (_, 400..=599) => {}
            other => panic!("no reply for this command: {other:?}"),
        }
    }

    fn responded(&mut self, code: u16) {
        match code {
            334 => {}
            235 => {
                self.is_authenticated = true;
                self.expects = Expects::Command;
            }
            400..=599 => self.expects = Expects::Command,
            other => panic!("no reply for a response: {other}"),
        }
    }

    fn sent_body(&mut self, unit: &[u8], code: u16, text: &str, peer: &Peer) {
        self.expects = Expects::Command;
        self.transaction = None;
        if code == 250 {
            let naive = NaiveData::read(unit);
            self.stores(&naive.body, naive.fault.is_some(), text, peer);
        } else {
            assert!((400..600).contains(&code));
        }
    }

    fn sent_chunk(&mut self, unit: &[u8], is_last: bool, code: u16, text: &str, peer: &Peer) {
        self.expects = Expects::Command;
        if code != 250 {
            assert!((400..600).contains(&code));
            self.transaction = None;
            return;
        }
        let transaction = self.transaction.as_mut().expect("a chunk belongs to a transaction");
        assert!(transaction.recipients > 0 && (!self.require_auth || self.is_authenticated));
        transaction.chunks.get_or_insert_default().extend_from_slice(unit);
        if !is_last {
            return;
        }
        let Transaction { chunks, is_binary, .. } = self.transaction.take().unwrap_or_default();
        let body = chunks.unwrap_or_default();
        let has_fault = !is_binary && first_fault(&body).is_some();
        self.stores(&with_last_line_ended(&body, is_binary), has_fault, text, peer);
    }

    fn stores(&mut self, body: &[u8], has_fault: bool, text: &str, peer: &Peer) {
        self.stored += 1;
        assert!(!has_fault, "a body with a fault was taken");
        assert!(text.contains("01Q"), "the reply names the queue id: {text}");
        assert_eq!(peer.stored.last().map(Vec::as_slice), Some(body));
        assert!(body.len() <= 400, "the message limit holds");
    }
}

fn verb(unit: &[u8]) -> String {
    let text = String::from_utf8_lossy(unit);
    let line = text.trim_end_matches(['\r', '\n']).trim_end_matches([' ', '\t']);
    line.split(' ').next().unwrap_or_default().to_ascii_uppercase()
}

/// Octets and whether it is the last one, of a line that is BDAT.
fn chunk(unit: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(unit).ok()?.strip_suffix("\r\n")?.trim_end_matches([' ', '\t']);
    let mut words = text.split(' ').skip(1);
    let size = words.next().filter(|size| (1..=20).contains(&size.len()))?;
    let octets = size.bytes().all(|octet| octet.is_ascii_digit()).then(|| size.parse().ok())??;
    match (words.next().map(str::to_ascii_uppercase).as_deref(), words.next()) {
        (None, _) => Some((octets, false)),
        (Some("LAST"), None) => Some((octets, true)),
        _ => None,
    }
}
