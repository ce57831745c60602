//! What mail servers with a virus scanner once did wrong, by the numbers of the articles that told of it: mail stuck in the outbox
//! while a scan is slow (KB263947), a forwarding rule given up because an attachment was busy (KB271711), a committed message
//! rewritten under its readers (KB315086), and programs that fetch in bulk running into time-outs (KB264731).

use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::clients::{self, Tls};
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::slow_scanner::{SLOW, SlowScanner};
use gatepost_tests::user::User;
use gatepost_tests::{mail, wait_until};

const ME: &str = "me@localhost";
const MARKER: &str = "GATEPOST-KNOWN-ONLY-LATER";

fn slow(subject: &str) -> Vec<u8> {
    mail::message(subject, format!("{SLOW}\r\n").as_bytes())
}

fn subjects(inbox: &[Vec<u8>]) -> Vec<String> {
    inbox.iter().filter_map(|stored| mail::field(stored, "Subject")).collect()
}

fn uids(list: &[u8]) -> Vec<String> {
    let list = std::str::from_utf8(list).expect("ASCII");
    list.lines().map(|line| line.split(' ').nth(1).expect("a uid").to_owned()).collect()
}

/// KB263947.
#[test]
fn a_mail_whose_scan_is_slow_leaves_its_outbox_and_holds_up_no_other() {
    let scanner = SlowScanner::start();
    let sections = format!("[scan]\nsession_budget = \"2s\"\n{}", scanner.engine());
    let server = Setup::new().sections(&sections).start();
    scanner.be_busy();
    let content = slow("slow");
    thread::scope(|scope| {
        let sent = scope.spawn(|| clients::swaks(&server, Tls::StartTls, "PLAIN", ME, &content));
        wait_until("the scanner has the slow mail", || scanner.held() > 0);
        // By another program, while the first one waits for its reply.
        clients::curl_send(&server, Tls::Implicit, &[ME], &mail::small("beside")).succeed();
        assert_eq!(subjects(&server.inbox(1)), ["beside"]);
        let outcome = sent.join().expect("swaks ends");
        assert_eq!(outcome.code(), 0, "it is not left in the outbox: {outcome}");
    });
    let mut smtp = server.smtp_as_me();
    smtp.mail(ME, &[ME], &mail::small("behind")).must("250 2.0.0");
    smtp.quit();
    assert_eq!(subjects(&server.inbox(2)), ["beside", "behind"], "nothing unscanned is delivered");
    scanner.go_on();
    let inbox = server.inbox(3);
    mail::assert_same_octets(mail::below_trace(&inbox[2]), &content);
    server.wait_for_empty_queue();
    assert_eq!(server.inbox(3).len(), 3, "once, and nobody is told of anything");
}

/// KB271711.
#[test]
fn an_alias_goes_on_forwarding_while_what_came_by_it_is_with_the_scanner() {
    let (scanner, hop) = (SlowScanner::start(), NextHop::start());
    let sections = format!(
        "[scan]\nsession_budget = \"1s\"\n{}timeout = \"3s\"\n[delivery.remote]\nenabled = true\n\
         [[route]]\ndomains = [\"*\"]\nhops = [\"{}\"]\n",
        scanner.engine(),
        hop.address
    );
    let setup = Setup::new().open_listener().sections(&sections);
    let server = setup.alias("away@localhost", "ann@to.example").start();
    let send = |content: &[u8]| {
        let mut smtp = server.smtp_open();
        let id =
            smtp.mail("someone@remote.example", &["away@localhost"], content).must("250 2.0.0").queue_id();
        smtp.quit();
        id
    };
    scanner.be_busy();
    let id = send(&slow("busy"));
    wait_until("it is put off, and not given up", || {
        let listed = server.cli(["queue", "list"]).succeed().text();
        listed.contains(&id) && listed.contains("waiting for a virus scan")
    });
    let beside = mail::small("beside");
    send(&beside);
    assert!(hop.taken(1)[0].octets.ends_with(&beside));
    scanner.go_on();
    server.cli(["queue", "retry", "--all"]).succeed();
    assert!(hop.taken(2)[1].octets.ends_with(&slow("busy")));
    let behind = mail::small("behind");
    send(&behind);
    let taken = hop.taken(3);
    assert!(taken[2].octets.ends_with(&behind));
    // All three for her, and no notification to the sender among them.
    assert!(taken.iter().all(|taken| taken.is_for("ann@to.example")), "{taken:?}");
    let aliases = server.cli(["alias", "list"]).succeed().text();
    assert!(aliases.contains("away@localhost") && aliases.contains("ann@to.example"), "{aliases}");
}

/// KB315086.
#[test]
fn what_is_taken_out_of_a_stored_message_changes_nothing_under_a_name_that_readers_have() {
    let scanner = SlowScanner::start();
    let sections = format!(
        "[scan]\ninfected_in_mailbox = \"delete-part\"\n{}[scan.background]\nenabled = false\n",
        scanner.engine()
    );
    let server = Setup::new().sections(&sections).start();
    let late = mail::with_attachment("late", "late.bin", MARKER.as_bytes());
    let mut smtp = server.smtp_as_me();
    for content in [&mail::small("first"), &late, &mail::small("last")] {
        smtp.mail(ME, &[ME], content).must("250 2.0.0");
        server.wait_for_empty_queue();
    }
    smtp.quit();
    let before = server.inbox(3);
    let mut reader = server.pop3_as(server.me());
    let (listed, sizes) = (reader.multi("UIDL"), reader.multi("LIST"));

    scanner.learn(MARKER);
    server.cli(["scan", "reload"]).succeed();
    server.cli(["scan", "background", "start"]).succeed();
    wait_until("the message is rewritten", || {
        server.metric("gatepost_virus_scan_files_removed_total") >= 1.0
    });

    // The open session knows what it knew, and never gets other octets under a number or a name of it.
    assert_eq!((reader.multi("UIDL"), reader.multi("LIST")), (listed.clone(), sizes));
    assert!(reader.say("RETR 2").starts_with("-ERR"));
    for number in [1, 3] {
        mail::assert_same_octets(&reader.multi(&format!("RETR {number}")), &before[number - 1]);
    }
    reader.quit();

    let mut reader = server.pop3_as(server.me());
    let (old, new) = (uids(&listed), uids(&reader.multi("UIDL")));
    assert_eq!(new.len(), 3);
    assert_eq!(new[..2], [old[0].clone(), old[2].clone()], "the others keep their names");
    assert!(!old.contains(&new[2]), "what is left has a name of its own");
    for (number, octets) in uids(&reader.multi("LIST")).iter().enumerate() {
        let retrieved = reader.multi(&format!("RETR {}", number + 1));
        assert_eq!(*octets, retrieved.len().to_string(), "message {} is as long as it is listed", number + 1);
    }
    let left = reader.multi("RETR 3");
    reader.quit();
    assert!(mail::field(&left, "X-Gatepost-Rewritten").is_some());
    let gone = server.cli(["mailbox", "show", ME, "2"]).outcome();
    assert_eq!(gone.code(), 1);
    assert!(gone.stderr.contains("there is no message 2"), "{gone}");
    assert_eq!(server.cli(["mailbox", "show", ME, "4"]).succeed().stdout, left);
}

/// KB264731.
#[test]
fn a_program_that_fetches_everything_gets_all_that_can_be_vouched_for_and_comes_again_for_the_rest() {
    let scanner = SlowScanner::start();
    let sections = format!(
        "[scan]\nreader_budget = \"2s\"\n[scan.background]\nmessages_per_second = 0\n{}",
        scanner.engine()
    );
    let server = Setup::new().user("you@localhost").sections(&sections).start();
    let mut smtp = server.smtp_as_me();
    for number in 0..BULK {
        let subject = format!("mail-{number}");
        let content = if number == BULK / 2 { slow(&subject) } else { mail::small(&subject) };
        smtp.mail(ME, &[ME, "you@localhost"], &content).must("250 2.0.0");
    }
    smtp.quit();
    server.wait_for_empty_queue();

    // All of it has to be scanned anew, and the scanner does not come to an end with one.
    scanner.be_busy();
    scanner.learn("ANYTHING");
    server.cli(["scan", "reload"]).succeed();
    let begun = Instant::now();
    let server = &server;
    thread::scope(|scope| {
        let fetching = |user| scope.spawn(move || fetch_all(server, user));
        for reader in server.users.iter().map(fetching).collect::<Vec<_>>() {
            let (got, refused) = reader.join().expect("a reader");
            assert_eq!((got, refused), (BULK - 1, vec![BULK / 2 + 1]));
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    scanner.go_on();
    wait_until("the rest comes as well", || {
        let mut pop3 = server.pop3_as(server.me());
        let answer = pop3.say(&format!("RETR {}", BULK / 2 + 1));
        assert!(answer.starts_with("+OK") || answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
        answer.starts_with("+OK")
    });
    let fetched = clients::curl_read(server, Tls::Implicit, BULK / 2 + 1).succeed();
    assert_eq!(mail::field(&fetched.stdout, "Subject"), Some(format!("mail-{}", BULK / 2)));
}

/// In one session: how many came, and the numbers of those that are to be asked for again.
fn fetch_all(server: &Server, user: &User) -> (usize, Vec<usize>) {
    let (mut pop3, mut refused) = (server.pop3_as(user), Vec::new());
    for number in 1..=pop3.count() {
        let answer = pop3.say(&format!("RETR {number}"));
        if answer.starts_with("+OK") {
            while pop3.wire().line() != b"." {}
        } else {
            assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{answer}");
            refused.push(number);
        }
    }
    let got = pop3.count() - refused.len();
    pop3.quit();
    (got, refused)
}

const BULK: usize = 40;
