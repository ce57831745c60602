//! A real mail server that knows few extensions and keeps what it gets octet by octet: aiosmtpd, from its Debian package,
//! under the Python of the distribution. It has neither PIPELINING nor CHUNKING nor enhanced status codes.

use std::fs;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tempfile::TempDir;

use crate::wire::Wire;
use crate::{binary, ports, wait_until};

/// aiosmtpd on a port of its own. Dropped, it is ended.
#[derive(Debug)]
pub struct Aiosmtpd {
    folder: TempDir,
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

/// A mail that it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The address in MAIL, without brackets.
    pub sender: String,
    /// The parameters of MAIL.
    pub parameters: Vec<String>,
    /// The addresses in RCPT, without brackets.
    pub recipients: Vec<String>,
    /// Its octets.
    pub octets: Vec<u8>,
}

// === impl Aiosmtpd ===

impl Aiosmtpd {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-aiosmtpd-").tempdir().expect("a folder");
        let [port] = ports::free();
        let child = Command::new("/usr/bin/python3")
            .arg(binary::repository().join("tests/servers/aiosmtpd_keep.py"))
            .arg(port.to_string())
            .arg(folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("Python starts; tests/run installs it");
        let server = Self { folder, child, port };
        wait_until("aiosmtpd listens", || Wire::try_connect(port).is_ok());
        server
    }

    /// The mails that it has taken, oldest first, once there are `count` of them.
    ///
    /// # Panics
    /// When that takes too long, or there are more.
    #[must_use]
    pub fn mails(&self, count: usize) -> Vec<Kept> {
        wait_until("aiosmtpd has taken the mails", || self.files().len() >= count);
        let files = self.files();
        assert_eq!(files.len(), count, "mails that aiosmtpd has taken");
        files.iter().map(|file| Kept::read(&fs::read(file).expect("a file"))).collect()
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder").flatten().map(|entry| entry.path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
        files.sort();
        files
    }
}

impl Drop for Aiosmtpd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

// === impl Kept ===

impl Kept {
    fn read(json: &[u8]) -> Self {
        let mail: serde_json::Value = serde_json::from_slice(json).expect("JSON");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let texts = |name: &str| mail[name].as_array().expect("a list").iter().map(text).collect();
        Self {
            sender: text(&mail["sender"]),
            parameters: texts("parameters"),
            recipients: texts("recipients"),
            octets: BASE64.decode(text(&mail["octets"])).expect("base64"),
        }
    }
}
