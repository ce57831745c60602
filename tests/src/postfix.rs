//! A real mail server that mail is sent on to, or that sends it: Postfix, from its Debian package, in a folder and on a
//! port of its own. Its master process insists on root: where the tests run as somebody else, `sudo` must not ask for a password.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::process::as_root;
use crate::wire::Wire;
use crate::{ports, trust, wait_until};

/// Postfix, with a mailbox for `ann@to.example` and nobody else. Dropped, it is ended.
#[derive(Debug)]
pub struct Postfix {
    folder: TempDir,
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

// === impl Postfix ===

impl Postfix {
    /// Starts it and waits until it listens. Its certificate is one for `hop.example`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let [port] = ports::free();
        Self::start_with(port, "", "")
    }

    /// One that takes mail for `full@to.example` and then returns it. Mail for `domain` goes to a port of this machine.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_returning(domain: &str, port: u16) -> Self {
        let main = format!(
            "virtual_mailbox_maps = inline:{{ ann@to.example=ann/, full@to.example=full/ }}
transport_maps = inline:{{ {{ full@to.example = broken: }}, {{ {domain} = smtp:[127.0.0.1]:{port} }} }}
"
        );
        let [own_port] = ports::free();
        Self::start_with(own_port, &main, "broken unix - n n - - pipe user=nobody argv=/bin/false\n")
    }

    /// One with these lines in its `main.cf` as well.
    ///
    /// # Panics
    /// As `start`.
    #[must_use]
    pub fn start_set(main: &str) -> Self {
        let [port] = ports::free();
        Self::start_with(port, main, "")
    }

    /// One at `port` that takes all mail from this machine, and sends what is not for `ann@to.example` on to the server at
    /// the port `next`, in TLS under a certificate that `authorities` vouch for. What it could not send it tries again after
    /// seconds.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_before(port: u16, next: u16, authorities: &Path) -> Self {
        let lines = format!(
            "mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{next}
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = localhost
smtp_tls_CAfile = {}
smtp_tls_loglevel = 1
queue_run_delay = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 4s
",
            authorities.display()
        );
        Self::start_with(port, &lines, "")
    }

    /// Both come behind the others of their file; of two with the same name the last one holds.
    fn start_with(port: u16, main_more: &str, master_more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-postfix-").tempdir().expect("a folder");
        let home = folder.path();
        trust::write_certificate_for(&["hop.example"], &home.join("cert.pem"), &home.join("key.pem"));
        fs::create_dir(home.join("conf")).expect("a folder");
        fs::write(home.join("conf/main.cf"), main(home, main_more)).expect("a file");
        fs::write(home.join("conf/master.cf"), master(port) + master_more).expect("a file");
        let made = as_root("sh").args(["-euc", FOLDERS, "sh"]).arg(home).status().expect("a shell");
        assert!(made.success(), "the folders of Postfix can be made");
        let child = as_root("/usr/lib/postfix/sbin/master")
            .arg("-c")
            .arg(home.join("conf"))
            .arg("-d")
            // It ends its servants by their process group.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Postfix starts; tests/run installs it");
        let postfix = Self { folder, child, port };
        wait_until("Postfix listens", || Wire::try_connect(port).is_ok());
        postfix
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
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
        let log = as_root("cat").arg(self.folder.path().join("maillog")).output().expect("cat starts");
        String::from_utf8_lossy(&log.stdout).into_owned()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // Its own servants end with it.
        as_root("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- Postfix's log\n{}", self.log());
        }
        // They belong to others, so the temporary folder could not be removed by us.
        let left = ["queue", "data", "mail", "maillog"].map(|name| self.folder.path().join(name));
        as_root("rm").arg("-rf").args(left).status().ok();
    }
}

fn main(home: &Path, lines: &str) -> String {
    let home = home.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = {home}
maillog_file = {home}/maillog
myhostname = hop.example
mydestination =
alias_maps =
alias_database =
mynetworks = 192.0.2.1/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = {home}/key.pem, {home}/cert.pem
virtual_mailbox_domains = to.example
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = inline:{{ ann@to.example=ann/ }}
virtual_minimum_uid = 1
virtual_uid_maps = static:1
virtual_gid_maps = static:1
{lines}"
    )
}

fn master(port: u16) -> String {
    format!(
        "127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"
    )
}

/// As `postfix set-permissions` would have them. The temporary folder itself must let others pass.
const FOLDERS: &str = r#"cd "$1"
chmod 755 .
mkdir data queue queue/pid mail
chown postfix data
chown 1:1 mail
for name in active bounce corrupt defer deferred flush hold incoming saved trace private; do
    mkdir -m 700 "queue/$name"
    chown postfix "queue/$name"
done
mkdir -m 730 queue/maildrop
mkdir -m 710 queue/public
chown postfix:postdrop queue/maildrop queue/public
chown root conf conf/* key.pem
"#;
