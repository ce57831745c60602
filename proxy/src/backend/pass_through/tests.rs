//! Whether anybody behind answers.

use std::net::SocketAddr;

use gatepost_core::delivery::hop::{self, TlsDemand};
use gatepost_smtp::client::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::testing::house;

fn settings(upstreams: &[(&str, SocketAddr)]) -> Settings {
    let name = "mx.example".parse().unwrap();
    let upstream = |(name, address): &(&str, SocketAddr)| UpstreamSettings {
        hop: NextHop::new((*name).to_owned(), *address, Protocol::Smtp, TlsDemand::Never),
        weight: 1,
        connections: 10,
        identity: ClientIdentity::None,
    };
    let listener = |name: &str, upstreams: &[&str]| ListenerSettings {
        name: name.to_owned(),
        upstreams: upstreams.iter().map(|&name| name.to_owned()).collect(),
        trace_header: false,
        delays_mail: false,
        scan_time: None,
        fails_open: false,
        header_firewall: false,
    };
    Settings {
        hostname: "mx.example".into(),
        domains: Vec::new(),
        courier: Courier::start(hop::Settings::new(name)).unwrap(),
        idle_time: Duration::from_secs(60),
        block_time: Duration::from_secs(1),
        probe_interval: Duration::from_secs(3600),
        upstreams: upstreams.iter().map(upstream).collect(),
        listeners: vec![listener("mx", &["one"]), listener("all", &[])],
    }
}

/// Greets, and says 250 to whatever comes.
async fn serve(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut octets = [0; 512];
            socket.write_all(b"220 one.example\r\n").await.ok();
            while socket.read(&mut octets).await.is_ok_and(|read| read > 0) {
                socket.write_all(b"250 one.example\r\n").await.ok();
            }
        });
    }
}

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_listener_is_unanswered_until_one_of_its_servers_was_met() {
    let pass_through = house().services.pass_through.clone();
    assert!(pass_through.unanswered().is_empty(), "nothing passes through");
    let ((gone, one), (there, two)) = (bound().await, bound().await);
    drop(gone);
    pass_through.reload(Some(settings(&[("one", one), ("two", two)])));
    assert_eq!(pass_through.unanswered(), ["all", "mx"], "nobody was asked yet");
    let serving = tokio::spawn(serve(there));
    pass_through.start(Some(settings(&[("one", one), ("two", two)]))).await;
    assert_eq!(pass_through.unanswered(), ["mx"], "the other listener has a server that is there");
    serving.abort();
    serving.await.ok();
    pass_through.start(Some(settings(&[("one", one), ("two", two)]))).await;
    assert_eq!(pass_through.unanswered(), ["all", "mx"], "it has gone");
    pass_through.start(None).await;
    assert!(pass_through.unanswered().is_empty());
}
