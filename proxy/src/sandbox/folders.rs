//! Which folders stay open, and why each.

use std::path::{Path, PathBuf};

use super::Folders;
use crate::config::{Admin, Admission, Config};
use crate::{pass_through, relay};

/// What a server with this configuration needs, the configuration's own file included: a reload reads it again.
#[must_use]
pub fn folders(config: &Config, config_file: Option<&Path>, data: &Path) -> Folders {
    let files = config_file.into_iter().chain(files(config)).flat_map(folders_of);
    let system = SYSTEM_FILES.iter().flat_map(|file| folders_of(Path::new(file)));
    let mut read: Vec<PathBuf> = files.chain(system).collect();
    read.extend(config.scan.rules.clone());
    read.extend(SYSTEM_FOLDERS.iter().map(PathBuf::from));
    read.sort();
    read.dedup();
    Folders { data: data.to_owned(), pickup: config.pickup.clone(), read }
}

/// Every file that the configuration names, and that is read again while the server runs.
pub fn files(config: &Config) -> impl Iterator<Item = &Path> {
    let tls = config.tls.iter().flat_map(|tls| [tls.certificate.as_path(), tls.key.as_path()]);
    let Admission { trusted_files, allow_files, deny_files, .. } = &config.admission;
    let clients = config.listeners.iter().filter_map(|listener| listener.client_certificates.as_ref());
    let authorities = clients.map(|clients| clients.authorities.as_path());
    let lists = [trusted_files, allow_files, deny_files].into_iter().flatten().map(PathBuf::as_path);
    let dkim = config.dkim.iter().map(|key| key.key.as_path());
    let others = lists.chain(relay::files(config)).chain(pass_through::files(config)).chain(dkim);
    tls.chain(authorities).chain(config.admin.as_ref().and_then(Admin::credential)).chain(others)
}

/// The folder of the name, and where that is a link, the folder of the file.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let folder = |file: &Path| match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => file.to_owned(),
    };
    let mut folders = vec![folder(file)];
    folders.extend(file.canonicalize().ok().as_deref().map(folder));
    folders
}

/// The resolver's. Their folder is `/etc`, and where a daemon keeps the first, its folder below `/run`.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
const SYSTEM_FOLDERS: [&str; 8] = [
    // CA roots, as the distributions place them, and what the links in there lead to.
    "/etc/ssl/certs",
    "/etc/pki/ca-trust",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    // Our own numbers for the metrics.
    "/proc/self",
    // How many processors we may use: a pool that grows later asks again.
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    // A device, not a folder: SQLite takes its random numbers from it.
    "/dev/urandom",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsFiles;

    #[test]
    fn the_folders_of_all_files_are_open_and_those_of_links_twice() {
        let outer = tempfile::tempdir().unwrap();
        let outer = outer.path().canonicalize().unwrap();
        for folder in ["etc", "live", "archive", "lists"] {
            std::fs::create_dir(outer.join(folder)).unwrap();
        }
        std::fs::write(outer.join("archive/key1.pem"), "").unwrap();
        std::os::unix::fs::symlink("../archive/key1.pem", outer.join("live/key.pem")).unwrap();
        let tls = TlsFiles { certificate: outer.join("live/cert.pem"), key: outer.join("live/key.pem") };
        let mut config = Config { tls: Some(tls), ..Config::embedded_default() };
        config.admission.deny_files = vec![outer.join("lists/deny.txt")];
        let folders = folders(&config, Some(&outer.join("etc/gatepost.toml")), &outer.join("data"));
        for folder in ["etc", "live", "archive", "lists"] {
            assert!(folders.read.contains(&outer.join(folder)), "{folder}: {folders:?}");
        }
        assert!(!folders.read.contains(&outer));
        assert_eq!(folders.data, outer.join("data"));
    }

    #[test]
    fn a_file_without_a_folder_lies_in_the_current_one() {
        assert_eq!(folders_of(Path::new("no-such.toml")), [PathBuf::from(".")]);
    }
}
