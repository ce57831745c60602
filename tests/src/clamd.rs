//! A real virus scanner: Debian's clamd, in a folder of its own with a few signatures that the test writes. It runs without
//! any right.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::{mail, wait_until};

/// A clamd that knows the EICAR test file, Debian's clamav-testfiles, and what the test adds. Dropped, it is killed.
#[derive(Debug)]
pub struct Clamd {
    folder: TempDir,
    child: Child,
}

// === impl Clamd ===

impl Clamd {
    /// Starts it with the first version of its signatures, and these lines in its configuration.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(configuration: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-clamd-").tempdir().expect("a folder");
        let home = folder.path();
        fs::create_dir(home.join("signatures")).expect("a folder");
        write_signatures(home, 1, "");
        let text = format!(
            "LocalSocket {home}/clamd.sock\nFixStaleSocket yes\nDatabaseDirectory {home}/signatures\n\
             TemporaryDirectory {home}\nForeground yes\nSelfCheck 3600\n{configuration}\n",
            home = home.display()
        );
        fs::write(home.join("clamd.conf"), text).expect("a file");
        // It must be let pass by itself, once it is nobody, and by the server.
        fs::set_permissions(home, Permissions::from_mode(0o755)).expect("a mode");
        if geteuid().is_root() {
            chown(home, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let child = spawn(home);
        let clamd = Self { folder, child };
        clamd.wait_until_it_answers();
        clamd
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("clamd.sock")
    }

    /// The section of a server's configuration that names it.
    #[must_use]
    pub fn engine(&self) -> String {
        format!(
            "[[scan.engine]]\ntype = \"clamd\"\nsocket = \"{}\"\nretry_delay = \"1s\"\n",
            self.socket().display()
        )
    }

    /// Has it take new signatures: the old ones, and one for this text.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn update(&self, version: u32, text: &str) {
        write_signatures(self.folder.path(), version, text);
        self.signal(Signal::USR2);
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id")).expect("not zero");
        kill_process(pid, signal).expect("clamd is there");
    }

    /// `kill -9`, and waits until it is gone. Its socket stays behind.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts it again after `kill`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.child = spawn(self.folder.path());
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&self) {
        wait_until("clamd answers", || std::os::unix::net::UnixStream::connect(self.socket()).is_ok());
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- clamd's log\n{}", String::from_utf8_lossy(&log));
        }
    }
}

/// The test files of Debian's package: one harmless program, wrapped in all ways that clamd can unwrap.
///
/// # Panics
/// When they are not installed.
#[must_use]
pub fn test_files() -> Vec<PathBuf> {
    let folder = fs::read_dir("/usr/share/clamav-testfiles").expect("tests/run installs clamav-testfiles");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn spawn(home: &Path) -> Child {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        let nobody = NOBODY.to_string();
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "clamd"]);
        command
    } else {
        Command::new("clamd")
    };
    let log = fs::File::options().create(true).append(true).open(home.join("log")).expect("a log");
    let errors = log.try_clone().expect("a file can be shared");
    command
        .arg("--config-file")
        .arg(home.join("clamd.conf"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .expect("clamd starts; tests/run installs it")
}

/// A daily database (unsigned: `.cud`), since only its number is in what clamd calls its version, and a hash in a file of its
/// own. The first is a header of 512 octets and a tar archive whose index has the SHA-256 of each file.
fn write_signatures(home: &Path, version: u32, text: &str) {
    let hex = |text: &str| text.bytes().map(|octet| format!("{octet:02x}")).collect::<String>();
    let mut patterns = format!("Test.Eicar:0:*:{}\n", hex(&mail::eicar()));
    if !text.is_empty() {
        patterns.push_str(&format!("Test.Update:0:*:{}\n", hex(text)));
    }
    let header = format!("ClamAV-VDB:05 Jan 2026 10-00 +0000:{version}:1:63:X:X:gatepost:1767607200");
    let sum: String =
        digest(&SHA256, patterns.as_bytes()).as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    let index = format!("{header}\ndaily.ndb:{}:{sum}\n", patterns.len());
    let mut database = header.into_bytes();
    database.resize(512, b' ');
    database.extend(tar_entry("daily.info", index.as_bytes()));
    database.extend(tar_entry("daily.ndb", patterns.as_bytes()));
    database.extend([0; 1024]);
    let folder = home.join("signatures");
    let draft = home.join("draft");
    fs::write(&draft, database).expect("a file");
    fs::rename(draft, folder.join("daily.cud")).expect("a new name");
    fs::write(folder.join("files.hdb"), CLAM_EXE).expect("a file");
}

fn tar_entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut entry = vec![0; 512];
    let mut put = |at: usize, text: &str| entry[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = entry.iter().map(|octet| u32::from(*octet)).sum();
    entry[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

/// Of Debian, and of every other system that has one.
const NOBODY: u32 = 65_534;
/// MD5 and length of the program in all of clamav-testfiles.
const CLAM_EXE: &str = "aa15bcf478d165efd2065190eb473bcb:544:Test.File\n";
