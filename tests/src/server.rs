//! The server under test: the real binary in a folder and on ports of its own.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::command::Run;
use crate::pop3::Pop3;
use crate::smtp::{Smtp, plain_response};
use crate::{binary, http, ports, trust};

/// What a test wants to run. The default: AUTH everywhere, one user `me@localhost`.
#[derive(Debug)]
pub struct Setup {
    users: Vec<String>,
    aliases: Vec<(String, String)>,
    open_listener: bool,
    server_keys: String,
    listener_keys: String,
    sections: String,
    tmpfs: Option<&'static str>,
}

/// A running server. Dropped, it is killed; after a failed test its log is shown.
#[derive(Debug)]
pub struct Server {
    process: Process,
    folder: TempDir,
    /// Without one it runs on the embedded default, at home in `folder`.
    config: Option<PathBuf>,
    data: PathBuf,
    certificate: PathBuf,
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

/// An account.
#[derive(Debug, Clone)]
pub struct User {
    /// The account's name, which is its address.
    pub name: String,
    /// Random.
    pub password: String,
}

/// The process of a server and the file that takes what it says.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

// === impl Setup ===

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// AUTH everywhere, one user `me@localhost`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            users: vec!["me@localhost".to_owned()],
            aliases: Vec::new(),
            open_listener: false,
            server_keys: String::new(),
            listener_keys: String::new(),
            sections: String::new(),
            tmpfs: None,
        }
    }

    /// Adds a user.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.users.push(name.to_owned());
        self
    }

    /// Adds an alias.
    #[must_use]
    pub fn alias(mut self, alias: &str, user: &str) -> Self {
        self.aliases.push((alias.to_owned(), user.to_owned()));
        self
    }

    /// Adds a plaintext listener that asks nobody for AUTH, as an edge that takes mail for its own domains has.
    #[must_use]
    pub fn open_listener(mut self) -> Self {
        self.open_listener = true;
        self
    }

    /// Adds lines to `[server]`.
    #[must_use]
    pub fn server_keys(mut self, lines: &str) -> Self {
        self.server_keys.push_str(lines);
        self.server_keys.push('\n');
        self
    }

    /// Adds lines to every SMTP `[[listener]]`.
    #[must_use]
    pub fn listener_keys(mut self, lines: &str) -> Self {
        self.listener_keys.push_str(lines);
        self.listener_keys.push('\n');
        self
    }

    /// Adds whole sections.
    #[must_use]
    pub fn sections(mut self, toml: &str) -> Self {
        self.sections.push_str(toml);
        self.sections.push('\n');
        self
    }

    /// Puts the data folder on a file system of this size (`200m`) that only the server sees. `Server::inner_data` leads there.
    #[must_use]
    pub fn on_tmpfs(mut self, size: &'static str) -> Self {
        self.tmpfs = Some(size);
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start(self) -> Server {
        self.start_in(
            tempfile::Builder::new().prefix("gatepost-test-").tempdir().expect("a temporary folder"),
        )
    }

    /// As `start`, with this folder as its home.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start_in(self, folder: TempDir) -> Server {
        let data = folder.path().join("data");
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&data).expect("the data folder can be made");
        trust::write_certificate(&folder.path().join("cert.pem"), &folder.path().join("key.pem"));
        let [starttls, implicit, open, pop3, pop3s, admin] = ports::free();
        let ports = Ports { starttls, implicit, open, pop3, pop3s, admin };
        let config = folder.path().join("gatepost.toml");
        fs::write(&config, self.toml(folder.path(), &ports)).expect("the configuration can be written");

        let users: Vec<User> = self.users.iter().map(|name| User::random(name)).collect();
        for user in &users {
            let add = gatepost(&config, ["user", "add", &user.name, "--password-stdin"]);
            add.stdin(format!("{}\n", user.password)).succeed();
        }
        for (alias, user) in &self.aliases {
            gatepost(&config, ["alias", "add", alias, user]).succeed();
        }
        let certificate = folder.path().join("cert.pem");
        let process = match self.tmpfs {
            None => spawn(folder.path(), Some(&config)),
            Some(size) => spawn_on_tmpfs(folder.path(), &data, size, &config),
        };
        let mut server = Server { process, folder, config: Some(config), data, certificate, ports, users };
        server.process.wait_until_ready(admin);
        server
    }

    fn toml(&self, folder: &Path, ports: &Ports) -> String {
        let Self { server_keys, listener_keys, sections, .. } = self;
        let Ports { starttls, implicit, open, pop3, pop3s, admin } = ports;
        let folder = path_text(folder);
        let mut toml = format!(
            r#"[server]
hostname = "gatepost.test"
data = "{folder}/data"
{server_keys}
[tls]
certificate = "{folder}/cert.pem"
key = "{folder}/key.pem"

[admin]
address = "127.0.0.1:{admin}"

[log]
level = "debug"

[[listener]]
name = "submission"
address = "127.0.0.1:{starttls}"
protocol = "smtp"
tls = "starttls"
{listener_keys}
[[listener]]
name = "submissions"
address = "127.0.0.1:{implicit}"
protocol = "smtp"
tls = "implicit"
{listener_keys}
[[listener]]
name = "pop3"
address = "127.0.0.1:{pop3}"
protocol = "pop3"
tls = "starttls"

[[listener]]
name = "pop3s"
address = "127.0.0.1:{pop3s}"
protocol = "pop3"
tls = "implicit"

{sections}
"#
        );
        if self.open_listener {
            toml.push_str(&format!(
                "[[listener]]\nname = \"edge\"\naddress = \"127.0.0.1:{open}\"\nprotocol = \"smtp\"\n\
                 tls = \"starttls\"\nrequire_auth = false\n{listener_keys}\n"
            ));
        }
        toml
    }
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

    /// A server as it starts for a new user: no configuration, nothing in his home. It takes the default ports.
    ///
    /// # Panics
    /// When it does not get ready, or does not leave the first user's password in its file.
    #[must_use]
    pub fn start_without_configuration() -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-home-").tempdir().expect("a temporary folder");
        let data = folder.path().join(".local/share/gatepost");
        let certificate = data.join("tls/cert.pem");
        let mut process = spawn(folder.path(), None);
        process.wait_until_ready(DEFAULT_PORTS.admin);
        let shown = fs::read_to_string(data.join("first-user.txt")).expect("first-user.txt is there");
        let users = vec![User::from_first_user_file(&shown)];
        Server { process, folder, config: None, data, certificate, ports: DEFAULT_PORTS, users }
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

    /// Starts it again over the same data, after `kill` or `stop`.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn restart(&mut self) {
        self.process = spawn(self.folder.path(), self.config.as_deref());
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

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
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

    /// No password has got into the log or the data folder, plain or as base64.
    ///
    /// # Panics
    /// When one has.
    pub fn assert_no_secret_is_visible(&self) {
        self.assert_no_secret_is_visible_but_in("");
    }

    /// As `assert_no_secret_is_visible`, but for one file of the data folder.
    ///
    /// # Panics
    /// When one is.
    pub fn assert_no_secret_is_visible_but_in(&self, exception: &str) {
        let log = self.log();
        for user in &self.users {
            for shape in user.shapes_of_password() {
                assert!(!log.contains(&shape), "the log shows a password of {}", user.name);
            }
        }
        for file in files_below(&self.data) {
            if file.file_name().is_some_and(|name| name == exception) {
                continue;
            }
            let octets = fs::read(&file).unwrap_or_default();
            for user in &self.users {
                for shape in user.shapes_of_password() {
                    let found = octets.windows(shape.len()).any(|window| window == shape.as_bytes());
                    assert!(!found, "{} holds a password of {}", file.display(), user.name);
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        // Cheap enough to be asked after every test.
        let log = self.log();
        for user in &self.users {
            for shape in user.shapes_of_password() {
                assert!(!log.contains(&shape), "the log shows a password of {}", user.name);
            }
        }
    }
}

// === impl User ===

impl User {
    /// A user with a random password.
    ///
    /// # Panics
    /// When there is no randomness.
    #[must_use]
    pub fn random(name: &str) -> Self {
        let mut random = [0; 15];
        aws_lc_rs::rand::fill(&mut random).expect("randomness");
        Self {
            name: name.to_owned(),
            password: format!("Pw-{}", base64::engine::general_purpose::URL_SAFE.encode(random)),
        }
    }

    /// From what the first start has written: a line with the address, one with the password, each behind a label.
    fn from_first_user_file(text: &str) -> Self {
        let value = |label: &str| {
            let line = text
                .lines()
                .find_map(|line| line.trim().to_ascii_lowercase().starts_with(label).then_some(line));
            let line = line.unwrap_or_else(|| panic!("no {label} in first-user.txt"));
            line.split_whitespace().last().expect("a value").to_owned()
        };
        Self { name: value("user"), password: value("password") }
    }

    fn shapes_of_password(&self) -> [String; 3] {
        [self.password.clone(), BASE64.encode(&self.password), plain_response("", &self.name, &self.password)]
    }
}

// === impl Process ===

impl Process {
    /// Starts `gatepost` with nothing in its environment but `PATH` and what is given. `log` is appended to.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn spawn(args: &[&str], log: &Path, environment: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(binary::gatepost());
        command.args(args);
        Self::spawn_command(command, log, environment)
    }

    fn spawn_command(mut command: Command, log: &Path, environment: &[(&str, &Path)]) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log can be opened");
        let errors = file.try_clone().expect("a file can be shared");
        let child = command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("gatepost starts");
        Self { child, log: log.to_owned() }
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    pub fn wait_until_ready(&mut self, admin: u16) {
        let start = Instant::now();
        loop {
            if let Some((200, _)) = http::get(admin, "/readyz") {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("gatepost ended ({status}) instead of getting ready");
            }
            assert!(start.elapsed() < START, "gatepost is not ready after {START:?}");
            thread::sleep(POLL);
        }
    }

    /// Sends a signal to this process alone.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id")).expect("not zero");
        kill_process(pid, signal).expect("the process is there");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < limit, "gatepost still runs after {limit:?}");
            thread::sleep(POLL);
        }
    }

    /// All that it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the server's log, its last {LOG_LINES} lines");
            for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
                eprintln!("{line}");
            }
        }
    }
}

/// Prepares a `gatepost` command with this configuration file.
#[must_use]
pub fn gatepost<const N: usize>(config: &Path, args: [&str; N]) -> Run {
    Run::new(binary::gatepost()).clean_environment().args(args).arg("--config").arg(config)
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

fn spawn(home: &Path, config: Option<&Path>) -> Process {
    let mut args = vec!["run"];
    args.extend(config.map(|config| ["--config", path_text(config)]).into_iter().flatten());
    Process::spawn(&args, &home.join("log"), &[("HOME", home)])
}

/// A mount namespace of its own, the data folder copied to the small file system, then `gatepost` in the same process.
fn spawn_on_tmpfs(home: &Path, data: &Path, size: &str, config: &Path) -> Process {
    let script = r#"set -eu
mkdir "$1.saved" && cp -a "$1/." "$1.saved/"
mount -t tmpfs -o "size=$2,mode=0700" none "$1"
cp -a "$1.saved/." "$1/"
exec "$3" run --config "$4""#;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--", "sh", "-c", script, "sh"]);
    command.arg(data).arg(size).arg(binary::gatepost()).arg(config);
    Process::spawn_command(command, &home.join("log"), &[("HOME", home)])
}

/// Whether this machine lets a test mount a file system of its own.
#[must_use]
pub fn can_mount() -> bool {
    let mut run = Run::new("unshare");
    if !rustix::process::geteuid().is_root() {
        run = run.arg("--map-root-user");
    }
    run.args(["--mount", "--", "mount", "-t", "tmpfs", "none", "/mnt"]).outcome().status.success()
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have UTF-8 names")
}

/// What the embedded default listens on; it has no listener without AUTH.
const DEFAULT_PORTS: Ports =
    Ports { starttls: 2525, implicit: 2465, open: 0, pop3: 2110, pop3s: 2995, admin: 2580 };
const START: Duration = Duration::from_secs(60);
/// A busy machine, a debug build and 1,000 mails.
const DELIVERY: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);
const LOG_LINES: usize = 120;
