//! The server under test: the real binary in a folder and on ports of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::command::Run;
use crate::pop3::Pop3;
use crate::process::Process;
use crate::setup::{self, Setup};
use crate::smtp::Smtp;
use crate::user::User;
use crate::{binary, http, trust};

/// A running server. Dropped, it is killed; after a failed test its log is shown.
#[derive(Debug)]
pub struct Server {
    pub(crate) process: Process,
    pub(crate) folder: TempDir,
    /// Without one it runs on the embedded default, at home in `folder`.
    pub(crate) config: Option<PathBuf>,
    pub(crate) data: PathBuf,
    pub(crate) certificate: PathBuf,
    /// Then its "log" is the screen, on which the first password is meant to be seen.
    pub(crate) on_terminal: bool,
    /// Where it listens.
    pub ports: Ports,
    /// Who has an account, in the order of `Setup::user`.
    pub users: Vec<User>,
}

/// The ports of a server, all on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// SMTP with STARTTLS.
    pub starttls: u16,
    /// SMTP in TLS.
    pub implicit: u16,
    /// SMTP without AUTH, where asked for.
    pub open: u16,
    /// POP3 with STLS.
    pub pop3: u16,
    /// POP3 in TLS.
    pub pop3s: u16,
    /// HTTP.
    pub admin: u16,
}

// === impl Server ===

impl Server {
    /// A server with one user, `me@localhost`.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start() -> Self {
        Setup::new().start()
    }

    /// Adds a user beside the running server.
    ///
    /// # Panics
    /// When the command fails.
    pub fn add_user(&mut self, name: &str) {
        let user = User::random(name);
        self.cli(["user", "add", name, "--password-stdin"]).stdin(format!("{}\n", user.password)).succeed();
        self.users.push(user);
    }

    /// Waits until the running server knows a recipient that the command line has added beside it.
    ///
    /// # Panics
    /// When it does not get to know him.
    pub fn wait_for_recipient(&self, address: &str) {
        let mut smtp = self.smtp_as_me();
        smtp.say("MAIL FROM:<me@localhost> SMTPUTF8").must("250 2.1.0");
        let start = Instant::now();
        while smtp.say(&format!("RCPT TO:<{address}>")).code != 250 {
            assert!(start.elapsed() < DELIVERY, "the server does not get to know {address}");
            thread::sleep(Duration::from_millis(500));
        }
        smtp.quit();
    }

    /// Starts it again over the same data, after `kill` or `stop`.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn restart(&mut self) {
        self.respawn();
        self.process.wait_until_ready(self.ports.admin);
    }

    /// As `restart`, without waiting for anything.
    pub fn respawn(&mut self) {
        self.process = setup::spawn(self.folder.path(), self.config.as_deref());
    }

    /// Starts it again by a command of the test's own, after `kill` or `stop`. Its standard error goes to the same log.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn restart_by(&mut self, command: Command, environment: &[(&str, &Path)]) {
        self.process = Process::spawn_command(command, &self.folder.path().join("log"), environment);
        self.process.wait_until_ready(self.ports.admin);
    }

    /// The user `me@localhost`.
    #[must_use]
    pub fn me(&self) -> &User {
        &self.users[0]
    }

    /// The test's own folder; `data`, `cert.pem`, `key.pem`, `gatepost.toml` and `log` lie in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// The data folder as the server sees it, where that is on a file system of its own.
    #[must_use]
    pub fn inner_data(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(self.data.strip_prefix("/").unwrap_or(&self.data))
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.certificate.clone()
    }

    /// The configuration file.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn config(&self) -> &Path {
        self.config.as_deref().expect("a configuration file")
    }

    /// A client that trusts this server alone.
    #[must_use]
    pub fn trust(&self) -> Arc<ClientConfig> {
        trust::only(&self.certificate())
    }

    /// SMTP in the clear, greeting read, nothing said.
    #[must_use]
    pub fn smtp(&self) -> Smtp {
        Smtp::connect(self.ports.starttls)
    }

    /// SMTP inside TLS (by STARTTLS), EHLO said, nobody authenticated.
    #[must_use]
    pub fn smtp_in_tls(&self) -> Smtp {
        let mut smtp = self.smtp();
        smtp.starttls(self.trust());
        smtp
    }

    /// SMTP as `me@localhost`.
    #[must_use]
    pub fn smtp_as_me(&self) -> Smtp {
        self.smtp_as(self.me())
    }

    /// SMTP as this user.
    #[must_use]
    pub fn smtp_as(&self, user: &User) -> Smtp {
        let mut smtp = self.smtp_in_tls();
        smtp.auth(user);
        smtp
    }

    /// SMTP on the listener without AUTH, EHLO said.
    #[must_use]
    pub fn smtp_open(&self) -> Smtp {
        let mut smtp = Smtp::connect(self.ports.open);
        smtp.say("EHLO client.example").must("250");
        smtp
    }

    /// POP3 as this user.
    #[must_use]
    pub fn pop3_as(&self, user: &User) -> Pop3 {
        let mut pop3 = Pop3::connect_tls(self.ports.pop3s, self.trust());
        pop3.login(user);
        pop3
    }

    /// All mails of `me@localhost`, once there are `count` of them.
    ///
    /// # Panics
    /// When that takes too long, or there are more.
    #[must_use]
    pub fn inbox(&self, count: usize) -> Vec<Vec<u8>> {
        self.inbox_of(self.me(), count)
    }

    /// All mails of this user, in the order of their arrival, once there are `count` of them.
    ///
    /// # Panics
    /// When that takes too long, or there are more.
    #[must_use]
    pub fn inbox_of(&self, user: &User, count: usize) -> Vec<Vec<u8>> {
        let start = Instant::now();
        loop {
            let mut pop3 = self.pop3_as(user);
            let found = pop3.count();
            if found >= count {
                assert_eq!(found, count, "more mails than were sent to {}", user.name);
                let mails = (1..=found).map(|number| pop3.multi(&format!("RETR {number}"))).collect();
                pop3.quit();
                return mails;
            }
            pop3.quit();
            assert!(start.elapsed() < DELIVERY, "{found} of {count} mails have reached {}", user.name);
            thread::sleep(POLL);
        }
    }

    /// Nothing is in the mailbox, and nothing comes: the queue holds no mail either.
    ///
    /// # Panics
    /// When there is a mail.
    pub fn assert_no_mail(&self) {
        self.wait_for_empty_queue();
        assert_eq!(self.inbox(0), Vec::<Vec<u8>>::new());
    }

    /// Waits until every queued mail has been disposed of.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_empty_queue(&self) {
        let start = Instant::now();
        loop {
            let list = self.cli(["queue", "list", "--json"]).succeed().text();
            let queued: serde_json::Value =
                serde_json::from_str(&list).expect("queue list --json prints JSON");
            if queued.as_array().expect("an array").is_empty() {
                return;
            }
            assert!(start.elapsed() < DELIVERY, "the queue does not get empty: {list}");
            thread::sleep(POLL);
        }
    }

    /// Prepares a `gatepost` command with this server's configuration.
    #[must_use]
    pub fn cli<const N: usize>(&self, args: [&str; N]) -> Run {
        let run = Run::new(binary::gatepost()).clean_environment().env("HOME", self.folder.path()).args(args);
        match &self.config {
            Some(config) => run.arg("--config").arg(config),
            None => run,
        }
    }

    /// GET from the admin address.
    ///
    /// # Panics
    /// When nothing listens there.
    #[must_use]
    pub fn http(&self, path: &str) -> (u16, String) {
        http::get(self.ports.admin, path).expect("the admin address answers")
    }

    /// The sum over all label sets of a metric.
    ///
    /// # Panics
    /// When there is no such metric.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.http("/metrics");
        let samples: Vec<f64> = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .map(|line| {
                line.rsplit(' ')
                    .next()
                    .and_then(|value| value.parse().ok())
                    .expect("a sample ends in a number")
            })
            .collect();
        assert!(!samples.is_empty(), "no metric {name} in:\n{text}");
        samples.iter().sum()
    }

    /// What the event log has of these names, in its order.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn events(&self, names: &[&str]) -> Vec<serde_json::Value> {
        let folders = [self.inner_data(), self.data()].map(|data| data.join("events"));
        let mut files: Vec<PathBuf> = folders
            .iter()
            .find_map(|folder| fs::read_dir(folder).ok())
            .expect("an event log")
            .flatten()
            .map(|file| file.path())
            .collect();
        files.sort();
        let lines: String = files.iter().map(|file| fs::read_to_string(file).expect("a log")).collect();
        let events = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        events.filter(|event: &serde_json::Value| names.iter().any(|name| event["event"] == *name)).collect()
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; it must end by itself with exit code 0.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.process.wait(Duration::from_secs(40));
        assert_eq!(status.code(), Some(0), "SIGTERM is a clean end\n{}", self.log());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit)
    }

    /// All that it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the log says this.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < DELIVERY, "the log does not say {text:?}");
            thread::sleep(POLL);
        }
    }
}

/// Every regular file below a folder.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

/// A busy machine, a debug build and 1,000 mails.
const DELIVERY: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
