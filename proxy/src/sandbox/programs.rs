//! What a scan command, and the helper processes that run it, cannot do: reach the network, other processes, or any file but
//! the programs of the system, what the configuration names, and a folder of its own to write to.
//!
//! Other than for the server itself, system calls are listed that are refused: nobody knows which ones a program of
//! somebody else needs. What counts is what it could do harm with outside of its folder.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::seccomp::{self, Refusal};
use super::self_test::Deed;
use super::{LandlockError, Part, SandboxError, privileges};
use crate::config::SandboxMode;

/// What stays open to a process.
#[derive(Debug, Clone)]
pub(crate) struct Reach<'a> {
    /// Files and folders that it may read and run.
    pub(crate) run: &'a [PathBuf],
    /// It may write here, and run nothing of it.
    pub(crate) write: &'a Path,
}

/// How much a process may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Octets of address space.
    pub(crate) memory: u64,
    /// Octets of one file.
    pub(crate) file: u64,
}

/// Which process is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The one that starts a process for each item, and ends it with all that it has started.
    Parent,
    /// The one for an item: neither it nor anything that it starts can leave its process group.
    Item,
}

/// Confines this process, which must have one thread, and all that it will start.
///
/// # Errors
/// In `enforce`: a part is missing.
pub(crate) fn confine(
    mode: SandboxMode,
    stage: Stage,
    reach: &Reach<'_>,
    limits: Limits,
) -> Result<(), SandboxError> {
    if mode == SandboxMode::Off {
        return Ok(());
    }
    let parts = [
        (Part::Capabilities, privileges::drop_capabilities().map_err(|error| error.to_string())),
        (Part::Limits, limit(stage, limits).map_err(|error| error.to_string())),
        (Part::Landlock, restrict_files(reach).map_err(|error| error.to_string())),
        (Part::Seccomp, refuse_calls(stage).map_err(|error| error.to_string())),
    ];
    for (part, result) in parts {
        match result {
            Err(error) if mode == SandboxMode::Enforce => return Err(SandboxError::Missing { part, error }),
            // The server has told of it already.
            _ => (),
        }
    }
    Ok(())
}

/// What this process could do all the same. A helper has to run programs.
pub(crate) fn holes() -> Vec<&'static str> {
    let deeds = Deed::ALL.into_iter().filter(|deed| *deed != Deed::StartProgram);
    deeds.filter(|deed| deed.is_possible()).map(Deed::name).collect()
}

fn limit(stage: Stage, limits: Limits) -> std::io::Result<()> {
    let mut bounds = vec![
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Rtprio, 0),
        (Resource::Nproc, PROCESSES_MAX),
        (Resource::Nofile, FILES_MAX),
    ];
    if stage == Stage::Item {
        bounds.extend([(Resource::As, limits.memory), (Resource::Fsize, limits.file)]);
    }
    for (resource, bound) in bounds {
        // Nobody may raise what is lower already.
        let bound = getrlimit(resource).maximum.map_or(bound, |most| most.min(bound));
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })?;
    }
    Ok(())
}

fn restrict_files(reach: &Reach<'_>) -> Result<(), LandlockError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = reach.run.iter().map(PathBuf::as_path).chain(PROGRAMS.map(Path::new));
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))
        .map_err(|_| LandlockError::Kernel)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .scope(Scope::Signal)?
        .scope(Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(path_beneath_rules(run, read | AccessFs::Execute))?
        .add_rules(path_beneath_rules(FILES, read))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules([reach.write], AccessFs::from_all(RIGHTS) & !NEVER))?;
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(LandlockError::Kernel),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn refuse_calls(stage: Stage) -> Result<(), seccomp::SeccompError> {
    match stage {
        Stage::Parent => seccomp::refuse(OUTSIDE.iter().chain(SPACES).copied()),
        Stage::Item => seccomp::refuse(GROUP.iter().copied()),
    }
}

/// The network, other processes, and the kernel.
const OUTSIDE: &[Refusal] = &[
    Refusal::Always(libc::SYS_socket),
    Refusal::Always(libc::SYS_io_uring_setup),
    Refusal::Always(libc::SYS_ptrace),
    Refusal::Always(libc::SYS_process_vm_readv),
    Refusal::Always(libc::SYS_process_vm_writev),
    Refusal::Always(libc::SYS_process_madvise),
    Refusal::Always(libc::SYS_kcmp),
    Refusal::Always(libc::SYS_pidfd_open),
    Refusal::Always(libc::SYS_pidfd_getfd),
    Refusal::Always(libc::SYS_pidfd_send_signal),
    Refusal::Always(libc::SYS_rt_sigqueueinfo),
    Refusal::Always(libc::SYS_rt_tgsigqueueinfo),
    // To have the kernel send signals to somebody else.
    Refusal::Where(libc::SYS_fcntl, 1, &[F_SETOWN, F_SETOWN_EX]),
    Refusal::Where(libc::SYS_ioctl, 1, &[FIOSETOWN, SIOCSPGRP]),
    // The server's limits, pace and processors are no business of theirs.
    Refusal::UnlessZero(libc::SYS_prlimit64, 0),
    Refusal::UnlessZero(libc::SYS_sched_setaffinity, 0),
    Refusal::Always(libc::SYS_sched_setscheduler),
    Refusal::Always(libc::SYS_sched_setparam),
    Refusal::Always(libc::SYS_sched_setattr),
    Refusal::Always(libc::SYS_setpriority),
    Refusal::Always(libc::SYS_ioprio_set),
    Refusal::Always(libc::SYS_migrate_pages),
    Refusal::Always(libc::SYS_move_pages),
    // Memory and messages that other processes of the user share.
    Refusal::Always(libc::SYS_shmget),
    Refusal::Always(libc::SYS_shmat),
    Refusal::Always(libc::SYS_semget),
    Refusal::Always(libc::SYS_msgget),
    Refusal::Always(libc::SYS_mq_open),
    Refusal::Always(libc::SYS_add_key),
    Refusal::Always(libc::SYS_request_key),
    Refusal::Always(libc::SYS_keyctl),
    Refusal::Always(libc::SYS_bpf),
    Refusal::Always(libc::SYS_perf_event_open),
    Refusal::Always(libc::SYS_userfaultfd),
    Refusal::Always(libc::SYS_open_by_handle_at),
    Refusal::Always(libc::SYS_syslog),
];

/// Namespaces and mounts: whoever makes some gets rights there, and with them more of the kernel to attack.
const SPACES: &[Refusal] = &[
    Refusal::Always(libc::SYS_unshare),
    Refusal::Always(libc::SYS_setns),
    Refusal::Bit(libc::SYS_clone, 0, libc::CLONE_NEWUSER),
    Refusal::Bit(libc::SYS_clone, 0, libc::CLONE_NEWNS),
    Refusal::Bit(libc::SYS_clone, 0, libc::CLONE_NEWPID),
    Refusal::Bit(libc::SYS_clone, 0, libc::CLONE_NEWNET),
    Refusal::Bit(libc::SYS_clone, 0, libc::CLONE_NEWIPC),
    Refusal::Bit(libc::SYS_clone, 0, libc::CLONE_NEWUTS),
    Refusal::Bit(libc::SYS_clone, 0, libc::CLONE_NEWCGROUP),
    Refusal::Always(libc::SYS_mount),
    Refusal::Always(libc::SYS_umount2),
    Refusal::Always(libc::SYS_move_mount),
    Refusal::Always(libc::SYS_open_tree),
    Refusal::Always(libc::SYS_fsopen),
    Refusal::Always(libc::SYS_fsmount),
    Refusal::Always(libc::SYS_fspick),
    Refusal::Always(libc::SYS_mount_setattr),
    Refusal::Always(libc::SYS_pivot_root),
    Refusal::Always(libc::SYS_chroot),
];

/// The ways out of a process group, and signals to anything but the group: its end is the end of all that it has started.
const GROUP: &[Refusal] = &[
    Refusal::Always(libc::SYS_setsid),
    Refusal::Always(libc::SYS_setpgid),
    Refusal::UnlessZero(libc::SYS_kill, 0),
    Refusal::Always(libc::SYS_tkill),
    Refusal::Always(libc::SYS_tgkill),
];

/// Where distributions keep programs and what these need to run.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/nix/store"];
const FILES: [&str; 10] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/dev/zero",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
];
/// As for the server itself.
const LEAST: ABI = ABI::V2;
const RIGHTS: ABI = ABI::V6;
/// Nothing that was written can be run, and no device, socket or link to elsewhere be made.
const NEVER: BitFlags<AccessFs> = landlock::make_bitflags!(AccessFs::{
    Execute | MakeChar | MakeBlock | MakeSock | MakeFifo | MakeSym | IoctlDev
});
/// Of the user, this server's threads among them: enough for them and every program, and too few to exhaust the system.
const PROCESSES_MAX: u64 = 4_096;
/// Of one process.
const FILES_MAX: u64 = 1_024;
/// fcntl(2) and ioctl(2); the same on all processors.
const F_SETOWN: libc::c_int = 8;
const F_SETOWN_EX: libc::c_int = 15;
const FIOSETOWN: libc::c_int = 0x8901;
const SIOCSPGRP: libc::c_int = 0x8902;
