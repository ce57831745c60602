//! From root to a user without any right of root, and bounds on what the process may take.
//!
//! These calls act on the calling thread alone, so they are made while it is the only one.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;

use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::accounts::Account;
use crate::hardening;
use crate::private::FOLDER_MODE;

/// Goes on as this user. A data folder that is not there yet is made for him, below a folder that must exist or that he
/// may make himself.
pub(super) fn become_user(account: &Account, data: &Path) -> io::Result<()> {
    make_for(account, data)?;
    let (uid, gid) = (Uid::from_raw(account.uid()), Gid::from_raw(account.gid()));
    let groups: Vec<Gid> = account.groups().iter().map(|group| Gid::from_raw(*group)).collect();
    // In this order: once the user is changed, nothing else can be.
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // The kernel has set it anew with the user.
    hardening::forbid_core_dumps()
}

/// Goes on as whom this folder belongs to, where root works on it for him: what root wrote there he could not read.
pub(super) fn become_owner(folder: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(folder)?;
    if !rustix::process::geteuid().is_root() || metadata.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

fn make_for(account: &Account, data: &Path) -> io::Result<()> {
    if data.exists() || !data.parent().is_some_and(Path::exists) {
        return Ok(());
    }
    std::fs::DirBuilder::new().mode(FOLDER_MODE).create(data)?;
    chown(data, Some(account.uid()), Some(account.gid()))
}

/// Gives up every capability, and the ways to get one back.
pub(super) fn drop_capabilities() -> io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter() {
        // Only who may change the set can shrink it. For others it does not matter: without new programs and new
        // privileges nothing is ever drawn from it.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Takes away what the process never uses.
pub(super) fn limit_resources() -> io::Result<()> {
    for resource in [Resource::Memlock, Resource::Msgqueue, Resource::Rtprio] {
        setrlimit(resource, Rlimit { current: Some(0), maximum: Some(0) })?;
    }
    Ok(())
}
