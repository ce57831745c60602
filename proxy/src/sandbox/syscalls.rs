//! The system calls that a running server makes, by what it makes them for. Derived from traces of the whole test run,
//! with the variants that other versions of the C library choose for the same purpose.
//!
//! Not here, and so refused for good: `execve` and every way to a new process, `ptrace`, `process_vm_*` and `pidfd_*`,
//! `listen`, mounts and namespaces, other users and capabilities, keys, BPF, io_uring, `userfaultfd`, modules, clocks.

#[cfg(target_arch = "x86_64")]
pub(super) use legacy::LEGACY;

use libc::c_long;

/// Allowed whatever their arguments.
pub(super) const PLAIN: &[&[c_long]] =
    &[MEMORY, THREADS, TIME, SIGNALS, FILES, FOLDERS, EVENTS, SOCKETS, PROCESS];

/// The allocator and SQLite. What makes memory executable is in `seccomp`, with a condition.
const MEMORY: &[c_long] = &[libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise];

/// Threads come and go for as long as the server runs: the blocking pool, a scan thread in place of a stuck one.
const THREADS: &[c_long] = &[
    // Answered with ENOSYS by a filter of its own, after which the C library falls back to `clone`.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Mostly answered without a system call, but not on every clock source.
const TIME: &[c_long] = &[
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
];

/// Handlers and masks of our own threads; signals are sent to ourselves only (`seccomp`).
const SIGNALS: &[c_long] =
    &[libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack];

/// Which files is for landlock to say.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fchmod,
    // SQLite gives its journals to the owner of the database where it runs as root.
    libc::SYS_fchown,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
];

/// Segments, bodies, journals and drafts come, are renamed and go.
const FOLDERS: &[c_long] = &[
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_readlinkat,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_getcwd,
    libc::SYS_umask,
];

/// The runtime's way to wait.
const EVENTS: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
];

/// Connections that come in, and the resolver's own: it binds its sockets to a random port. `listen` is not here.
/// `socket` is in `seccomp`, with its families.
const SOCKETS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
];

/// Questions about ourselves and the machine.
const PROCESS: &[c_long] = &[
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_capget,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getcpu,
];

/// Older variants of calls above that this architecture's C library still uses.
#[cfg(target_arch = "x86_64")]
mod legacy {
    use libc::c_long;

    pub(in crate::sandbox) const LEGACY: &[c_long] = &[
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_rename,
        libc::SYS_unlink,
        libc::SYS_link,
        libc::SYS_readlink,
        libc::SYS_chmod,
        libc::SYS_poll,
        libc::SYS_epoll_wait,
        libc::SYS_getrlimit,
        libc::SYS_time,
    ];
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) const LEGACY: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_never_be_possible_is_not_listed() {
        let forbidden = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_listen,
            libc::SYS_accept,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_setgroups,
            libc::SYS_capset,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_memfd_create,
            libc::SYS_kill,
            libc::SYS_prctl,
            libc::SYS_ioctl,
            libc::SYS_socket,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_clone,
        ];
        for call in forbidden {
            assert!(!PLAIN.iter().any(|group| group.contains(&call)), "{call}");
            assert!(!LEGACY.contains(&call), "{call}");
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut all: Vec<_> = PLAIN.concat();
        all.extend_from_slice(LEGACY);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
