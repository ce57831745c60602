//! A real load balancer in front of the server: HAProxy.

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Command, Stdio};

use crate::server::Server;
use crate::wire::Wire;
use crate::{ports, wait_until};

/// One way through the balancer.
#[derive(Debug)]
pub struct Way {
    /// The server's port.
    pub to: u16,
    /// Options of HAProxy's `server` line, such as `send-proxy`.
    pub options: &'static str,
}

/// HAProxy, which connects to the server from `BALANCER`. Dropped, it is killed.
#[derive(Debug)]
pub struct Balancer<const N: usize> {
    child: Child,
    /// Where it listens on 127.0.0.1, in the order of the ways.
    pub ports: [u16; N],
}

/// Where its connections come from: another address than that of its clients.
pub const BALANCER: &str = "127.0.0.77";

// === impl Balancer ===

impl<const N: usize> Balancer<N> {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(server: &Server, ways: [Way; N]) -> Self {
        let ports = ports::free();
        let mut config =
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n".to_owned();
        for (Way { to, options }, port) in ways.iter().zip(ports) {
            writeln!(config, "listen way-{port}\n bind 127.0.0.1:{port}").expect("text can be written");
            writeln!(config, " server gatepost 127.0.0.1:{to} source {BALANCER} {options}")
                .expect("text can be written");
        }
        let file = server.folder().join("haproxy.cfg");
        fs::write(&file, config).expect("the balancer's configuration can be written");
        let program =
            if fs::exists("/usr/sbin/haproxy").unwrap_or(false) { "/usr/sbin/haproxy" } else { "haproxy" };
        let child = Command::new(program)
            .args(["-db", "-q", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("haproxy starts; tests/run installs it");
        let balancer = Self { child, ports };
        for port in ports {
            wait_until("the balancer listens", || Wire::try_connect(port).is_ok());
        }
        balancer
    }
}

impl<const N: usize> Drop for Balancer<N> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
