//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// `N` ports on 127.0.0.1 that nothing listens on.
///
/// They are taken below the kernel's ephemeral range, and each process looks in a place of its own: a port found by
/// binding to 0 could be given to another test's outgoing connection before the server binds it.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn free<const N: usize>() -> [u16; N] {
    let mut found = [0; N];
    for port in &mut found {
        *port = (0..SPAN)
            .map(|_| {
                let step = NEXT.fetch_add(1, Ordering::Relaxed);
                let place = std::process::id().wrapping_mul(PORTS_A_PROCESS).wrapping_add(step) % SPAN;
                u16::try_from(FIRST + place).expect("the range ends below 65,536")
            })
            .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
            .expect("a free port");
    }
    found
}

static NEXT: AtomicU32 = AtomicU32::new(0);
const FIRST: u32 = 10_000;
/// Linux hands out ephemeral ports from 32,768.
const SPAN: u32 = 22_000;
/// No test starts more than a few servers of six ports each.
const PORTS_A_PROCESS: u32 = 32;
