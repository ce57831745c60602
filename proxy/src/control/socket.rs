//! Where the socket lies, and who may come in.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::data_folder::DataFolder;
use crate::private::FILE_MODE;

/// The bound socket. Dropped, its file is removed.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the socket's file with its last use.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

// === impl ControlSocket ===

impl ControlSocket {
    /// Binds it. To be called by who holds the folder's lock, so that what lies there is left over from a crash.
    ///
    /// # Errors
    /// It cannot be made, or something else has its name.
    pub fn bind(folder: &DataFolder) -> io::Result<Self> {
        let path = path_in(folder);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else has this name"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
        let (_folder, short) = short_path(folder.root())?;
        let listener = UnixListener::bind(short)?;
        listener.set_nonblocking(true)?;
        // The folder is closed to others, so nobody has come in before.
        fs::set_permissions(&path, Permissions::from_mode(FILE_MODE))?;
        Ok(Self { listener, file: SocketFile(path) })
    }

    pub(super) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next start removes what cannot be removed now.
        let _gone = fs::remove_file(&self.0);
    }
}

/// The socket's file.
#[must_use]
pub fn path_in(folder: &DataFolder) -> PathBuf {
    folder.root().join(NAME)
}

/// Connects to the server of this folder.
///
/// # Errors
/// `NotFound` and `ConnectionRefused` where no server listens.
pub(super) fn connect(folder: &DataFolder) -> io::Result<UnixStream> {
    let (_folder, short) = short_path(folder.root())?;
    UnixStream::connect(short)
}

/// Whether a peer of this user may give orders: the server's own user, and root, who could become him.
pub(super) fn may_enter(peer: u32) -> bool {
    peer == 0 || peer == rustix::process::geteuid().as_raw()
}

/// An address has room for 108 octets, and a folder may lie deeper than that: so it is named by its descriptor.
fn short_path(root: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(root)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(NAME);
    Ok((folder, path))
}

const NAME: &str = "control.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_for_its_owner_alone_however_deep_its_folder_lies() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("d".repeat(120)).join("data")).unwrap();
        let socket = ControlSocket::bind(&folder).unwrap();
        assert_eq!(fs::metadata(path_in(&folder)).unwrap().permissions().mode() & 0o7777, 0o600);
        connect(&folder).unwrap();
        drop(socket);
        assert!(!path_in(&folder).exists());
    }

    #[test]
    fn what_a_crash_left_is_replaced_and_anything_else_is_not() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        std::mem::drop(UnixListener::bind(path_in(&folder)).unwrap());
        assert_eq!(connect(&folder).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(ControlSocket::bind(&folder).unwrap());
        fs::write(path_in(&folder), "precious").unwrap();
        assert!(ControlSocket::bind(&folder).is_err());
        assert_eq!(fs::read(path_in(&folder)).unwrap(), b"precious");
    }

    #[test]
    fn nobody_but_the_owner_and_root_may_enter() {
        let us = rustix::process::geteuid().as_raw();
        assert!(may_enter(us) && may_enter(0));
        assert!(!may_enter(us + 1));
    }
}
