//! Servers behind that stall, lie, flood and drop at every stage: what the client hears is one reply for each command, well
//! formed and no promise that the server behind has not made.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::pass_through::before_with;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Reply, Smtp, stuffed};
use gatepost_tests::{mail, ports, wait_until};

use At::{Body, Data, Dot, Greeting, Hello, Mail, Rcpt};
use Verdict::{Later, Never, Taken, Unsure};

/// What the client must hear in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// 250, and the server behind has the mail once.
    Taken,
    /// 4yz that begins so, and the server behind has not got the mail.
    Later(&'static str),
    /// 5yz that begins so, and the server behind has not got the mail.
    Never(&'static str),
    /// 4yz that begins so, although the server behind may have the mail: the one window that SMTP leaves.
    Unsure(&'static str),
}

/// A server behind with a listener of its own in front.
struct Cell {
    at: At,
    reaction: Reaction,
    verdict: Verdict,
    hop: NextHop,
    listener: SocketAddr,
}

const STALL: Reaction = Reaction::Stall;
const LATER: Reaction = Reaction::Say("450 4.2.1 come back later");
const NEVER: Reaction = Reaction::Say("550 5.7.1 never");
const CLOSING: Reaction = Reaction::Say("421 4.3.2 closing");
const DROP: Reaction = Reaction::Drop;

/// None of them is a reply.
const NO_REPLIES: [Reaction; 11] = [
    Reaction::Write(b"\x15\x03\x01\0\x02\x02\x28\r\n"),
    Reaction::Write(b"hello?\r\n"),
    Reaction::Write(b"\r\n"),
    Reaction::Write(b"2 50 ok\r\n"),
    Reaction::Write(b"250 ok\n"),
    Reaction::Write(b"250 ok\rinjected\r\n"),
    Reaction::Write(b"250-ok\r\n550 no\r\n"),
    Reaction::Flood(b"250 x"),
    Reaction::Flood(b"250-x\r\n"),
    Reaction::Flood(b"250 ok\r\n"),
    Reaction::Drip(b"250-x\r\n"),
];

/// Where the connection to the server behind could not be brought about.
const UNAVAILABLE: Verdict = Later("451 4.4.1");
/// Where it was lost in the middle.
const LOST: Verdict = Later("451 4.4.2");
/// The same behind the end of the mail.
const UNSURE: Verdict = Unsure("451 4.4.2");

/// A stage, and what becomes of a mail where the server stalls, says 4yz, 5yz or 421, drops the connection, or says what is no
/// reply.
const ROWS: [(At, [Verdict; 6]); 7] = [
    (Greeting, [UNAVAILABLE; 6]),
    // 5yz to EHLO: the server knows no extensions, and gets HELO.
    (Hello, [UNAVAILABLE, UNAVAILABLE, Taken, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE]),
    (Mail, [LOST, Later("450 4.2.1"), Never("550 5.7.1"), Later("451 4.3.2"), LOST, LOST]),
    (Rcpt, [LOST, Later("450 4.2.1"), Never("550 5.7.1"), Later("451 4.3.2"), LOST, LOST]),
    (Data, [LOST, Later("450 4.2.1"), Never("550 5.7.1"), Later("451 4.3.2"), LOST, LOST]),
    (Body, [LOST, Later("450 4.2.1"), Never("550 5.7.1"), Later("451 4.3.2"), LOST, LOST]),
    (Dot, [UNSURE, Later("450 4.2.1"), Never("550 5.7.1"), Later("451 4.3.2"), UNSURE, UNSURE]),
];

/// What does not fit into a row.
const MORE: [(At, Reaction, Verdict); 9] = [
    // Promises before the end of the mail.
    (Body, Reaction::Write(b"250 2.0.0 taken\r\n"), LOST),
    (Data, Reaction::Write(b"354 go on\r\n250 2.0.0 taken\r\n"), LOST),
    (Data, Reaction::Say("250 2.0.0 taken"), LOST),
    (Dot, Reaction::Say("354 more"), LOST),
    (Mail, Reaction::Write(b"250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n"), LOST),
    // One reply too many or too few: none may be taken for that of another command.
    (Mail, Reaction::Twice, LOST),
    (Rcpt, Reaction::Twice, LOST),
    (Data, Reaction::Twice, LOST),
    (Rcpt, Reaction::Skip, LOST),
];

#[test]
fn whatever_a_server_behind_does_the_client_hears_one_true_reply_for_each_command() {
    let mut cells = Vec::new();
    let [port] = ports::free();
    let mut add = |at, reaction, verdict| {
        let number = u8::try_from(cells.len()).expect("few cells");
        let hop = NextHop::start().always(at, reaction);
        cells.push(Cell { at, reaction, verdict, hop, listener: ([127, 0, 2, number], port).into() });
    };
    for (at, verdicts) in ROWS {
        for (reaction, verdict) in [STALL, LATER, NEVER, CLOSING, DROP].into_iter().zip(verdicts) {
            add(at, reaction, verdict);
        }
        for reaction in NO_REPLIES {
            // The first of them is one, and answers what was asked.
            let is_taken = (at, reaction) == (Dot, Reaction::Flood(b"250 ok\r\n"));
            add(at, reaction, if is_taken { Taken } else { verdicts[5] });
        }
    }
    MORE.into_iter().for_each(|(at, reaction, verdict)| add(at, reaction, verdict));
    let server = start(&cells);
    let wrong: String = thread::scope(|scope| {
        let threads: Vec<_> = cells.iter().map(|cell| scope.spawn(move || cell.judge())).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("a cell is judged")).collect()
    });
    assert!(wrong.is_empty(), "{wrong}");

    // Mended, each serves the next mail.
    cells.iter().for_each(|cell| cell.hop.mend());
    for cell in &cells {
        wait_until("a mended server is used again", || {
            let mut smtp = cell.open();
            dialog(&mut smtp, &mail::small("mended")).is("250")
        });
    }
    assert!(!server.log().contains("panicked"), "a panic");
}

/// One listener for each cell, which hands on to its server alone.
fn start(cells: &[Cell]) -> Server {
    let mut sections = "[limits]\nmessage = \"64 MiB\"\n[pass_through]\ndomains = [\"to.example\"]\nprobe_interval = \"1s\"\n\
                        connect_timeout = \"3s\"\ncommand_timeout = \"3s\"\ndata_timeout = \"3s\"\n"
        .to_owned();
    for (number, Cell { hop, listener, .. }) in cells.iter().enumerate() {
        write!(
            sections,
            "[[upstream]]\nname = \"behind-{number}\"\naddress = \"{}\"\ntls = \"none\"\n\
             [[listener]]\nname = \"edge-{number}\"\naddress = \"{listener}\"\nprotocol = \"smtp\"\ntls = \"none\"\n\
             require_auth = false\nbackend = \"pass-through\"\nupstreams = [\"behind-{number}\"]\n",
            hop.address
        )
        .expect("memory");
    }
    Setup::new().sections(&sections).start()
}

// === impl Cell ===

impl Cell {
    fn open(&self) -> Smtp {
        let mut smtp = Smtp::connect_to(self.listener);
        smtp.say("EHLO client.example").must("250");
        smtp
    }

    /// What is wrong, if anything is.
    fn judge(&self) -> Option<String> {
        let content = match self.at {
            Body => mail::large("hostile", 300_000),
            _ => mail::small("hostile"),
        };
        let mut smtp = self.open();
        let reply = dialog(&mut smtp, &content);
        // What comes behind is answered as if nothing had been.
        let next = smtp.say("NOOP");
        smtp.quit();
        let taken = self.hop.taken_so_far();
        let copies = taken.len();
        let is_right = next.is("250 2.0.0 OK")
            && match self.verdict {
                Taken => reply.is("250") && copies == 1,
                Later(start) | Never(start) => reply.is(start) && copies == 0,
                Unsure(start) => reply.is(start) && copies <= 1,
            };
        let Self { at, reaction, verdict, .. } = self;
        (!is_right).then(|| {
            format!("{at:?} {reaction:?}: not {verdict:?} but {reply:?}, {copies} copies, then {next:?}\n")
        })
    }
}

/// A whole mail: the first refusal, or the reply to its end.
fn dialog(smtp: &mut Smtp, content: &[u8]) -> Reply {
    for line in ["MAIL FROM:<someone@remote.example>", "RCPT TO:<ann@to.example>", "DATA"] {
        let reply = smtp.say(line);
        if reply.code >= 400 {
            if line != "MAIL FROM:<someone@remote.example>" {
                smtp.say("RSET").must("250");
            }
            return reply;
        }
    }
    smtp.send(&stuffed(content));
    smtp.reply()
}

/// One of the server's octets more each time, until the whole session fits.
#[test]
fn a_server_behind_that_breaks_off_at_any_octet_loses_no_mail_and_doubles_none_but_in_the_window() {
    let hop = NextHop::start();
    let server = before_with(hop.address, "tls = \"none\"", "").start();
    let (mut written, mut tried, mut whole) = (0, 0, 0);
    while whole < 3 {
        written += 1;
        assert!(written < 2_000, "no session fits");
        hop.break_after(written, usize::MAX);
        let (connections, before) = (hop.connections(), hop.taken_so_far().len());
        let mut smtp = server.smtp_open();
        let reply = dialog(&mut smtp, &mail::small("broken"));
        smtp.say("NOOP").must("250 2.0.0 OK");
        smtp.quit();
        tried += usize::from(hop.connections() > connections);
        let copies = hop.taken_so_far().len() - before;
        match reply.code {
            250 => assert_eq!(copies, 1, "{written} octets: {reply:?}"),
            451 => assert!(copies <= 1, "{written} octets: {reply:?}"),
            _ => panic!("{written} octets: {reply:?}"),
        }
        whole = if reply.code == 250 { whole + 1 } else { 0 };
    }
    assert!(tried > 200, "{tried} of {written} octets were tried");
    assert!(!server.log().contains("panicked"), "a panic");
}

#[test]
fn a_server_behind_that_stops_reading_at_any_octet_gets_no_mail_that_the_client_is_not_told_of() {
    let hop = NextHop::start();
    let server = before_with(hop.address, "tls = \"none\"", "").start();
    let content = mail::small("broken");
    for read in (1..700).step_by(7) {
        hop.break_after(usize::MAX, read);
        let before = hop.taken_so_far().len();
        let mut smtp = server.smtp_open();
        let reply = dialog(&mut smtp, &content);
        smtp.say("NOOP").must("250 2.0.0 OK");
        smtp.quit();
        let copies = hop.taken_so_far().len() - before;
        assert_eq!(copies, usize::from(reply.code == 250), "{read} octets: {reply:?}");
        assert!(matches!(reply.code, 250 | 451), "{read} octets: {reply:?}");
    }
}

#[test]
fn a_client_that_goes_in_the_middle_of_its_mail_has_sent_none() {
    for extension in ["XNONE", "CHUNKING"] {
        let hop = NextHop::start().offering(extension);
        let server = before_with(hop.address, "tls = \"none\"", "").start();
        let content = stuffed(&mail::large("broken", 400_000));
        for octets in [0, 1, 100, 70_000, content.len() - 3, content.len() - 1] {
            let mut smtp = server.smtp_open();
            smtp.begin_data("someone@remote.example", &["ann@to.example"]);
            smtp.send(&content[..octets]);
            drop(smtp);
            let mut smtp = server.smtp_open();
            smtp.begin("someone@remote.example", &["ann@to.example"]);
            smtp.bdat(&content[..octets.min(100_000)], false).must("250");
            drop(smtp);
        }
        // Whatever is still on its way has to get there first.
        thread::sleep(Duration::from_secs(1));
        assert_eq!(hop.taken_so_far(), [], "{extension}");
        let mut smtp = server.smtp_open();
        dialog(&mut smtp, &mail::small("whole")).must("250");
        mail::assert_same_octets(&hop.taken(1)[0].octets, &mail::small("whole"));
    }
}

/// The client is held back by the server behind, and what is held meanwhile is bounded.
#[test]
fn a_server_behind_that_does_not_read_holds_the_client_back() {
    let hop = NextHop::start().always(Body, STALL);
    let server = before_with(hop.address, "tls = \"none\"", "command_timeout = \"8s\"")
        .sections("[limits]\nmessage = \"1 GiB\"")
        .log_level("info")
        .start();
    let resident = || server.metric("process_resident_memory_bytes");
    let mut smtp = server.smtp_open();
    smtp.begin_data("someone@remote.example", &["ann@to.example"]);
    let before = resident();
    let block = b"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop\r\n".repeat(16 * 1024);
    let (sent, is_over) = (&AtomicUsize::new(0), &AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(move || {
            // Given up on, the server behind holds nobody back any more: the rest is read and dropped.
            while !is_over.load(Ordering::Relaxed) && smtp.wire().try_send(&block).is_ok() {
                sent.fetch_add(block.len(), Ordering::Relaxed);
            }
        });
        thread::sleep(Duration::from_secs(5));
        let (grown, sent) = (resident() - before, sent.load(Ordering::Relaxed));
        is_over.store(true, Ordering::Relaxed);
        assert!(grown < 16.0 * MEBI, "{grown} octets are held");
        assert!(sent < 64 * 1024 * 1024, "{sent} octets were taken for a server that reads nothing");
    });
}

const MEBI: f64 = 1024.0 * 1024.0;

/// In the clear, before TLS: nothing of it may be believed inside.
#[test]
fn replies_around_starttls_are_not_taken_for_replies_inside_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    gatepost_tests::trust::write_certificate_for(&["hop.example"], &certificate, &key);
    let injections = [
        Reaction::Write(b"220 go on\r\n250-hop.example\r\n250 AUTH PLAIN\r\n"),
        Reaction::Write(b"220 go on\r\n250 ok\r\n"),
        Reaction::Write(b"220-go\r\n220 on\r\n220 again\r\n"),
        Reaction::Twice,
    ];
    for (number, injection) in injections.into_iter().enumerate() {
        let hop = NextHop::start_tls(&certificate, &key).always(At::StartTls, injection);
        let keys = format!("tls = \"verified\"\ntls_name = \"hop.example\"\nauthorities = {certificate:?}");
        let server = before_with(hop.address, &keys, "").start();
        let mut smtp = server.smtp_open();
        dialog(&mut smtp, &mail::small("injected")).must("451 4.4.1");
        smtp.quit();
        assert_eq!(hop.taken_so_far(), [], "{number}");
        hop.mend();
        wait_until("a mended server is used again", || {
            dialog(&mut server.smtp_open(), &mail::small("mended")).is("250")
        });
        assert!(hop.taken_so_far().iter().all(|taken| taken.in_tls));
    }
}
