//! What a test wants to run, and how it comes to run.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::command::Run;
use crate::process::{Process, gatepost};
use crate::server::{Ports, Server};
use crate::user::User;
use crate::{binary, ports, trust};

/// What a test wants to run. The default: AUTH everywhere, one user `me@localhost`.
#[derive(Debug)]
pub struct Setup {
    /// Names and classes.
    users: Vec<(String, &'static str)>,
    aliases: Vec<(String, String)>,
    open_listener: bool,
    server_keys: String,
    listener_keys: String,
    sections: String,
    tmpfs: Option<&'static str>,
    owner: Option<(u32, u32)>,
    log_level: &'static str,
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
            users: vec![("me@localhost".to_owned(), "user")],
            aliases: Vec::new(),
            open_listener: false,
            server_keys: String::new(),
            listener_keys: String::new(),
            sections: String::new(),
            tmpfs: None,
            owner: None,
            log_level: "debug",
        }
    }

    /// Adds a user.
    #[must_use]
    pub fn user(self, name: &str) -> Self {
        self.account(name, "user")
    }

    /// Adds an account of any class.
    #[must_use]
    pub fn account(mut self, name: &str, class: &'static str) -> Self {
        self.users.push((name.to_owned(), class));
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

    /// Gives the folder with all that is in it to this user and group before the server starts.
    #[must_use]
    pub fn owned_by(mut self, user: u32, group: u32) -> Self {
        self.owner = Some((user, group));
        self
    }

    /// Logs less than everything.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
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

        let users: Vec<User> = self.users.iter().map(|(name, _)| User::random(name)).collect();
        for (user, (_, class)) in users.iter().zip(&self.users) {
            let add = gatepost(&config, ["user", "add", &user.name, "--class", class, "--password-stdin"]);
            add.stdin(format!("{}\n", user.password)).succeed();
        }
        for (alias, user) in &self.aliases {
            gatepost(&config, ["alias", "add", alias, user]).succeed();
        }
        if let Some((user, group)) = self.owner {
            Run::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(folder.path()).succeed();
        }
        let certificate = folder.path().join("cert.pem");
        let process = match self.tmpfs {
            None => spawn(folder.path(), Some(&config)),
            Some(size) => spawn_on_tmpfs(folder.path(), &data, size, &config),
        };
        let mut server = Server {
            process,
            folder,
            config: Some(config),
            data,
            certificate,
            on_terminal: false,
            ports,
            users,
        };
        server.process.wait_until_ready(admin);
        server
    }

    fn toml(&self, folder: &Path, ports: &Ports) -> String {
        let Self { server_keys, listener_keys, sections, log_level, .. } = self;
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
level = "{log_level}"

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
/// Whether this machine lets a test mount a file system of its own.
#[must_use]
pub fn can_mount() -> bool {
    let mut run = Run::new("unshare");
    if !rustix::process::geteuid().is_root() {
        run = run.arg("--map-root-user");
    }
    run.args(["--mount", "--", "mount", "-t", "tmpfs", "none", "/mnt"]).outcome().status.success()
}

pub(crate) fn spawn(home: &Path, config: Option<&Path>) -> Process {
    let mut args = vec!["run"];
    args.extend(config.map(|config| ["--config", path_text(config)]).into_iter().flatten());
    Process::spawn(&args, &home.join("log"), &[("HOME", home)])
}

/// `script` gives it a terminal. Killed, that takes the server with it.
pub(crate) fn spawn_on_terminal(home: &Path) -> Process {
    let run = format!("exec setpriv --pdeathsig KILL {} run", path_text(binary::gatepost()));
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &run, "/dev/null"]);
    Process::spawn_command(command, &home.join("log"), &[("HOME", home)])
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
fn path_text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have UTF-8 names")
}
