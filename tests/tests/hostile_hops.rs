//! Next hops that stall, lie, drop and refuse at every stage: what becomes of the mail is written down cell by cell, and
//! once they are mended every mail has arrived or gone back, and none twice but in the one window that SMTP leaves.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, trust, wait_until};
use tempfile::TempDir;

use At::{
    Auth, Body, Chunk, Data, Dot, Greeting, Handshake, Hello, Mail, Quit, Rcpt, SecuredHello, StartTls,
};
use Fate::{Delivered, Doubled, Returned, Waits};

/// What must become of a recipient at the first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The hop has his mail.
    Delivered,
    /// It has gone back, with this status.
    Returned(&'static str),
    /// It waits for a reason that begins so, and the hop has not got it.
    Waits(&'static str),
    /// It waits although the hop has it: the connection was lost between the end of data and its reply.
    Doubled(&'static str),
}

/// How the hop is reached, which decides what stages there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// A mail of two chunks.
    Chunks,
    Tls,
    /// TLS is demanded.
    Encrypted,
    Login,
    Lmtp,
}

/// One hop with a domain of its own and one reaction, and the mail for it.
struct Cell {
    domain: String,
    way: Way,
    at: At,
    reaction: Reaction,
    hop: NextHop,
    /// Names of recipients.
    fates: Vec<(&'static str, Fate)>,
    content: Vec<u8>,
}

/// All of them, before one server.
struct Table {
    cells: Vec<Cell>,
    folder: TempDir,
    dns: NameServer,
}

const STALL: Reaction = Reaction::Stall;
const LATER: Reaction = Reaction::Say("451 4.7.1 come back later");
const NEVER: Reaction = Reaction::Say("550 5.7.1 never");
const CLOSING: Reaction = Reaction::Say("421 4.3.2 closing");
const DROP: Reaction = Reaction::Drop;
const GARBAGE: Reaction = Reaction::Write(b"\x15\x03\x01\0\x02\x02\x28\r\n");
const NO_REPLY: Reaction = Reaction::Write(b"hello?\r\n");
const BARE_LF: Reaction = Reaction::Write(b"250 ok\n");
const TWO_CODES: Reaction = Reaction::Write(b"250-ok\r\n550 no\r\n");
const ENDLESS_LINE: Reaction = Reaction::Flood(b"250 x");
const ENDLESS_REPLY: Reaction = Reaction::Flood(b"250-more\r\n");
const TWICE: Reaction = Reaction::Twice;

/// Replies that are none have one fate at each stage.
const NO_REPLIES: [Reaction; 6] = [GARBAGE, NO_REPLY, BARE_LF, TWO_CODES, ENDLESS_LINE, ENDLESS_REPLY];

const LOST: Fate = Waits("4.4.2 ");
const BROKEN: Fate = Waits("4.5.0 ");
const NOT_NOW: Fate = Waits("4.7.1 ");
const CLOSED: Fate = Waits("4.3.2 ");
const REFUSED: Fate = Returned("5.7.1");
const UNKNOWN: Fate = Doubled("4.4.2 ");

/// A stage, and what becomes of a mail where the hop stalls, says 4yz, 5yz or 421, drops the connection, says what is no
/// reply, or says what is right twice (where that can be told from what is right).
type Row = (Way, At, [Fate; 6], Option<Fate>);

const ROWS: [Row; 13] = [
    (Way::Plain, Greeting, [LOST, CLOSED, CLOSED, LOST, LOST, BROKEN], Some(BROKEN)),
    // 5yz to EHLO: the server knows no extensions, and gets HELO.
    (Way::Plain, Hello, [LOST, CLOSED, Delivered, LOST, LOST, BROKEN], Some(BROKEN)),
    // No TLS where it is offered: in the clear, unless the server says nothing that makes sense.
    (Way::Tls, StartTls, [LOST, Delivered, Delivered, LOST, LOST, BROKEN], Some(Waits("4.7.5 "))),
    (Way::Tls, Handshake, [Delivered, Delivered, Delivered, Delivered, Delivered, Delivered], None),
    (Way::Tls, SecuredHello, [LOST, CLOSED, Delivered, LOST, LOST, BROKEN], Some(BROKEN)),
    // A wrong password is our mistake, and costs no mail.
    (Way::Login, Auth, [LOST, Waits("4.7.0 "), Waits("4.7.0 "), LOST, LOST, BROKEN], Some(BROKEN)),
    (Way::Plain, Mail, [LOST, NOT_NOW, REFUSED, CLOSED, LOST, BROKEN], Some(BROKEN)),
    (Way::Plain, Rcpt, [LOST, NOT_NOW, REFUSED, CLOSED, LOST, BROKEN], Some(BROKEN)),
    (Way::Plain, Data, [LOST, NOT_NOW, REFUSED, CLOSED, LOST, BROKEN], Some(BROKEN)),
    (Way::Plain, Body, [LOST, NOT_NOW, REFUSED, CLOSED, LOST, BROKEN], None),
    (Way::Plain, Dot, [UNKNOWN, NOT_NOW, REFUSED, CLOSED, UNKNOWN, Doubled("4.5.0 ")], Some(Delivered)),
    (Way::Chunks, Dot, [UNKNOWN, NOT_NOW, REFUSED, CLOSED, UNKNOWN, Doubled("4.5.0 ")], Some(Delivered)),
    // The mail is over; nothing that is said here matters.
    (Way::Plain, Quit, [Delivered; 6], Some(Delivered)),
];

/// What does not fit into a row, and what becomes of whom.
type Case = (Way, At, Reaction, &'static [(&'static str, Fate)]);

const MORE: [Case; 13] = [
    (Way::Encrypted, StartTls, LATER, &[("ann", Waits("4.7.0 "))]),
    (Way::Encrypted, Handshake, STALL, &[("ann", Waits("4.7.5 "))]),
    (Way::Encrypted, Handshake, GARBAGE, &[("ann", Waits("4.7.5 "))]),
    (Way::Encrypted, Handshake, DROP, &[("ann", Waits("4.7.5 "))]),
    // Said in plaintext, to be believed inside TLS.
    (
        Way::Encrypted,
        StartTls,
        Reaction::Write(b"220 go on\r\n250-hop.example\r\n250 AUTH PLAIN\r\n"),
        &[("ann", Waits("4.7.5 "))],
    ),
    // Answers to what was not said yet, the last of them that the mail was taken.
    (
        Way::Plain,
        Mail,
        Reaction::Write(b"250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n"),
        &[("ann", BROKEN)],
    ),
    (Way::Plain, Data, Reaction::Say("250 2.0.0 taken"), &[("ann", BROKEN)]),
    (Way::Plain, Dot, Reaction::Say("354 more"), &[("ann", BROKEN)]),
    // One of several, of whom the first has it worse.
    (Way::Plain, Rcpt, LATER, &[("ann", NOT_NOW), ("bob", Delivered)]),
    (Way::Plain, Rcpt, NEVER, &[("ann", REFUSED), ("bob", Delivered)]),
    (Way::Plain, Rcpt, DROP, &[("ann", LOST), ("bob", LOST)]),
    // One reply too few: those that come must not be taken for those that do not.
    (Way::Plain, Rcpt, Reaction::Skip, &[("ann", BROKEN), ("bob", BROKEN)]),
    (Way::Lmtp, Dot, Reaction::Write(b"250 2.0.0 for ann\r\n"), &[("ann", Delivered), ("bob", UNKNOWN)]),
];

/// The first chunk of two. The hop has not seen the end of the mail, or cannot have taken it.
const CHUNKS: [(Reaction, Fate); 5] =
    [(STALL, LOST), (LATER, NOT_NOW), (NEVER, REFUSED), (DROP, LOST), (NO_REPLY, BROKEN)];

#[test]
fn whatever_a_next_hop_does_its_mail_arrives_or_comes_back_and_twice_only_in_the_window() {
    let mut table = Table::new();
    for (way, at, fates, twice) in ROWS {
        let reactions = [STALL, LATER, NEVER, CLOSING, DROP].into_iter().zip(fates);
        let none = NO_REPLIES.into_iter().map(|reaction| (reaction, fates[5]));
        for (reaction, fate) in reactions.chain(none).chain(twice.map(|fate| (TWICE, fate))) {
            table.add(way, at, reaction, &[("ann", fate)]);
        }
    }
    for (reaction, fate) in CHUNKS {
        table.add(Way::Chunks, Chunk, reaction, &[("ann", fate)]);
    }
    for (way, at, reaction, fates) in MORE {
        table.add(way, at, reaction, fates);
    }
    let server = table.start(None);
    table.send(&server);
    let doubled = table.check_first_attempt(&server);

    let has_left = |cell: &Cell| cell.hop.said().iter().any(|line| line == "QUIT");
    wait_until("leave was taken", || table.cells.iter().filter(|cell| cell.at == Quit).all(has_left));
    table.cells.iter().for_each(|cell| cell.hop.mend());
    server.cli(["queue", "retry", "--all"]).succeed();
    server.wait_for_empty_queue();
    table.check_ledger(&server, &doubled);
    assert!(!server.log().contains("panicked"), "a panic");
}

/// A failure of the connection is that hop's, and another one is asked at once; what was said to the mail, and what may have
/// been taken, is not.
#[test]
fn another_hop_gets_what_the_first_has_not_answered_and_nothing_that_it_may_have() {
    let mut table = Table::new();
    for (way, at, fates, _) in ROWS {
        if matches!(at, Body | Quit) || way == Way::Chunks {
            continue;
        }
        for (reaction, fate) in [STALL, LATER, NEVER, CLOSING, DROP, NO_REPLY].into_iter().zip(fates) {
            table.add(way, at, reaction, &[("ann", fate)]);
        }
    }
    let spare = NextHop::start();
    let server = table.start(Some(&spare));
    table.send(&server);
    let is_spared = |cell: &&Cell| {
        let of_the_mail = [NOT_NOW, CLOSED].contains(&cell.fates[0].1);
        let in_transaction = matches!(cell.at, Mail | Rcpt | Data | Dot);
        // A login is never tried with a hop that cannot prove its name.
        matches!(cell.fates[0].1, Waits(_)) && !(of_the_mail && in_transaction) && cell.way != Way::Login
    };
    let spared: Vec<_> = table.cells.iter().filter(is_spared).map(|cell| cell.address("ann")).collect();
    wait_until("the other hop has its mails", || spare.taken_so_far().len() >= spared.len());
    wait_until("every mail was tried", || table.is_tried(&server));
    let taken = spare.taken(spared.len());
    for address in spared {
        assert_eq!(taken.iter().filter(|mail| mail.is_for(&address)).count(), 1, "{address}");
    }
    for cell in table.cells.iter().filter(|cell| matches!(cell.fates[0].1, Doubled(_))) {
        assert!(cell.copies("ann") >= 1, "{}", cell.domain);
    }
}

// === impl Table ===

impl Table {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        trust::write_certificate_for(&["hop.example"], &certificate, &key);
        let secret = folder.path().join("credentials");
        std::fs::write(&secret, "us@hop.example\npassword\n").expect("a file");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let dns = NameServer::start_with([("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)])]);
        Self { cells: Vec::new(), folder, dns }
    }

    fn add(&mut self, way: Way, at: At, reaction: Reaction, fates: &[(&'static str, Fate)]) {
        let (certificate, key) = (self.folder.path().join("cert.pem"), self.folder.path().join("key.pem"));
        let hop = match way {
            Way::Plain => NextHop::start(),
            Way::Chunks => NextHop::start().offering("CHUNKING"),
            Way::Tls | Way::Encrypted | Way::Login => NextHop::start_tls(&certificate, &key),
            Way::Lmtp => NextHop::start_lmtp(),
        };
        // Where it meets one of several, the others are served.
        let hop = if fates.len() > 1 { hop.times(1, at, reaction) } else { hop.always(at, reaction) };
        let domain = format!("cell-{}.example", self.cells.len());
        let content = match at {
            Body => mail::large(&domain, 300_000),
            Chunk => mail::large(&domain, 1_200_000),
            _ => mail::small(&domain),
        };
        self.cells.push(Cell { domain, way, at, reaction, hop, fates: fates.to_vec(), content });
    }

    /// One server that knows the way to all of them, and behind each to this one.
    fn start(&self, spare: Option<&NextHop>) -> Server {
        let folder = self.folder.path();
        let mut sections = format!(
            "[limits]\ntransactions = 1000\n[dns]\nservers = [\"{}\"]\n\
             [delivery.remote]\nenabled = true\nauthorities = {:?}\n\
             [delivery.remote.timeouts]\ngreeting = \"6s\"\ncommand = \"6s\"\ndata = \"6s\"\nblock = \"6s\"\nend_of_data = \"6s\"\n",
            self.dns.address,
            folder.join("cert.pem")
        );
        for cell in &self.cells {
            let keys = match cell.way {
                Way::Plain | Way::Chunks | Way::Tls => String::new(),
                Way::Encrypted => "tls = \"encrypted\"\n".to_owned(),
                Way::Login => format!("credentials = {:?}\n", folder.join("credentials")),
                Way::Lmtp => "protocol = \"lmtp\"\n".to_owned(),
            };
            let spare = spare.map(|spare| format!(", \"{}\"", spare.address)).unwrap_or_default();
            let hop = format!("hop.example:{}", cell.hop.address.port());
            write!(sections, "[[route]]\ndomains = [\"{}\"]\nhops = [\"{hop}\"{spare}]\n{keys}", cell.domain)
                .expect("memory");
        }
        Setup::new().sections(&sections).start()
    }

    fn send(&self, server: &Server) {
        let mut smtp = server.smtp_as_me();
        for cell in &self.cells {
            let recipients: Vec<String> = cell.fates.iter().map(|(name, _)| cell.address(name)).collect();
            let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
            smtp.mail("me@localhost", &recipients, &cell.content).must("250 2.0.0");
        }
        smtp.quit();
    }

    fn is_tried(&self, server: &Server) -> bool {
        waiting(server).values().all(Option::is_some)
    }

    /// Answers how many copies hops have of what they have got and not acknowledged, by recipient.
    fn check_first_attempt(&self, server: &Server) -> HashMap<String, usize> {
        wait_until("every mail was tried", || self.is_tried(server));
        let waiting = waiting(server);
        let (mut doubled, mut wrong) = (HashMap::new(), String::new());
        for cell in &self.cells {
            for (name, fate) in &cell.fates {
                let address = cell.address(name);
                let (reason, copies) = (waiting.get(&address).cloned().flatten(), cell.copies(name));
                let is_so = match fate {
                    Delivered => reason.is_none() && copies == 1,
                    Returned(_) => reason.is_none() && copies == 0,
                    Waits(start) => {
                        reason.as_ref().is_some_and(|reason| reason.starts_with(start)) && copies == 0
                    }
                    Doubled(start) => {
                        doubled.insert(address, copies);
                        reason.as_ref().is_some_and(|reason| reason.starts_with(start)) && copies >= 1
                    }
                };
                if !is_so {
                    let Cell { domain, way, at, reaction, .. } = cell;
                    writeln!(wrong, "{domain} {way:?} {at:?} {reaction:?} {name}: not {fate:?} but {copies} copies, {reason:?}")
                        .expect("memory");
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        doubled
    }

    /// Nothing is lost, nothing came twice but where that is so, and each that was refused went back once.
    fn check_ledger(&self, server: &Server, doubled: &HashMap<String, usize>) {
        let fates = || self.cells.iter().flat_map(|cell| cell.fates.iter().map(move |fate| (cell, fate)));
        let returned = fates().filter(|(_, (_, fate))| matches!(fate, Returned(_))).count();
        let notices: Vec<String> =
            server.inbox(returned).iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect();
        for (cell, (name, fate)) in fates() {
            let address = cell.address(name);
            let expected = match fate {
                Returned(status) => {
                    let recipient = format!("\r\nFinal-Recipient: rfc822; {address}\r\n");
                    let told: Vec<_> = notices.iter().filter(|notice| notice.contains(&recipient)).collect();
                    assert_eq!(told.len(), 1, "notifications of {address}");
                    assert!(told[0].contains(&format!("\r\nStatus: {status}\r\n")), "{}", told[0]);
                    0
                }
                Delivered | Waits(_) => 1,
                Doubled(_) => doubled[&address] + 1,
            };
            assert_eq!(
                cell.copies(name),
                expected,
                "copies for {address} ({:?} {:?})",
                cell.at,
                cell.reaction
            );
        }
        for cell in &self.cells {
            for taken in cell.hop.taken_so_far() {
                mail::assert_same_octets(taken.below_trace(), &cell.content);
            }
        }
    }
}

// === impl Cell ===

impl Cell {
    fn address(&self, name: &str) -> String {
        format!("{name}@{}", self.domain)
    }

    fn copies(&self, name: &str) -> usize {
        self.hop.taken_so_far().iter().filter(|taken| taken.is_for(&self.address(name))).count()
    }
}

/// Who is still to be served, and why he was not; `None` where he was not tried.
fn waiting(server: &Server) -> HashMap<String, Option<String>> {
    let list = server.cli(["queue", "list", "--json"]).succeed().text();
    let queued: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    let of_mail = |mail: &serde_json::Value| {
        let reason = mail["last_reason"].as_str().map(str::to_owned);
        let recipients = mail["recipients"].as_array().cloned().unwrap_or_default();
        let pending = recipients.into_iter().filter(|recipient| recipient["pending"] == true);
        let address = |recipient: serde_json::Value| {
            recipient["address"].as_str().expect("an address").trim_matches(['<', '>']).to_owned()
        };
        pending.map(address).map(|address| (address, reason.clone())).collect::<Vec<_>>()
    };
    queued.iter().flat_map(of_mail).collect()
}
