//! The server that a theme's attacks are sent to, and what would show that one of them did harm.

use std::cell::Cell;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::user::User;

/// A running server with a listener that asks nobody for AUTH. `me@localhost` must never get a mail; what is meant to be
/// taken goes to `you@localhost`.
pub struct Arena {
    pub server: Server,
    /// Nobody must connect to it.
    trap: TcpListener,
    /// No command may make it.
    marker: PathBuf,
    /// Mails that rows have had accepted on purpose.
    accepted: Cell<u32>,
    peak_before: Cell<u64>,
}

// === impl Arena ===

impl Arena {
    /// With these sections in its configuration.
    pub fn open(sections: &str) -> Self {
        Self::around(Setup::new().open_listener().sections(sections))
    }

    /// With these users' server.
    pub fn around(setup: Setup) -> Self {
        let server = setup.user("you@localhost").start();
        let trap = TcpListener::bind("127.0.0.1:0").expect("a free port");
        trap.set_nonblocking(true).expect("a listener can be non-blocking");
        let marker = server.folder().join("executed");
        let arena = Self { server, trap, marker, accepted: Cell::default(), peak_before: Cell::default() };
        // What ordinary work takes is no harm.
        arena.deliver(&mail::small("ordinary"));
        arena.peak_before.set(arena.peak_memory());
        arena
    }

    /// A session on the listener without AUTH, EHLO said.
    pub fn smtp(&self) -> Smtp {
        self.server.smtp_open()
    }

    /// The recipient of mails that are taken on purpose.
    pub fn you(&self) -> &User {
        &self.server.users[1]
    }

    /// A shell command that would leave a trace.
    pub fn command(&self) -> String {
        format!("touch {}", self.marker.display())
    }

    /// An address that nobody must connect to.
    pub fn trap(&self) -> String {
        self.trap.local_addr().expect("a bound socket has an address").to_string()
    }

    /// A row has had a mail accepted on purpose.
    pub fn expect_mail(&self) {
        self.accepted.set(self.accepted.get() + 1);
    }

    /// Sends this mail, which must be accepted, and returns what was stored of it. It is deleted then.
    pub fn deliver(&self, content: &[u8]) -> Vec<u8> {
        let mut smtp = self.smtp();
        smtp.mail("someone@remote.example", &["you@localhost"], content).must("250 2.0.0");
        smtp.quit();
        self.expect_mail();
        mail::below_trace(&self.collect()).to_vec()
    }

    /// The one mail of `you@localhost`, once it is there. It is deleted then.
    pub fn collect(&self) -> Vec<u8> {
        let start = Instant::now();
        loop {
            let mut pop3 = self.server.pop3_as(self.you());
            if pop3.count() > 0 {
                let stored = pop3.multi("RETR 1");
                pop3.must("DELE 1");
                pop3.quit();
                return stored;
            }
            pop3.quit();
            assert!(start.elapsed() < DELIVERY, "the mail does not arrive");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server answers at once, has grown by little, has run nothing, called nobody, and taken no mail but those that
    /// were meant to be.
    ///
    /// # Panics
    /// When one of these is not so.
    pub fn assert_unharmed(&self) {
        let start = Instant::now();
        let mut smtp = self.smtp();
        smtp.say("NOOP").must("250 2.0.0");
        smtp.quit();
        assert!(start.elapsed() < LATENCY, "a new session took {:?}", start.elapsed());

        let grown = self.peak_memory().saturating_sub(self.peak_before.get());
        assert!(grown < MEMORY_KIB, "the server has grown by {grown} KiB");
        assert!(!self.marker.exists(), "a command was executed");
        assert_eq!(self.children(), "", "the server has started a program");
        let called = self.trap.accept();
        assert!(called.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "somebody was called");
        let accepted = self.server.metric("gatepost_edge_mails_accepted_total");
        assert_eq!(accepted, f64::from(self.accepted.get()), "a mail was accepted");
    }

    /// Behind all rows: `me@localhost` has nothing, and no thread has panicked.
    ///
    /// # Panics
    /// When it is not so.
    pub fn close(self) {
        self.server.assert_no_mail();
        assert!(!self.server.log().contains("panicked"), "a thread has panicked");
    }

    /// In KiB.
    fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid())).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        peak.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn children(&self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.server.pid())).expect("its threads");
        // A thread may end meanwhile, and a kernel may not tell.
        let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
        tasks.flatten().filter_map(children).collect()
    }
}

/// On a busy machine. An attack that holds the server up takes it longer.
const LATENCY: Duration = Duration::from_secs(10);
/// A few sessions at their limits and what is unpacked for the scanner; a password check that took memory anew would pass it
/// after some log-ins.
const MEMORY_KIB: u64 = 64 * 1024;
const DELIVERY: Duration = Duration::from_secs(60);
