//! Servers as they start for a new user: no configuration, nothing in his home, the default ports.

use std::fs;

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
        wait_until("another server gives the default ports up", || {
            Wire::try_connect(DEFAULT_PORTS.admin).is_err()
        });
        let folder = tempfile::Builder::new().prefix("gatepost-home-").tempdir().expect("a temporary folder");
        let data = folder.path().join(".local/share/gatepost");
        let certificate = data.join("tls/cert.pem");
        let mut process = setup::spawn(folder.path(), None);
        process.wait_until_ready(DEFAULT_PORTS.admin);
        let shown = fs::read_to_string(data.join("first-user.txt")).expect("first-user.txt is there");
        let users = vec![User::from_first_user_file(&shown)];
        Server {
            process,
            folder,
            config: None,
            data,
            certificate,
            on_terminal: false,
            ports: DEFAULT_PORTS,
            users,
        }
    }

    /// As `start_without_configuration`, on a terminal: returns what is shown there besides.
    ///
    /// # Panics
    /// As `start_without_configuration`.
    #[must_use]
    pub fn start_on_a_terminal() -> (Self, String) {
        wait_until("another server gives the default ports up", || {
            Wire::try_connect(DEFAULT_PORTS.admin).is_err()
        });
        let folder = tempfile::Builder::new().prefix("gatepost-home-").tempdir().expect("a temporary folder");
        let mut process = setup::spawn_on_terminal(folder.path());
        process.wait_until_ready(DEFAULT_PORTS.admin);
        let shown = process.log().replace("\r\n", "\n");
        let data = folder.path().join(".local/share/gatepost");
        let certificate = data.join("tls/cert.pem");
        let users = vec![User::from_first_user_file(&shown)];
        (
            Server {
                process,
                folder,
                config: None,
                data,
                certificate,
                on_terminal: true,
                ports: DEFAULT_PORTS,
                users,
            },
            shown,
        )
    }
}

/// What the embedded default listens on; it has no listener without AUTH.
const DEFAULT_PORTS: Ports =
    Ports { starttls: 2525, implicit: 2465, open: 0, pop3: 2110, pop3s: 2995, admin: 2580 };
