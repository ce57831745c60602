//! Servers as they start for a new user: no configuration, nothing in his home, the default ports.

use std::fs;
use std::path::Path;

use crate::process::Process;
use crate::server::{Ports, Server};
use crate::setup;
use crate::user::User;
use crate::wait_until;
use crate::wire::Wire;

impl Server {
    /// A server as it starts for a new user: no configuration, nothing in his home. It takes the default ports.
    ///
    /// # Panics
    /// When somebody else's server keeps the default ports, it does not get ready, or it does not leave the first user's
    /// password in its file.
    #[must_use]
    pub fn start_without_configuration() -> Self {
        let mut server = Self::in_new_home(|home| setup::spawn(home, None));
        let shown = fs::read_to_string(server.data.join("first-user.txt")).expect("first-user.txt is there");
        server.users.push(User::from_first_user_file(&shown));
        server
    }

    /// As `start_without_configuration`, on a terminal: returns what is shown there besides.
    ///
    /// # Panics
    /// As `start_without_configuration`.
    #[must_use]
    pub fn start_on_a_terminal() -> (Self, String) {
        let mut server = Self::in_new_home(setup::spawn_on_terminal);
        let shown = server.process.log().replace("\r\n", "\n");
        server.users.push(User::from_first_user_file(&shown));
        server.on_terminal = true;
        (server, shown)
    }

    /// Ready, with a first user that is not known yet.
    fn in_new_home(spawn: impl FnOnce(&Path) -> Process) -> Self {
        wait_until("another server gives the default ports up", || {
            Wire::try_connect(DEFAULT_PORTS.admin).is_err()
        });
        let folder = tempfile::Builder::new().prefix("gatepost-home-").tempdir().expect("a temporary folder");
        let mut process = spawn(folder.path());
        process.wait_until_ready(DEFAULT_PORTS.admin);
        let data = folder.path().join(".local/share/gatepost");
        let certificate = data.join("tls/cert.pem");
        Self {
            process,
            folder,
            config: None,
            data,
            certificate,
            on_terminal: false,
            ports: DEFAULT_PORTS,
            users: Vec::new(),
        }
    }
}

/// What the embedded default listens on; it has no listener without AUTH.
const DEFAULT_PORTS: Ports =
    Ports { starttls: 2525, implicit: 2465, open: 0, pop3: 2110, pop3s: 2995, admin: 2580 };
