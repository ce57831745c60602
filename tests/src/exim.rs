//! A real mail server behind: Exim as a daemon, which takes chunks (BDAT). It is not installed but unpacked by `tests/run`: as
//! a package it would replace the machine's own mail server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::command::{Run, is_installed};
use crate::process::as_root;
use crate::wire::Wire;
use crate::{binary, ports, wait_until};

/// Exim, with a mailbox for `ann@to.example` and nobody else. Dropped, it is ended.
#[derive(Debug)]
pub struct Exim {
    folder: TempDir,
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

// === impl Exim ===

impl Exim {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-exim-").tempdir().expect("a folder");
        let [port] = ports::free();
        let copied = Copied::below(folder.path(), &["spool", "log", "mail"]);
        let configuration = copied.identity + &configuration(folder.path(), port);
        fs::write(folder.path().join("exim.conf"), configuration).expect("a file");
        let child = Command::new(&copied.program)
            .arg("-C")
            .arg(folder.path().join("exim.conf"))
            .arg("-bdf")
            .stdin(Stdio::null())
            // Each delivery tells that its configuration is not the one it was built with.
            .stderr(Stdio::null())
            .spawn()
            .expect("Exim starts");
        let exim = Self { folder, child, port };
        wait_until("Exim listens", || Wire::try_connect(port).is_ok());
        exim
    }

    /// The mails of `ann@to.example`, once there are `count` of them, with lines that end in CRLF again.
    ///
    /// # Panics
    /// When that takes too long, or there are more.
    #[must_use]
    pub fn mails(&self, count: usize) -> Vec<Vec<u8>> {
        crate::mail::of_maildir(&self.folder.path().join("mail/ann"), count)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = as_root("cat").arg(self.folder.path().join("log/main")).output().expect("cat starts");
        String::from_utf8_lossy(&log.stdout).into_owned()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- Exim's log\n{}", self.log());
        }
        // They belong to others, so the temporary folder could not be removed by us.
        let left = ["spool", "log", "mail"].map(|name| self.folder.path().join(name));
        as_root("rm").arg("-rf").args(left).status().ok();
    }
}

/// A copy of the program, as Exim starts itself again as a user who may not see the repository.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The copy.
    pub(crate) program: PathBuf,
    /// Lines for the configuration: whom it runs as where it cannot become anybody else.
    pub(crate) identity: String,
}

// === impl Copied ===

impl Copied {
    /// `home/exim4`, and folders in `home` that it may write to.
    pub(crate) fn below(home: &Path, folders: &[&str]) -> Self {
        let folders: Vec<_> = folders.iter().map(|name| home.join(name)).collect();
        for folder in &folders {
            fs::create_dir_all(folder).expect("a folder for Exim");
        }
        let program = home.join("exim4");
        fs::copy(&*PROGRAM, &program).expect("Exim can be copied");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the copy's mode can be set");
        if geteuid().is_root() {
            // The folders above have to let others pass as well.
            fs::set_permissions(home, fs::Permissions::from_mode(0o711)).expect("a mode can be set");
            Run::new("chown").args(["-R", "Debian-exim:"]).args(folders).succeed();
            return Self { program, identity: String::new() };
        }
        let [user, group] = ["-un", "-gn"].map(|name| Run::new("id").arg(name).succeed().text());
        let identity = format!("exim_user = {user}exim_group = {group}deliver_drop_privilege = true\n");
        Self { program, identity }
    }
}

fn configuration(home: &Path, port: u16) -> String {
    let home = home.display();
    format!(
        r"exim_path = {home}/exim4
spool_directory = {home}/spool
log_file_path = {home}/log/%s
pid_file_path = {home}/spool/exim.pid
primary_hostname = behind.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
domainlist ours = to.example
acl_smtp_rcpt = recipient
accept_8bitmime = true
chunking_advertise_hosts = *
dsn_advertise_hosts = *
message_size_limit = 64M
smtp_accept_max = 200
host_lookup =
rfc1413_hosts =
keep_environment =
tls_advertise_hosts =
begin acl
recipient:
  accept domains = +ours
         local_parts = ann
  deny message = no such user
begin routers
ann:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = {home}/mail/ann
  maildir_format
"
    )
}

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let unpacked = std::env::var_os("GATEPOST_TEST_EXIM").map(PathBuf::from);
    let unpacked = unpacked.unwrap_or_else(|| binary::repository().join("target/exim/usr/sbin/exim4"));
    if unpacked.is_file() {
        return unpacked;
    }
    assert!(is_installed("exim4"), "no Exim: tests/run unpacks one to target/exim");
    PathBuf::from("/usr/sbin/exim4")
});
