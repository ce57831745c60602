//! A real LMTP server that mail is sent on to: Dovecot, from its Debian package, in a folder and on a port of its own. Its
//! master process insists on root, as that of Postfix does.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::process::as_root;
use crate::wire::Wire;
use crate::{ports, wait_until};

/// Dovecot, with mailboxes for `ann@inside.example` and `bob@inside.example`. Dropped, it is ended.
#[derive(Debug)]
pub struct Dovecot {
    folder: TempDir,
    child: Child,
    /// Where it speaks LMTP on 127.0.0.1.
    pub port: u16,
}

// === impl Dovecot ===

impl Dovecot {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-dovecot-").tempdir().expect("a folder");
        let [port] = ports::free();
        let home = folder.path();
        fs::write(home.join("users"), "ann@inside.example::::::\nbob@inside.example::::::\n")
            .expect("a file");
        fs::write(home.join("dovecot.conf"), configuration(home, port)).expect("a file");
        let made = as_root("sh").args(["-euc", FOLDERS, "sh"]).arg(home).status().expect("a shell");
        assert!(made.success(), "the folders of Dovecot can be made");
        let child = as_root("dovecot")
            .args(["-F", "-c"])
            .arg(home.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Dovecot starts; tests/run installs it");
        let dovecot = Self { folder, child, port };
        wait_until("Dovecot listens", || Wire::try_connect(port).is_ok());
        dovecot
    }

    /// The mails of a user, once there are `count` of them, with lines that end in CRLF again.
    ///
    /// # Panics
    /// When that takes too long, or there are more.
    #[must_use]
    pub fn mails(&self, user: &str, count: usize) -> Vec<Vec<u8>> {
        crate::mail::of_maildir(&self.folder.path().join("mail").join(user), count)
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Its own servants end with it.
        as_root("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = as_root("cat").arg(self.folder.path().join("log")).output().map(|log| log.stdout);
            eprintln!("--- Dovecot's log\n{}", String::from_utf8_lossy(&log.unwrap_or_default()));
        }
        // They belong to others, so the temporary folder could not be removed by us.
        let left = ["run", "state", "mail", "log"].map(|name| self.folder.path().join(name));
        as_root("rm").arg("-rf").args(left).status().ok();
    }
}

fn configuration(home: &Path, port: u16) -> String {
    let home = home.display();
    format!(
        "base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
protocols = lmtp
listen = 127.0.0.1
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
passdb {{
  driver = passwd-file
  args = {home}/users
}}
userdb {{
  driver = passwd-file
  args = {home}/users
  default_fields = uid=nobody gid=nogroup home={home}/mail/%u
}}
mail_location = maildir:{home}/mail/%u
first_valid_uid = 1
first_valid_gid = 1
"
    )
}

/// The temporary folder itself must let others pass.
const FOLDERS: &str = r#"cd "$1"
chmod 755 .
mkdir mail
chown nobody:nogroup mail
chown root dovecot.conf users
"#;
