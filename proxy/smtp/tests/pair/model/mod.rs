//! Both machines as a session is passed through, without sockets and without a runtime: a client before one, a server behind
//! the other, and whoever plays them decides which octets move next.
//!
//! ```text
//! client -> Front (server machine, question by question, client machine) -> Behind (server machine) -> what it keeps
//!                                                                  \-> Record: what was asked of it, against what was written
//! ```
//! `Behind` alone, with the client's octets, is what the client should notice no difference to.

mod behind;
mod front;
mod record;

use std::sync::Arc;
use std::time::Instant;

use gatepost_smtp::server::{
    AuthOffer, Config, Extensions, Limits, Mechanism, PeerClass, PeerFacts, Session, TlsFacts, TlsMode,
};

pub(crate) use behind::{Behind, Kept};
pub(crate) use front::Front;

/// What kind of servers and client these are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// What the client is by its address.
    pub(crate) class: PeerClass,
    /// Whether MAIL and RCPTs that come together go on together.
    pub(crate) asks_in_groups: bool,
    /// Whether the server behind decides on logins; it does without the front.
    pub(crate) is_relayed: bool,
    /// Whether the server behind refuses every other body.
    pub(crate) refuses_bodies: bool,
}

/// Which octets move next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

/// A front with a server behind, and the same server without a front.
pub(crate) struct Pair {
    pub(crate) front: Front,
    pub(crate) direct: Behind,
    behind: Behind,
    setup: Setup,
    dice: Dice,
    /// The connections of the front that the server behind has seen.
    connections: usize,
}

// === impl Setup ===

impl Setup {
    /// Each bit one of them.
    pub(crate) fn of(choice: u8) -> Self {
        let has = |bit: u8| choice & (1 << bit) != 0;
        Self {
            class: if has(0) { PeerClass::Server } else { PeerClass::Anonymous },
            asks_in_groups: has(1),
            is_relayed: has(2),
            refuses_bodies: has(3),
        }
    }

    fn open(self, is_front: bool, now: Instant) -> Session {
        let tls = TlsFacts { version: "TLSv1.3".to_owned(), cipher: "TLS_AES_256_GCM_SHA384".to_owned() };
        let address = "192.0.2.1:4711".parse().unwrap();
        let facts = PeerFacts { class: self.class, ..PeerFacts::anonymous(address, Some(tls)) };
        Session::open(Arc::new(self.config(is_front)), facts, now)
    }

    fn config(self, is_front: bool) -> Config {
        let auth = AuthOffer {
            inside_tls: if self.is_relayed { vec![Mechanism::Plain, Mechanism::Login] } else { Vec::new() },
            outside_tls: Vec::new(),
            is_relayed: is_front,
        };
        // Budgets are a front's own; none of them shall be spent here.
        let limits =
            Limits { message_octets: 4_000, errors: 100_000, commands: 100_000, ..Limits::default() };
        Config {
            tls: TlsMode::Implicit,
            binarymime: true,
            asks_in_groups: is_front && self.asks_in_groups,
            extensions: Extensions::PassThrough { blob_octets: 300 },
            auth,
            limits: Limits { message_octets_bypass: 4_000, transactions: 100_000, ..limits },
            ..Config::default()
        }
    }
}

// === impl Dice ===

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Below `bound`, which is not 0 (xorshift).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

// === impl Pair ===

impl Pair {
    /// Greeted on both ways.
    pub(crate) fn new(setup: Setup, seed: u64) -> Self {
        let now = Instant::now();
        let mut behind = Behind::new(setup, now);
        let hello = behind.greet();
        let front = Front::new(setup, &hello, now);
        let direct = Behind::new(setup, now);
        let connections = front.connections();
        Self { front, direct, behind, setup, dice: Dice::new(seed), connections }
    }

    /// A read of the front's, and of the server's without one. What the two machines of the front and the server behind say to
    /// each other meanwhile moves in pieces, sooner or later.
    pub(crate) fn says(&mut self, octets: &[u8]) {
        self.direct.hear(octets);
        while !self.front.is_hungry() {
            assert!(self.turn(), "the client is held up for good");
        }
        self.front.hear(octets);
        while self.dice.below(4) != 0 && self.turn() {}
    }

    /// Until nothing moves any more.
    pub(crate) fn rest(&mut self) {
        while self.turn() {}
        assert!(self.front.is_quiet(), "every question is answered");
        self.front.check_records();
    }

    /// The server behind has closed, with whatever is on its way there.
    pub(crate) fn lose_behind(&mut self) {
        self.front.lose_behind();
    }

    /// What the server behind keeps.
    pub(crate) fn kept(&self) -> &[Kept] {
        self.behind.kept()
    }

    /// # Panics
    /// Where the client could tell the ways apart, or the server behind keeps something else.
    pub(crate) fn check(&self) {
        assert!(!self.front.was_offended(), "the server behind has said nothing that it must not");
        // Whoever has shown the server behind who he is has one session there, and no other stands in for it.
        if self.front.is_orphaned() {
            return;
        }
        assert_eq!(codes(self.front.said()), codes(self.direct.said()));
        assert_eq!(self.front.closed(), self.direct.closed());
        assert_eq!(self.behind.kept(), self.direct.kept());
    }

    /// Moves some octets, if there are any.
    fn turn(&mut self) -> bool {
        if self.front.connections() != self.connections {
            self.connections = self.front.connections();
            let kept = self.behind.take_kept();
            self.behind = Behind::new(self.setup, Instant::now()).keeping(kept);
            self.behind.greet();
        }
        let goes_down = self.front.has_written() && (!self.behind.has_said() || self.dice.below(2) == 0);
        let octets_max = [1, 5, 60, usize::MAX][self.dice.below(4)];
        if goes_down {
            let octets = self.front.take_written(octets_max);
            self.behind.hear(&octets);
        } else if self.behind.has_said() {
            let octets = self.behind.take_said(octets_max);
            self.front.hear_behind(&octets);
        } else {
            return false;
        }
        true
    }
}

/// The codes of all replies.
pub(crate) fn codes(said: &[u8]) -> Vec<String> {
    let lines = String::from_utf8(said.to_vec()).unwrap();
    let is_last = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
    lines.lines().filter(is_last).map(|line| line.get(..3).unwrap().to_owned()).collect()
}

/// At most so many octets off the front.
fn split_off(octets: &mut Vec<u8>, octets_max: usize) -> Vec<u8> {
    octets.drain(..octets_max.min(octets.len())).collect()
}
