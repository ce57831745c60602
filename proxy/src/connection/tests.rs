use tokio::net::TcpStream;

use super::*;

/// How large the future is that this function returns.
fn future_octets<A, B, C, D, F: Future>(_function: impl Fn(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

/// An idle plaintext session may cost 4 KiB: this future, the machine with its heap, the socket's bookkeeping.
#[test]
fn the_future_of_a_connection_is_small() {
    let octets = future_octets(serve::<TcpStream>);
    assert!(octets <= 1536, "{octets} octets");
    let octets = size_of::<SmtpMachine>();
    assert!(octets <= 1536, "{octets} octets");
}
