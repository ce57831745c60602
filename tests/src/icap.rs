//! A real ICAP server: Debian's c-icap, which has a clamd of the tests scan.

use std::fs;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::clamd::Clamd;
use crate::wire::Wire;
use crate::{ports, wait_until};

/// A c-icap with the service `avscan`. Dropped, it is ended.
#[derive(Debug)]
pub struct CIcap {
    folder: TempDir,
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

// === impl CIcap ===

impl CIcap {
    /// Starts it before this clamd, and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(clamd: &Clamd) -> Self {
        let folder = tempfile::Builder::new().prefix("gatepost-icap-").tempdir().expect("a folder");
        let [port] = ports::free();
        let home = folder.path().display();
        let text = format!(
            "PidFile {home}/pid
CommandsSocket {home}/ctl
TmpDir {home}
ServerLog {home}/log
Port 127.0.0.1:{port}
StartServers 1
MaxServers 1
ThreadsPerChild 10
MinSpareThreads 1
MaxSpareThreads 10
ModulesDir {MODULES}
ServicesDir {MODULES}
TemplateDir /usr/share/c_icap/templates/
LoadMagicFile /etc/c-icap/c-icap.magic
Service antivirus_module virus_scan.so
ServiceAlias avscan virus_scan?allow204=on&force=on&sizelimit=off&mode=simple
virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE
virus_scan.PassOnError off
virus_scan.MaxObjectSize 500M
virus_scan.DefaultEngine clamd
Module common clamd_mod.so
clamd_mod.ClamdSocket {socket}
",
            socket = clamd.socket().display()
        );
        let configuration = folder.path().join("c-icap.conf");
        fs::write(&configuration, text).expect("a file");
        let child = Command::new("c-icap")
            .args(["-N", "-f"])
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("c-icap starts; tests/run installs it");
        let server = Self { folder, child, port };
        wait_until("c-icap listens", || Wire::try_connect(port).is_ok());
        server
    }
}

impl Drop for CIcap {
    fn drop(&mut self) {
        // Its servants end with it.
        Command::new("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- c-icap's log\n{}", String::from_utf8_lossy(&log));
        }
    }
}

const MODULES: &str = if cfg!(target_arch = "x86_64") {
    "/usr/lib/x86_64-linux-gnu/c_icap"
} else {
    "/usr/lib/aarch64-linux-gnu/c_icap"
};
