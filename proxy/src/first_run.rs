//! The first start: what a new installation needs before it can serve, made once.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gatepost_core::directory::{Directory, DirectoryError, EditError, Password, Scram};

use crate::config::{Config, Listener, Pop3Tls, Service, SmtpTls};
use crate::data_folder::{DataFolder, FolderError};
use crate::telemetry::Secret;
use crate::tls::generate_self_signed;

/// What the first start has made, and how to use it. Its `Display` is for a person on a terminal, once.
#[derive(Debug)]
pub struct Welcome {
    password: Secret,
    certificate: PathBuf,
    smtp: Option<SocketAddr>,
    pop3s: Option<SocketAddr>,
}

/// Why the first start failed.
#[derive(Debug, thiserror::Error)]
pub enum FirstRunError {
    /// A file cannot be made.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The directory cannot be opened.
    #[error("the directory of accounts: {0}")]
    Directory(#[from] DirectoryError),
    /// The first domain or user cannot be added.
    #[error("the first account: {0}")]
    Edit(#[from] EditError),
    /// The certificate cannot be made.
    #[error("the self-signed certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The system has no random numbers.
    #[error("no random numbers for the first password: {0}")]
    Random(getrandom::Error),
}

/// Opens the directory; a new one knows the domain `localhost`.
///
/// # Errors
/// The directory cannot be opened or made.
pub fn open_directory(folder: &DataFolder) -> Result<Directory, FirstRunError> {
    let path = folder.directory();
    let is_new = !path.exists();
    let directory = Directory::open(&path)?;
    if is_new {
        directory.add_domain(FIRST_DOMAIN)?;
    }
    Ok(directory)
}

/// Makes the first user of an installation that has never served and has no user yet.
///
/// # Errors
/// The user cannot be added.
pub fn make_first_user(
    folder: &DataFolder,
    directory: &Directory,
    config: &Config,
) -> Result<Option<Welcome>, FirstRunError> {
    // The certificate is made right after the user: where it is, a start has come this far before.
    if folder.certificate().exists() || !directory.list_users()?.is_empty() {
        return Ok(None);
    }
    let text = generate_password()?;
    let password = Password::prepare(text.reveal().as_bytes()).map_err(EditError::from)?;
    let scram = if config.scram { Scram::On } else { Scram::Off };
    directory.add_user(FIRST_USER, &password, scram)?;
    let address =
        |wanted: fn(&Listener) -> bool| config.listeners.iter().find(|l| wanted(l)).map(|l| l.address);
    Ok(Some(Welcome {
        password: text,
        certificate: folder.certificate(),
        smtp: address(|l| matches!(l.service, Service::Smtp { tls: SmtpTls::StartTls, .. })),
        pop3s: address(|l| matches!(l.service, Service::Pop3 { tls: Pop3Tls::Implicit })),
    }))
}

/// Makes a self-signed certificate and its key unless they are there.
///
/// # Errors
/// They cannot be made.
pub fn make_certificate(folder: &DataFolder, hostname: &str) -> Result<(), FirstRunError> {
    if folder.certificate().exists() && folder.key().exists() {
        return Ok(());
    }
    let mut names = vec![hostname.to_owned()];
    names.extend(LOCAL_NAMES.iter().map(|&name| name.to_owned()).filter(|name| name != hostname));
    let (certificate, key) = generate_self_signed(&names)?;
    let key = Secret::new(key);
    folder.replace("tls/key.pem", key.reveal().as_bytes())?;
    folder.replace("tls/cert.pem", certificate.as_bytes())?;
    Ok(())
}

/// A hundred bits, in groups that can be typed: letters and digits without the ones that look alike.
fn generate_password() -> Result<Secret, FirstRunError> {
    let mut random = [0; PASSWORD_CHARACTERS];
    getrandom::fill(&mut random).map_err(FirstRunError::Random)?;
    let mut text = String::with_capacity(PASSWORD_CHARACTERS.saturating_mul(2));
    for (index, octet) in random.iter().enumerate() {
        if index > 0 && index.is_multiple_of(PASSWORD_GROUP) {
            text.push('-');
        }
        // 256 is a multiple of 32, so every character is as likely as any other.
        text.extend(ALPHABET.chars().nth(usize::from(octet & 0x1f)));
    }
    Ok(Secret::new(text))
}

// === impl Welcome ===

impl Welcome {
    /// Writes name and password to a file that only its owner can read, and returns its path: for a start without a
    /// terminal, whose output may end in a journal.
    ///
    /// # Errors
    /// The file is there or cannot be made.
    pub fn write_to(&self, folder: &DataFolder) -> Result<PathBuf, FolderError> {
        let text = format!("user      {FIRST_USER}\npassword  {}\n", self.password.reveal());
        folder.replace(FIRST_USER_FILE, Secret::new(text).reveal().as_bytes())
    }

    /// What can be said to anybody: everything but the password.
    #[must_use]
    pub fn without_password(&self, file: &Path) -> String {
        format!("first user {FIRST_USER}; the password is in {} (delete it once read)", file.display())
    }
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "This is a first start: one user was made. The password is shown this once.\n")?;
        writeln!(f, "  user      {FIRST_USER}")?;
        writeln!(f, "  password  {}", self.password.reveal())?;
        let certificate = self.certificate.display();
        if let Some(address) = self.smtp {
            let port = address.port();
            writeln!(f, "\nSend a mail (it asks for the password):\n")?;
            writeln!(
                f,
                "  printf 'Subject: hello\\n\\nIt works.\\n' | curl --ssl-reqd --crlf --cacert {certificate} \\"
            )?;
            writeln!(f, "    --url smtp://localhost:{port} --user {FIRST_USER} \\")?;
            writeln!(f, "    --mail-from {FIRST_USER} --mail-rcpt {FIRST_USER} --upload-file -")?;
        }
        if let Some(address) = self.pop3s {
            let port = address.port();
            writeln!(f, "\nRead it:\n")?;
            writeln!(f, "  curl --cacert {certificate} --user {FIRST_USER} pop3s://localhost:{port}/1")?;
        }
        Ok(())
    }
}

const FIRST_DOMAIN: &str = "localhost";
const FIRST_USER: &str = "me@localhost";
const FIRST_USER_FILE: &str = "first-user.txt";
/// What the self-signed certificate is for, besides the server's own name.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const PASSWORD_CHARACTERS: usize = 20;
const PASSWORD_GROUP: usize = 4;
/// 32 characters: five bits each.
const ALPHABET: &str = "abcdefghjkmnpqrstuvwxyz023456789";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn fresh() -> (tempfile::TempDir, DataFolder) {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        (outer, folder)
    }

    #[test]
    fn the_first_start_makes_one_user_and_later_ones_make_none() {
        let (_outer, folder) = fresh();
        let config = Config::embedded_default();
        let directory = open_directory(&folder).unwrap();
        let welcome = make_first_user(&folder, &directory, &config).unwrap().unwrap();
        assert_eq!(directory.list_users().unwrap().len(), 1);
        assert!(make_first_user(&folder, &directory, &config).unwrap().is_none());
        make_certificate(&folder, "mail.example.org").unwrap();
        directory.remove_user(FIRST_USER).unwrap();
        assert!(make_first_user(&folder, &directory, &config).unwrap().is_none(), "it has served before");
        let shown = welcome.to_string();
        assert!(shown.contains(welcome.password.reveal()));
        assert!(
            shown.contains("smtp://localhost:2525") && shown.contains("pop3s://localhost:2995/1"),
            "{shown}"
        );
    }

    #[test]
    fn without_a_terminal_the_password_is_in_a_private_file_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let (_outer, folder) = fresh();
        let directory = open_directory(&folder).unwrap();
        let welcome = make_first_user(&folder, &directory, &Config::embedded_default()).unwrap().unwrap();
        let path = welcome.write_to(&folder).unwrap();
        let password = welcome.password.reveal();
        assert!(std::fs::read_to_string(&path).unwrap().contains(password));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(!welcome.without_password(&path).contains(password));
        assert!(!format!("{welcome:?}").contains(password));
    }

    #[test]
    fn the_certificate_is_made_once() {
        let (_outer, folder) = fresh();
        make_certificate(&folder, "localhost").unwrap();
        let first = std::fs::read(folder.certificate()).unwrap();
        make_certificate(&folder, "localhost").unwrap();
        assert_eq!(std::fs::read(folder.certificate()).unwrap(), first);
        crate::tls::Tls::load(&folder.certificate(), &folder.key()).unwrap();
    }

    #[test]
    fn a_certificate_without_its_key_is_replaced() {
        let (_outer, folder) = fresh();
        make_certificate(&folder, "localhost").unwrap();
        std::fs::remove_file(folder.key()).unwrap();
        make_certificate(&folder, "localhost").unwrap();
        crate::tls::Tls::load(&folder.certificate(), &folder.key()).unwrap();
    }

    #[test]
    fn passwords_are_long_and_never_the_same() {
        let passwords: HashSet<_> =
            (0..100).map(|_| generate_password().unwrap().reveal().to_owned()).collect();
        assert_eq!(passwords.len(), 100);
        assert!(passwords.iter().all(|password| password.len() == 24 && password.is_ascii()));
        assert_eq!(ALPHABET.len(), 32);
    }
}
