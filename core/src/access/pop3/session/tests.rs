//! Dialogs on virtual time with a driver of few lines: `script` plays a client and the rooms behind the session.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use gatepost_smtp::server::{Identity, TlsMode};
use proptest::prelude::*;

use super::super::contract::{Entry, Limits, Maildrop, Question};
use super::*;
use crate::directory::Password;

#[test]
fn a_mail_is_listed_read_and_deleted() {
    let mut site = Site::secured();
    site.says("USER me@localhost\r\nPASS pencil\r\nSTAT\r\nLIST\r\nLIST 2\r\nUIDL\r\nUIDL 1\r\nRETR 1\r\n");
    assert_eq!(
        site.heard(),
        "+OK Gatepost POP3 ready\r\n+OK now PASS\r\n+OK 2 messages, 35 octets\r\n+OK 2 35\r\n\
         +OK\r\n1 20\r\n2 15\r\n.\r\n+OK 2 15\r\n+OK\r\n1 77.3\r\n2 77.9\r\n.\r\n+OK 1 77.3\r\n\
         +OK message follows\r\na: b\r\n\r\n..dot\r\nend\r\n.\r\n"
    );
    site.says(
        "TOP 1 1\r\nDELE 1\r\nDELE 1\r\nRETR 1\r\nLIST\r\nSTAT\r\nNOOP\r\nRSET\r\nSTAT\r\nDELE 2\r\nQUIT\r\n",
    );
    assert_eq!(
        site.heard(),
        "+OK message follows\r\na: b\r\n\r\n..dot\r\n.\r\n+OK marked as deleted\r\n\
         -ERR message is marked as deleted\r\n-ERR message is marked as deleted\r\n+OK\r\n2 15\r\n.\r\n+OK 1 15\r\n\
         +OK\r\n+OK\r\n+OK 2 35\r\n+OK marked as deleted\r\n+OK goodbye\r\n"
    );
    assert_eq!((site.deleted, site.closed), (vec![9], Some(CloseReason::Quit)));
}

#[test]
fn sasl_plain_logs_in_with_and_without_an_initial_response() {
    let response = BASE64_STANDARD.encode("\0me@localhost\0pencil");
    for script in [format!("AUTH PLAIN {response}\r\n"), format!("auth plain\r\n{response}\r\n")] {
        let mut site = Site::secured();
        site.says(&script);
        assert!(site.heard().ends_with("+OK 2 messages, 35 octets\r\n"), "{script}");
        assert_eq!(site.session.user(), Some("me@localhost"));
    }
}

#[test]
fn sasl_is_cancelled_refused_for_others_and_bounded_to_plain() {
    let other = BASE64_STANDARD.encode("you@localhost\0me@localhost\0pencil");
    let mut site = Site::secured();
    site.says(&format!("AUTH PLAIN\r\n*\r\nAUTH LOGIN\r\nAUTH PLAIN !\r\nAUTH PLAIN {other}\r\n"));
    let heard = site.heard();
    let replies: Vec<&str> = heard.lines().skip(1).collect();
    assert_eq!(replies[0], "+ ");
    assert!(replies[1..].iter().all(|reply| reply.starts_with("-ERR")), "{replies:?}");
    assert_eq!((site.session.user(), site.asked), (None, 0));
}

#[test]
fn no_password_is_taken_outside_of_tls() {
    for tls in [TlsMode::StartTls, TlsMode::None] {
        let mut site = Site::open(tls, false, Limits::default());
        site.says("CAPA\r\nUSER me@localhost\r\nPASS pencil\r\nAUTH PLAIN AG1lAHBlbmNpbA==\r\nSTAT\r\n");
        let heard = site.heard();
        assert_eq!(heard.matches("-ERR [AUTH] passwords are taken inside TLS only").count(), 3, "{heard}");
        assert!(!heard.contains("\r\nUSER\r\n") && !heard.contains("SASL"), "{heard}");
        assert_eq!(heard.contains("\r\nSTLS\r\n"), tls == TlsMode::StartTls);
        assert_eq!(site.asked, 0);
    }
}

#[test]
fn stls_starts_a_session_that_knows_nothing_of_the_old_one() {
    let mut site = Site::open(TlsMode::StartTls, false, Limits::default());
    site.says("UTF8\r\nSTLS\r\n");
    assert!(site.heard().ends_with("+OK begin TLS\r\n"));
    assert!(site.upgraded);
    site.session = site.session.into_secured(site.now);
    site.says("STLS\r\nPASS pencil\r\nCAPA\r\nUSER me@localhost\r\nPASS pencil\r\n");
    let heard = site.heard();
    assert!(heard.starts_with("-ERR TLS cannot be started here\r\n-ERR USER first\r\n"), "{heard}");
    assert!(heard.contains("SASL PLAIN\r\n") && !heard.contains("STLS\r\n"), "{heard}");
    assert!(heard.ends_with("+OK 2 messages, 35 octets\r\n"), "{heard}");
}

#[test]
fn plaintext_behind_stls_ends_the_session_whenever_it_comes() {
    for split in [false, true] {
        let mut site = Site::open(TlsMode::StartTls, false, Limits::default());
        if split {
            site.says("STLS\r\n");
            site.says("U");
        } else {
            site.says("STLS\r\nUSER me@localhost\r\n");
        }
        assert_eq!(site.closed, Some(CloseReason::PlaintextAfterStls));
        assert_eq!(site.upgraded, split);
    }
}

#[test]
fn three_failures_end_the_session_over_the_handshake_too() {
    let mut site = Site::open(TlsMode::StartTls, false, Limits::default());
    site.says("STLS\r\n");
    site.session = site.session.into_secured(site.now);
    for failures in 1..=3 {
        assert_eq!(site.closed, None, "{failures}");
        site.says("USER me@localhost\r\nPASS ballpoint\r\n");
    }
    assert!(site.heard().ends_with("-ERR [AUTH] too many failures\r\n"));
    assert_eq!(site.closed, Some(CloseReason::TooManyFailures));
}

#[test]
fn ten_errors_are_borne_and_no_more() {
    let mut site = Site::secured();
    site.says(&"RETR 1\r\n".repeat(10));
    assert_eq!(site.closed, None);
    site.says("XTND\r\n");
    assert_eq!(site.closed, Some(CloseReason::TooManyErrors));
}

#[test]
fn a_busy_verifier_and_a_locked_mailbox_are_told_from_a_wrong_password() {
    let mut site = Site::secured();
    for (user, reply) in [
        ("busy@localhost", "-ERR [SYS/TEMP] passwords"),
        ("locked@localhost", "-ERR [IN-USE]"),
        ("broken@localhost", "-ERR [SYS/TEMP] the mailbox"),
        ("you@localhost", "-ERR [AUTH]"),
    ] {
        site.heard();
        site.says(&format!("USER {user}\r\nPASS pencil\r\n"));
        let heard = site.heard();
        assert!(heard.contains(reply), "{heard}");
        assert_eq!((site.session.user(), site.closed), (None, None));
    }
}

#[test]
fn what_the_scan_says_ends_the_command_and_not_the_session() {
    let mut site = Site::secured();
    site.log_in();
    for (answer, reply) in [
        (Answer::Withheld, "-ERR [SYS/PERM] the message is withheld: a virus was found in it\r\n"),
        (
            Answer::Replaced,
            "-ERR [SYS/TEMP] a virus was taken out of the message: the next session has what is left\r\n",
        ),
        (Answer::Unavailable, "-ERR [SYS/TEMP] the message cannot be scanned or read now, try later\r\n"),
        (Answer::Gone, "-ERR [SYS/PERM] the message is gone\r\n"),
    ] {
        site.fetched = answer;
        site.says("RETR 2\r\nTOP 2 0\r\nNOOP\r\n");
        assert_eq!(site.heard(), format!("{reply}{reply}+OK\r\n"));
    }
}

#[test]
fn messages_are_deleted_after_quit_alone() {
    let mut lost = Site::secured();
    lost.log_in();
    lost.says("DELE 1\r\n");
    lost.session.eof();
    lost.drain();
    assert_eq!((lost.deleted, lost.closed), (vec![], Some(CloseReason::PeerClosed)));

    let mut failed = Site::secured();
    failed.log_in();
    failed.store_fails = true;
    failed.says("DELE 1\r\nQUIT\r\n");
    assert!(failed.heard().ends_with("-ERR [SYS/TEMP] marked messages are not deleted, try later\r\n"));
    assert_eq!(failed.closed, Some(CloseReason::NotDeleted));
}

#[test]
fn bad_lines_end_the_session() {
    for script in ["NOOP\n", "NO\rOP\r\n", "NO\0OP\r\n", "\r\r\n"] {
        let mut site = Site::secured();
        site.says(script);
        assert_eq!(site.closed, Some(CloseReason::BadFraming), "{script:?}");
    }
    let mut long = Site::secured();
    long.log_in();
    long.says(&format!("NOOP {}", "x".repeat(250)));
    assert_eq!(long.closed, None);
    long.says("x");
    assert_eq!(long.closed, Some(CloseReason::BadFraming));
}

#[test]
fn a_stranger_has_a_minute_whatever_he_says() {
    let mut site = Site::open(TlsMode::StartTls, false, Limits::default());
    for _ in 0..5 {
        site.passes(Duration::from_secs(10));
        site.says("CAPA\r\n");
    }
    site.says("STLS\r\n");
    site.session = site.session.into_secured(site.now);
    site.passes(Duration::from_secs(9));
    assert_eq!(site.closed, None);
    site.passes(Duration::from_secs(1));
    assert_eq!(site.closed, Some(CloseReason::TimedOut));
}

#[test]
fn a_user_may_be_silent_for_ten_minutes_and_loses_nothing_after_that() {
    let mut site = Site::secured();
    site.log_in();
    site.says("DELE 1\r\n");
    for _ in 0..3 {
        site.passes(Duration::from_secs(599));
        site.says("NOOP\r\n");
    }
    assert_eq!(site.closed, None);
    site.passes(Duration::from_secs(600));
    assert_eq!((site.closed, site.deleted), (Some(CloseReason::TimedOut), vec![]));
}

#[test]
fn a_long_download_does_not_count_as_silence() {
    let mut site = Site::secured();
    site.log_in();
    site.heard();
    site.fetched = Answer::Message(Bytes::from(vec![b'x'; 200_000]));
    site.ask_only("RETR 1\r\n");
    while let Some(output) = site.session.poll(site.now) {
        assert!(matches!(output, Output::Send(_)));
        site.passes_in_transfer(Duration::from_secs(300));
    }
    site.passes(Duration::from_secs(599));
    assert_eq!(site.closed, None);
}

#[test]
fn shutdown_waits_for_the_command_at_hand() {
    let mut site = Site::secured();
    site.log_in();
    site.heard();
    site.ask_only("DELE 2\r\nRETR 1\r\nNOOP\r\n");
    site.session.shutdown();
    site.drain();
    assert_eq!(
        site.heard(),
        "+OK marked as deleted\r\n+OK message follows\r\na: b\r\n\r\n..dot\r\nend\r\n.\r\n\
         -ERR [SYS/TEMP] going down, try later\r\n"
    );
    assert_eq!((site.closed, site.deleted), (Some(CloseReason::Shutdown), vec![]));
}

#[test]
fn a_stale_answer_is_ignored() {
    let mut site = Site::secured();
    site.says("USER me@localhost\r\n");
    site.session.answer(site.now, Ticket(0), Answer::Authenticated(identity("me@localhost")));
    site.session.answer(site.now, Ticket(1), Answer::Authenticated(identity("me@localhost")));
    site.drain();
    assert_eq!(site.session.user(), None);
}

proptest! {
    #[test]
    fn any_split_of_the_same_octets_gives_the_same_session(
        commands in prop::collection::vec(command(), 0..12),
        cuts in prop::collection::vec(1..20_usize, 0..20),
    ) {
        let script = commands.concat();
        let mut whole = Site::secured();
        whole.says(&script);
        let mut split = Site::secured();
        let mut rest = script.as_bytes();
        for cut in cuts {
            let (head, tail) = rest.split_at(cut.min(rest.len()));
            split.feeds(head);
            rest = tail;
        }
        split.feeds(rest);
        prop_assert_eq!(whole.heard(), split.heard());
        prop_assert_eq!((whole.closed, whole.deleted, whole.asked), (split.closed, split.deleted, split.asked));
    }

    #[test]
    fn no_octets_make_the_session_panic_and_each_session_closes_once(
        octets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        secured in any::<bool>(),
    ) {
        let mut site = Site::open(TlsMode::StartTls, secured, Limits::default());
        for octets in octets {
            site.feeds(&octets);
        }
        site.session.eof();
        site.drain();
        prop_assert!(site.closed.is_some());
    }
}

fn command() -> impl Strategy<Value = String> {
    let response = BASE64_STANDARD.encode("\0me@localhost\0pencil");
    prop_oneof![
        3 => Just("USER me@localhost\r\nPASS pencil\r\n".to_owned()),
        1 => Just("USER me@localhost\r\nPASS ballpoint\r\n".to_owned()),
        2 => Just(format!("AUTH PLAIN\r\n{response}\r\n")),
        8 => "(STAT|LIST|UIDL|NOOP|RSET|CAPA|UTF8|(LIST|UIDL|RETR|DELE) [0-3]|TOP [0-3] [0-3])\r\n",
        1 => "[A-Z ]{0,8}(\r\n|\n|\r)",
        1 => Just("QUIT\r\n".to_owned()),
    ]
}

struct Site {
    session: Session,
    now: Instant,
    heard: String,
    asked: usize,
    deleted: Vec<u32>,
    upgraded: bool,
    closed: Option<CloseReason>,
    /// The answer to the next questions for a message.
    fetched: Answer,
    store_fails: bool,
    /// Asked, and not answered before `drain`.
    question: Option<(Ticket, Question)>,
}

impl Site {
    fn secured() -> Self {
        Self::open(TlsMode::Implicit, true, Limits::default())
    }

    fn open(tls: TlsMode, secured: bool, limits: Limits) -> Self {
        let now = Instant::now();
        let session = Session::open(Arc::new(Config { tls, limits }), secured, now);
        Self {
            session,
            now,
            heard: String::new(),
            asked: 0,
            deleted: Vec::new(),
            upgraded: false,
            closed: None,
            fetched: Answer::Message(Bytes::from_static(b"a: b\r\n\r\n.dot\r\nend\r\n")),
            store_fails: false,
            question: None,
        }
    }

    fn log_in(&mut self) {
        self.says("USER me@localhost\r\nPASS pencil\r\n");
        assert!(self.heard().contains("+OK 2 messages"));
    }

    fn says(&mut self, octets: &str) {
        self.feeds(octets.as_bytes());
    }

    fn feeds(&mut self, mut octets: &[u8]) {
        self.drain();
        while !octets.is_empty() && self.closed.is_none() {
            let taken = self.session.feed(self.now, octets);
            octets = &octets[taken..];
            let heard = self.heard.len();
            self.drain();
            assert!(taken > 0 || self.heard.len() > heard || self.closed.is_some(), "no progress");
        }
    }

    /// Says something up to its first question and leaves that open, its message begun.
    fn ask_only(&mut self, octets: &str) {
        let _ = self.session.feed(self.now, octets.as_bytes());
        while let Some(output) = self.session.poll(self.now) {
            self.takes(output);
        }
        let (ticket, question) = self.question.take().expect("a question");
        let answer = self.answers(&question);
        self.session.answer(self.now, ticket, answer);
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.session.poll(self.now) {
                self.takes(output);
            }
            let Some((ticket, question)) = self.question.take() else {
                return;
            };
            assert!(self.session.is_waiting() || self.closed.is_some());
            let answer = self.answers(&question);
            self.session.answer(self.now, ticket, answer);
        }
    }

    fn takes(&mut self, output: Output) {
        assert_eq!(self.closed, None, "nothing comes behind Close: {output:?}");
        match output {
            Output::Send(octets) => self.heard.push_str(std::str::from_utf8(&octets).unwrap()),
            Output::Ask(ticket, question) => {
                self.asked += 1;
                assert!(self.question.replace((ticket, question)).is_none(), "one question at a time");
            }
            Output::Upgrade => self.upgraded = true,
            Output::Close(reason) => self.closed = Some(reason),
        }
    }

    fn answers(&mut self, question: &Question) -> Answer {
        match question {
            Question::Authenticate { user, .. } if user == "busy@localhost" => Answer::Unavailable,
            Question::Authenticate { user, password } => {
                let is_right = *password == Password::prepare(b"pencil").unwrap() && user != "you@localhost";
                if is_right { Answer::Authenticated(identity(user)) } else { Answer::NotAuthenticated }
            }
            Question::Open { identity } if identity.user == "locked@localhost" => Answer::InUse,
            Question::Open { identity } if identity.user == "broken@localhost" => Answer::Unavailable,
            Question::Open { .. } => Answer::Opened(Maildrop {
                uid_validity: 77,
                entries: vec![Entry { uid: 3, octets: 20 }, Entry { uid: 9, octets: 15 }],
            }),
            Question::Fetch { .. } => self.fetched.clone(),
            Question::Delete { .. } if self.store_fails => Answer::Unavailable,
            Question::Delete { uids } => {
                self.deleted.extend(uids);
                Answer::Deleted
            }
        }
    }

    fn heard(&mut self) -> String {
        self.drain();
        std::mem::take(&mut self.heard)
    }

    fn passes(&mut self, time: Duration) {
        self.drain();
        self.passes_in_transfer(time);
        self.drain();
    }

    fn passes_in_transfer(&mut self, time: Duration) {
        self.now += time;
        self.session.tick(self.now);
    }
}

fn identity(user: &str) -> Identity {
    Identity::of_user(user.to_owned())
}
