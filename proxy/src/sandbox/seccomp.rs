//! The system calls that are left: an allow-list, and EPERM for everything else.
//!
//! EPERM rather than the process's end: libraries probe for what a kernel can do (SQLite, the C library), and a probe must
//! not stop the mail.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::syscalls;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// Neither x86-64 nor aarch64.
    #[error("there is no list of system calls for this kind of processor")]
    Processor,
    /// The kernel has no seccomp filters, or does not give them to us.
    #[error("{0}")]
    Kernel(#[from] seccompiler::Error),
    /// The list cannot be translated: a bug.
    #[error("the list of system calls: {0}")]
    List(#[from] seccompiler::BackendError),
}

/// Confines the calling thread, and all threads that it will spawn, for good.
pub(super) fn confine() -> Result<(), SeccompError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| SeccompError::Processor)?;
    for filter in [hide_clone3(arch)?, allow_list(arch)?] {
        apply_filter(&filter)?;
    }
    Ok(())
}

/// Confines the calling thread, and all processes that it will start, for good: what is listed is refused.
pub(super) fn refuse(calls: impl IntoIterator<Item = Refusal>) -> Result<(), SeccompError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| SeccompError::Processor)?;
    for filter in [hide_clone3(arch)?, deny_list(calls, arch)?] {
        apply_filter(&filter)?;
    }
    Ok(())
}

/// A call that a program must not make.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    Always(libc::c_long),
    /// Where this argument is one of these.
    Where(libc::c_long, u8, &'static [libc::c_int]),
    /// Where this argument has this bit.
    Bit(libc::c_long, u8, libc::c_int),
    /// Unless this argument is zero.
    UnlessZero(libc::c_long, u8),
}

fn deny_list(calls: impl IntoIterator<Item = Refusal>, arch: TargetArch) -> Result<BpfProgram, SeccompError> {
    let mut rules = Rules::new();
    for refusal in calls {
        let (call, tests) = match refusal {
            Refusal::Always(call) => (call, Vec::new()),
            Refusal::Where(call, argument, values) => {
                (call, values.iter().map(|value| equal(argument, bits(*value))).collect())
            }
            Refusal::Bit(call, argument, bit) => (call, vec![with(argument, bits(bit))]),
            Refusal::UnlessZero(call, argument) => {
                (call, vec![Test { argument, operator: SeccompCmpOp::Ne, ..DWORD }])
            }
        };
        let mut numbers = vec![call];
        if arch == TargetArch::x86_64 {
            numbers.push(call | X32);
        }
        for number in numbers {
            let listed = rules.entry(number).or_default();
            for test in &tests {
                listed.push(all_of(std::slice::from_ref(test))?);
            }
        }
    }
    if arch == TargetArch::x86_64 {
        rules.extend(X32_ONLY.map(|call| (call | X32, Vec::new())));
    }
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?;
    Ok(filter.try_into()?)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A filter cannot look into the memory that `clone3` points to. With ENOSYS the C library falls back to `clone`, whose
/// flags a filter sees.
fn hide_clone3(arch: TargetArch) -> Result<BpfProgram, SeccompError> {
    let rules = Rules::from([(libc::SYS_clone3, Vec::new())]);
    let hidden = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, hidden, arch)?;
    Ok(filter.try_into()?)
}

fn allow_list(arch: TargetArch) -> Result<BpfProgram, SeccompError> {
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules()?, refused, SeccompAction::Allow, arch)?;
    Ok(filter.try_into()?)
}

fn rules() -> Result<Rules, SeccompError> {
    let plain = syscalls::PLAIN.iter().copied().chain([syscalls::LEGACY]).flatten();
    let mut rules: Rules = plain.map(|call| (*call, Vec::new())).collect();
    rules.extend([
        // Memory is writable or executable, and none becomes executable any more.
        (libc::SYS_mmap, vec![all_of(&[without(2, bits(libc::PROT_EXEC))])?]),
        (libc::SYS_mprotect, vec![all_of(&[without(2, bits(libc::PROT_EXEC))])?]),
        // A new thread, not a new process.
        (libc::SYS_clone, vec![all_of(&[with(0, bits(libc::CLONE_VM | libc::CLONE_THREAD))])?]),
        // abort(), and nobody else.
        (libc::SYS_tgkill, vec![all_of(&[equal(0, u64::from(std::process::id()))])?]),
        // To ask for a limit, not to set one.
        (libc::SYS_prlimit64, vec![all_of(&[null(2)])?]),
        (libc::SYS_prctl, any_of(0, &PRCTL.map(bits))?),
        (libc::SYS_ioctl, any_of(1, &IOCTL)?),
        (libc::SYS_socket, sockets()?),
    ]);
    Ok(rules)
}

/// Streams and datagrams of the Internet, and of the service manager. No raw, packet, netlink or any other sockets.
fn sockets() -> Result<Vec<SeccompRule>, SeccompError> {
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let kind = Test {
                argument: 1,
                operator: SeccompCmpOp::MaskedEq(SOCKET_KIND),
                value: bits(kind),
                ..DWORD
            };
            rules.push(all_of(&[equal(0, bits(family)), kind])?);
        }
    }
    Ok(rules)
}

/// One argument of a call, compared.
#[derive(Clone)]
struct Test {
    argument: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
}

/// What the kernel reads as an `int`: the upper half is not looked at.
const DWORD: Test =
    Test { argument: 0, length: SeccompCmpArgLen::Dword, operator: SeccompCmpOp::Eq, value: 0 };

const fn equal(argument: u8, value: u64) -> Test {
    Test { argument, value, ..DWORD }
}

const fn with(argument: u8, mask: u64) -> Test {
    Test { argument, operator: SeccompCmpOp::MaskedEq(mask), value: mask, ..DWORD }
}

const fn without(argument: u8, mask: u64) -> Test {
    Test { argument, operator: SeccompCmpOp::MaskedEq(mask), value: 0, ..DWORD }
}

/// A pointer that points nowhere.
const fn null(argument: u8) -> Test {
    Test { argument, length: SeccompCmpArgLen::Qword, ..DWORD }
}

fn all_of(tests: &[Test]) -> Result<SeccompRule, SeccompError> {
    let conditions = tests.iter().cloned().map(|test| {
        let Test { argument, length, operator, value } = test;
        SeccompCondition::new(argument, length, operator, value)
    });
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, SeccompError> {
    values.iter().map(|value| all_of(&[equal(argument, *value)])).collect()
}

/// As a filter sees it: constants of the C library are signed, and none of ours is negative.
const fn bits(value: libc::c_int) -> u64 {
    value.unsigned_abs() as u64
}

/// Kernels with the x32 ABI take each call under a second number, and some under one that only it has.
const X32: libc::c_long = 0x4000_0000;
const X32_ONLY: std::ops::Range<libc::c_long> = 512..548;
/// The part of `socket`'s second argument that is not a flag.
const SOCKET_KIND: u64 = 0xf;
/// Names of threads and of memory areas, and questions about our own confinement.
const PRCTL: [libc::c_int; 6] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_DUMPABLE,
    libc::PR_GET_SECCOMP,
];
/// Non-blocking and close-on-exec descriptors, and whether standard error is a terminal.
const IOCTL: [u64; 4] = [libc::FIONBIO, libc::FIOCLEX, libc::TCGETS, libc::TIOCGWINSZ];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_translates_for_both_processors() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            hide_clone3(arch).unwrap();
            allow_list(arch).unwrap();
        }
    }
}
