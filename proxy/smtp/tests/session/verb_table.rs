//! Every verb in every place for every class, against the rules as the documentation has them, and printed.

use std::fmt::Write as _;

use gatepost_smtp::server::{ClassRights, Config, Extensions, PeerClass, PeerFacts};
use gatepost_smtp::wire::verb::Verb;

use crate::extension::{pass_through, stranger};
use crate::scenario::{Scenario, submission};

/// A listener, a backend and a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// A stranger where AUTH is required, before STARTTLS.
    Plaintext,
    /// A stranger where AUTH is required, inside TLS.
    Unauthenticated,
    /// A stranger where it is not.
    Anonymous,
    /// Behind AUTH.
    User,
    Partner,
    Server,
    ExternallySecured,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Embedded,
    PassThrough,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Helo,
    Ehlo,
    Mail,
    Rcpt,
    Bdat,
}

const PEERS: [Peer; 7] = [
    Peer::Plaintext,
    Peer::Unauthenticated,
    Peer::Anonymous,
    Peer::User,
    Peer::Partner,
    Peer::Server,
    Peer::ExternallySecured,
];
const BACKENDS: [Backend; 2] = [Backend::Embedded, Backend::PassThrough];
const PLACES: [Place; 6] = [Place::Start, Place::Helo, Place::Ehlo, Place::Mail, Place::Rcpt, Place::Bdat];

#[test]
fn every_cell_is_answered_as_the_rules_say() {
    let mut cells = 0;
    for (peer, backend) in PEERS.into_iter().flat_map(|peer| BACKENDS.map(|backend| (peer, backend))) {
        for place in PLACES.into_iter().filter(|place| peer.reaches(*place)) {
            for verb in Verb::all().chain([Verb::Unknown]) {
                let heard = answer(peer, backend, place, verb, &line(verb));
                let expected = expected(peer, backend, place, verb);
                assert_eq!(heard, expected, "{} {} {}", peer.title(), place.title(), verb.name());
                cells += 1;
            }
        }
    }
    assert!(cells > 4000, "{cells} cells");
}

/// What a peer without the right hears must not depend on the argument, legal or not.
#[test]
fn without_the_right_the_argument_does_not_matter() {
    for (peer, place) in PEERS.into_iter().flat_map(|peer| PLACES.map(|place| (peer, place))) {
        let needy = Verb::all().filter(|verb| peer.reaches(place) && !peer.has_right(*verb));
        for verb in needy {
            let answers =
                ["", " ", " nonsense", " 1 2", " 99999999999999999999", " \u{e4}"].map(|argument| {
                    answer(peer, Backend::PassThrough, place, verb, &format!("{}{argument}\r\n", verb.name()))
                });
            // The octets behind a BDAT must be skipped, so its size is read first.
            if verb != Verb::Bdat {
                assert!(answers.iter().all(|answer| *answer == answers[0]), "{} {answers:?}", verb.name());
            }
        }
    }
}

#[test]
fn each_verb_has_its_line_limit_whoever_says_it() {
    for (peer, verb) in PEERS.into_iter().flat_map(|peer| Verb::all().map(move |verb| (peer, verb))) {
        let limit = match verb {
            Verb::Mail => 1512,
            Verb::Rcpt => 1373,
            Verb::Auth | Verb::XExps => 12_288,
            Verb::XLink2State => 1024,
            Verb::Xexch50 => 50,
            _ => 512,
        };
        let line =
            |octets: usize| format!("{} {}\r\n", verb.name(), "1".repeat(octets - verb.name().len() - 3));
        let answer = |octets| answer(peer, Backend::PassThrough, Place::Ehlo, verb, &line(octets));
        assert_ne!(answer(limit), "500 5.5.2", "{}", verb.name());
        let expected = if verb == Verb::Bdat { "501 5.5.4" } else { "500 5.5.2" };
        assert_eq!(answer(limit + 1), expected, "{}", verb.name());
    }
}

/// Each set of faults that one XEXCH50 can have: it is answered for the first of them.
#[test]
fn of_several_faults_the_first_in_the_order_is_told() {
    const FRAMING: u8 = 1;
    const VERB: u8 = 2;
    const RIGHT: u8 = 4;
    const AVAILABILITY: u8 = 8;
    const ORDER: u8 = 16;
    const ARGUMENT: u8 = 32;
    const SIZE: u8 = 64;
    const ANSWERS: [&str; 8] =
        ["500 5.5.2", "500 5.5.1", "504 5.7.0", "502 5.5.1", "503 5.5.1", "501 5.5.4", "552 5.3.4", "354"];
    for faults in 0..128_u8 {
        let has = |fault| faults & fault != 0;
        let mut config = Config { rights: ClassRights::default(), ..pass_through() };
        if has(VERB) {
            config.switched_off = vec![Verb::Xexch50];
        }
        if has(AVAILABILITY) {
            config.extensions = Extensions::Unavailable;
        }
        let class = if has(RIGHT) { PeerClass::Anonymous } else { PeerClass::Server };
        let scenario = Scenario::from(config, PeerFacts { class, ..stranger() });
        let scenario = if has(ORDER) { scenario.greeted() } else { scenario.ready_for_body() };
        let sign = if has(ARGUMENT) { "-" } else { "" };
        let size = if has(SIZE) { "4294967296" } else { "1" };
        let kind = if has(FRAMING) { "2".repeat(60) } else { "2".to_owned() };
        let expected = ANSWERS[usize::try_from(faults.trailing_zeros().min(7)).unwrap()];
        scenario.say(&format!("XEXCH50 {sign}{size} {kind}"), expected);
    }
}

/// Set `GATEPOST_BLESS` to write the table anew.
#[test]
fn the_printed_table_is_what_the_machine_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/server/verb_table.md");
    let printed = print();
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        std::fs::write(path, &printed).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        printed,
        "stale: run with GATEPOST_BLESS=1"
    );
}

// The rules, once more and differently.

fn expected(peer: Peer, backend: Backend, place: Place, verb: Verb) -> &'static str {
    use Place as P;

    if verb == Verb::Unknown || matches!(verb, Verb::Forbidden(_)) {
        return "500 5.5.1";
    }
    if !peer.has_right(verb) {
        return match (verb, peer) {
            (Verb::Xexch50 | Verb::XLink2State, _) => "504 5.7.0",
            (_, Peer::Plaintext | Peer::Unauthenticated | Peer::Anonymous) => "530 5.7.0",
            _ => "550 5.7.1",
        };
    }
    let needs_server = peer.is_extension(verb);
    if matches!(verb, Verb::XAnonymousTls | Verb::Xforward) || (needs_server && backend == Backend::Embedded)
    {
        return "502 5.5.1";
    }
    if verb == Verb::Auth && peer == Peer::Plaintext {
        return "530 5.7.0";
    }
    let (places, answer): (&[Place], _) = match verb {
        Verb::Ehlo | Verb::Helo => (&PLACES, "250"),
        Verb::Rset | Verb::Noop => (&PLACES, "250 2.0.0"),
        Verb::Quit => (&PLACES, "221 2.0.0"),
        Verb::Vrfy => (&PLACES, "252 2.0.0"),
        Verb::Help => (&PLACES, "214 2.0.0"),
        Verb::StartTls if peer == Peer::Plaintext => (&PLACES[2..], "220 2.0.0"),
        Verb::StartTls => (&[], ""),
        Verb::Auth | Verb::XExps if peer == Peer::User => (&[], ""),
        Verb::Auth | Verb::XExps => (&[P::Ehlo], "235 2.7.0"),
        Verb::Mail => (&[P::Helo, P::Ehlo], "250 2.1.0"),
        Verb::Rcpt => (&[P::Mail, P::Rcpt], "250 2.1.5"),
        Verb::Data => (&[P::Rcpt], "354"),
        Verb::Bdat => (&[P::Rcpt, P::Bdat], "250 2.0.0"),
        Verb::Xexch50 => (&[P::Rcpt], "354"),
        Verb::Opaque(_) => (&[P::Ehlo, P::Mail, P::Rcpt], "250 2.0.0"),
        _ => (&[P::Ehlo], "250 2.0.0"),
    };
    if places.contains(&place) { answer } else { "503 5.5.1" }
}

impl Peer {
    fn has_right(self, verb: Verb) -> bool {
        match verb {
            Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat => {
                !matches!(self, Self::Plaintext | Self::Unauthenticated)
            }
            Verb::Xexch50 => matches!(self, Self::Server | Self::ExternallySecured),
            Verb::Xclient | Verb::Xforward => false,
            verb if self.is_extension(verb) => self == Self::Server,
            _ => true,
        }
    }

    fn is_extension(self, verb: Verb) -> bool {
        matches!(
            verb,
            Verb::Xexch50
                | Verb::XLink2State
                | Verb::XExps
                | Verb::XAnonymousTls
                | Verb::Etrn
                | Verb::Atrn
                | Verb::Opaque(_)
        )
    }

    fn reaches(self, place: Place) -> bool {
        match self {
            Self::Plaintext | Self::Unauthenticated => {
                matches!(place, Place::Start | Place::Helo | Place::Ehlo)
            }
            // There is no AUTH before EHLO.
            Self::User => place != Place::Start,
            _ => true,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Plaintext => "Anonymous, AUTH required, before STARTTLS",
            Self::Unauthenticated => "Anonymous, AUTH required, inside TLS",
            Self::Anonymous => "Anonymous, AUTH not required, inside TLS",
            Self::User => "User",
            Self::Partner => "Partner",
            Self::Server => "Server",
            Self::ExternallySecured => "Externally secured",
        }
    }

    fn open(self, backend: Backend) -> Scenario {
        let extensions = match backend {
            Backend::Embedded => Extensions::Unavailable,
            Backend::PassThrough => pass_through().extensions,
        };
        let mut config = Config { extensions, ..submission() };
        if self == Self::Anonymous {
            config.rights = ClassRights::default();
        }
        let class = match self {
            Self::Plaintext => return Scenario::on(config),
            Self::Unauthenticated | Self::Anonymous | Self::User => PeerClass::Anonymous,
            Self::Partner => PeerClass::Partner,
            Self::Server => PeerClass::Server,
            Self::ExternallySecured => PeerClass::ExternallySecured,
        };
        let scenario = Scenario::from(config, PeerFacts { class, ..stranger() });
        match self {
            Self::User => scenario.greeted().say("AUTH PLAIN AGpvZQBzZWNyZXQ=", "235"),
            _ => scenario,
        }
    }
}

impl Place {
    fn title(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Helo => "HELO",
            Self::Ehlo => "EHLO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Bdat => "BDAT",
        }
    }

    fn reach(self, scenario: Scenario) -> Scenario {
        let mail = |scenario: Scenario| scenario.greeted().say("MAIL FROM:<a@b.example>", "250");
        let rcpt = |scenario: Scenario| mail(scenario).say("RCPT TO:<joe@x.example>", "250");
        match self {
            Self::Start => scenario,
            Self::Helo => scenario.say("HELO c.example", "250"),
            Self::Ehlo => scenario.greeted(),
            Self::Mail => mail(scenario),
            Self::Rcpt => rcpt(scenario),
            Self::Bdat => rcpt(scenario).chunk("BDAT 1", "x", "250"),
        }
    }
}

/// A legal line of this verb.
fn line(verb: Verb) -> String {
    let argument = match verb {
        Verb::Ehlo | Verb::Helo => " c.example",
        Verb::Auth | Verb::XExps => " PLAIN AGpvZQBzZWNyZXQ=",
        Verb::Mail => " FROM:<a@b.example>",
        Verb::Rcpt => " TO:<joe@x.example>",
        Verb::Bdat => " 0",
        Verb::Vrfy => " joe",
        Verb::Xexch50 => " 2 2",
        Verb::XLink2State => " LAST CHUNK={00000001}a",
        Verb::Xclient => " ADDR=198.51.100.7",
        Verb::Etrn => " example.org",
        _ => "",
    };
    let name = if verb == Verb::Unknown { "XYZZY" } else { verb.name() };
    format!("{name}{argument}\r\n")
}

/// The codes of the reply to one line.
fn answer(peer: Peer, backend: Backend, place: Place, verb: Verb, line: &str) -> String {
    let (_, heard) = place.reach(peer.open(backend)).send(line.as_bytes()).heard();
    let words: Vec<_> = heard.split([' ', '-']).take(2).collect();
    let has_enhanced = words[1].split('.').count() == 3 && words[1].starts_with(|c: char| c.is_ascii_digit());
    assert!(!heard.is_empty(), "{} was not answered", verb.name());
    if has_enhanced { words.join(" ") } else { words[0].to_owned() }
}

fn print() -> String {
    let mut text = String::from(PREFACE);
    for (peer, backend) in PEERS.into_iter().flat_map(|peer| BACKENDS.map(|backend| (peer, backend))) {
        let is_trusted = matches!(peer, Peer::Server | Peer::ExternallySecured);
        // Only they ever notice which backend there is.
        if backend == Backend::PassThrough && !is_trusted {
            continue;
        }
        let backend_title = match backend {
            _ if !is_trusted => "",
            Backend::Embedded => ", backend without extension verbs",
            Backend::PassThrough => ", backend with extension verbs",
        };
        writeln!(text, "\n## {}{backend_title}\n", peer.title()).unwrap();
        writeln!(text, "| verb | start | HELO | EHLO | MAIL | RCPT | BDAT |\n|---|---|---|---|---|---|---|")
            .unwrap();
        let verbs = Verb::all().filter(|verb| !matches!(verb, Verb::Opaque(_) | Verb::Forbidden(_)));
        for verb in verbs {
            writeln!(text, "| {} |{}", verb.name(), row(peer, backend, verb)).unwrap();
        }
        let opaque: Vec<_> = Verb::all().filter(|verb| matches!(verb, Verb::Opaque(_))).collect();
        let others = Verb::all().chain([Verb::Unknown]);
        let others: Vec<_> =
            others.filter(|verb| matches!(verb, Verb::Forbidden(_) | Verb::Unknown)).collect();
        for (title, family) in [("XOORG and its like", opaque), ("anything else", others)] {
            let rows: Vec<_> = family.into_iter().map(|verb| row(peer, backend, verb)).collect();
            assert!(rows.iter().all(|row| *row == rows[0]), "{title}");
            writeln!(text, "| {title} |{}", rows[0]).unwrap();
        }
    }
    text
}

fn row(peer: Peer, backend: Backend, verb: Verb) -> String {
    let cell = |place| match peer.reaches(place) {
        true => format!(" {} |", answer(peer, backend, place, verb, &line(verb))),
        false => " |".to_owned(),
    };
    PLACES.map(cell).concat()
}

const PREFACE: &str = "\
# What each class hears to each verb

Printed by a test. Rows are verbs with a legal argument; columns say how far the session has come when it is sent: nothing
was said yet, HELO, EHLO, MAIL, RCPT or a first BDAT was accepted. An empty cell cannot be reached.
";
