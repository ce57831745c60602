//! Real mail programs as clients: each function is one program in one mode.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::authority::ClientPair;
use crate::binary;
use crate::command::{Outcome, Run};
use crate::exim::Copied;
use crate::server::Server;
use crate::user::User;

/// How a client comes to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// By STARTTLS.
    StartTls,
    /// From the first octet.
    Implicit,
}

/// swaks sends `content` to `to` by this SASL mechanism.
#[must_use]
pub fn swaks(server: &Server, tls: Tls, mechanism: &str, to: &str, content: &[u8]) -> Outcome {
    swaks_run(server, tls, mechanism, to, content).outcome()
}

/// swaks sends `content` over STARTTLS with its commands in groups (RFC 2920).
#[must_use]
pub fn swaks_pipelined(server: &Server, to: &str, content: &[u8]) -> Outcome {
    swaks_run(server, Tls::StartTls, "PLAIN", to, content).arg("--pipeline").outcome()
}

/// curl sends `content`.
#[must_use]
pub fn curl_send(server: &Server, tls: Tls, to: &[&str], content: &[u8]) -> Run {
    let url = match tls {
        Tls::StartTls => format!("smtp://127.0.0.1:{}/client.example", server.ports.starttls),
        Tls::Implicit => format!("smtps://127.0.0.1:{}/client.example", server.ports.implicit),
    };
    let mut run = curl(server).args(["--upload-file", "-", "--mail-from", &server.me().name]);
    for recipient in to {
        run = run.args(["--mail-rcpt", recipient]);
    }
    run.args(["--ssl-reqd", &url]).stdin(content)
}

/// curl sends `content` as whom its certificate names, by EXTERNAL.
#[must_use]
pub fn curl_certified(server: &Server, pair: &ClientPair, name: &str, from: &str, content: &[u8]) -> Run {
    let [certificate, key] = pair.write(server.folder());
    let url = format!("smtp://127.0.0.1:{}/client.example", server.ports.starttls);
    Run::new("curl")
        .args(["--silent", "--show-error", "--disable", "--max-time", "50", "--cacert"])
        .arg(server.certificate())
        .arg("--cert")
        .arg(certificate)
        .arg("--key")
        .arg(key)
        .args(["--login-options", "AUTH=EXTERNAL", "--user", &format!("{name}:")])
        .args(["--upload-file", "-", "--mail-from", from, "--mail-rcpt", &server.me().name])
        .args(["--ssl-reqd", &url])
        .stdin(content)
}

/// swaks sends `content` with a password, and shows this certificate to everybody.
#[must_use]
pub fn swaks_with_certificate(server: &Server, pair: &ClientPair, to: &str, content: &[u8]) -> Outcome {
    let [certificate, key] = pair.write(server.folder());
    let run = swaks_run(server, Tls::StartTls, "PLAIN", to, content);
    run.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key).outcome()
}

/// curl reads message `number` over POP3 in TLS, or lists the mailbox where it is 0.
#[must_use]
pub fn curl_read(server: &Server, tls: Tls, number: usize) -> Run {
    let message = if number == 0 { String::new() } else { number.to_string() };
    let url = match tls {
        Tls::StartTls => format!("pop3://127.0.0.1:{}/{message}", server.ports.pop3),
        Tls::Implicit => format!("pop3s://127.0.0.1:{}/{message}", server.ports.pop3s),
    };
    curl(server).args(["--ssl-reqd", &url])
}

/// msmtp sends `content` by this SASL mechanism.
#[must_use]
pub fn msmtp(server: &Server, tls: Tls, mechanism: &str, to: &[&str], content: &[u8]) -> Outcome {
    let (port, starttls) = match tls {
        Tls::StartTls => (server.ports.starttls, "on"),
        Tls::Implicit => (server.ports.implicit, "off"),
    };
    let User { name, password } = server.me();
    let config = server.folder().join("msmtprc");
    let text = format!(
        "account default\nhost 127.0.0.1\nport {port}\ntls on\ntls_starttls {starttls}\ntls_trust_file {}\n\
         auth {mechanism}\nuser {name}\npassword {password}\nfrom {name}\ndomain client.example\n",
        server.certificate().display()
    );
    write_private(&config, &text);
    Run::new("msmtp")
        .clean_environment()
        .arg("--file")
        .arg(&config)
        .arg("--")
        .args(to)
        .stdin(content)
        .outcome()
}

/// A script of `tests/clients` under Python, with the server's facts as its first arguments.
#[must_use]
pub fn python(server: &Server, script: &str, port: u16, mode: &str) -> Run {
    let User { name, password } = server.me();
    Run::new("python3")
        .arg(binary::repository().join("tests/clients").join(script))
        .arg(port.to_string())
        .arg(mode)
        .arg(server.certificate())
        .arg(name)
        .env("GATEPOST_TEST_PASSWORD", password)
}

/// Exim takes `content` from its standard input and sends it on by CHUNKING.
///
/// Returns the log line of the delivery: it ends in the server's reply and holds ` K ` where BDAT was used.
///
/// # Panics
/// When Exim cannot be run or has not delivered.
#[must_use]
pub fn exim(server: &Server, tls: Tls, to: &str, content: &[u8]) -> String {
    let folder = server.folder().join("exim");
    let copied = Copied::below(&folder, &["spool", "log"]);
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o711))
            .expect("the folder's mode can be set");
    }
    let certificate = fs::read(server.certificate()).expect("the certificate can be read");
    fs::write(folder.join("cert.pem"), certificate).expect("the certificate can be copied");
    let config = folder.join("exim.conf");
    fs::write(&config, copied.identity + &exim_config(server, tls, &folder))
        .expect("Exim's configuration can be written");
    let outcome = Run::new(&copied.program)
        .arg("-C")
        .arg(&config)
        .args(["-odi", "-oi", "-f", &server.me().name, to])
        .stdin(to_unix_lines(content))
        .outcome();
    let log = fs::read_to_string(folder.join("log/main")).unwrap_or_default();
    let delivered = log.lines().find(|line| line.contains(" => ")).map(str::to_owned);
    delivered.unwrap_or_else(|| panic!("Exim has not delivered: {outcome}\n{log}"))
}

fn swaks_run(server: &Server, tls: Tls, mechanism: &str, to: &str, content: &[u8]) -> Run {
    let file = server.folder().join("swaks.eml");
    // swaks ends the last line itself.
    fs::write(&file, content.strip_suffix(b"\r\n").unwrap_or(content)).expect("the mail can be written");
    let (port, switch) = match tls {
        Tls::StartTls => (server.ports.starttls, "--tls"),
        Tls::Implicit => (server.ports.implicit, "--tls-on-connect"),
    };
    let User { name, password } = server.me();
    Run::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port.to_string(), switch, "--tls-verify", "--tls-ca-path"])
        .arg(server.certificate())
        .args([
            "--ehlo",
            "client.example",
            "--auth",
            mechanism,
            "--auth-user",
            name,
            "--auth-password",
            password,
        ])
        .args(["--from", name, "--to", to, "--suppress-data", "--data"])
        .arg(format!("@{}", file.display()))
}

fn curl(server: &Server) -> Run {
    let User { name, password } = server.me();
    // By a file, so that no password stands in the list of processes.
    let netrc = server.folder().join("netrc");
    write_private(&netrc, &format!("machine 127.0.0.1 login {name} password {password}\n"));
    Run::new("curl")
        .args(["--silent", "--show-error", "--disable", "--max-time", "50", "--cacert"])
        .arg(server.certificate())
        .arg("--netrc-file")
        .arg(netrc)
}

fn exim_config(server: &Server, tls: Tls, folder: &Path) -> String {
    let (port, protocol) = match tls {
        Tls::StartTls => (server.ports.starttls, "smtp"),
        Tls::Implicit => (server.ports.implicit, "smtps"),
    };
    let User { name, password } = server.me();
    let folder = folder.display();
    // Exim writes a caret in `client_send` twice; the passwords of this suite have none.
    format!(
        r"exim_path = {folder}/exim4
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
primary_hostname = sender.example
qualify_domain = localhost
local_from_check = false
untrusted_set_sender = *
accept_8bitmime = true
message_size_limit = 50M
keep_environment =
log_selector = +smtp_confirmation
begin routers
smarthost:
  driver = manualroute
  transport = gatepost
  route_list = * 127.0.0.1 byname
  self = send
begin transports
gatepost:
  driver = smtp
  protocol = {protocol}
  port = {port}
  allow_localhost = true
  hosts_try_chunking = *
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_certificates = {folder}/cert.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames =
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{name}^{password}
begin retry
* * F,1h,10m
"
    )
}

fn to_unix_lines(content: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(content).replace("\r\n", "\n").into_bytes()
}

fn write_private(path: &Path, text: &str) {
    let mut file =
        fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("the file can be written");
}
