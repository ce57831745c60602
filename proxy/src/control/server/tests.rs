use std::path::Path;
use std::sync::Arc;

use gatepost_core::background::Background;
use gatepost_core::disk::{Disk, SimulatedDisk};
use gatepost_core::events::Log;
use gatepost_core::intake::{Body, Origin, Submission};
use gatepost_core::memory::MemoryBudget;
use gatepost_core::quarantine::{self, Evidence, Quarantine, Releaser, Suspect};
use gatepost_core::queue::{NewMessage, Queue, QueueId, Settings};
use gatepost_core::scan::{self, EnginePolicy, Ensemble, Overruled, Scanner, YaraEngine};
use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn rooms_with(recipients: &[&str]) -> (Rooms, Vec<String>) {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let settings = Settings { segment_octets: 1024 * 1024, free_octets_min: 0, ..Settings::default() };
    let (queue, _recovered) = Queue::open(disk, Path::new("/queue"), settings, None).unwrap();
    let mut ids = Vec::new();
    for recipient in recipients {
        let message = message(queue.allocate_id(), recipient);
        ids.push(message.id.to_string());
        queue.append(message).await.unwrap();
    }
    let (quarantine, scanner, memory) = (quarantine(), scanner(), MemoryBudget::default());
    let releaser = Releaser { quarantine, queue: queue.clone(), scanner, memory };
    let engines = Arc::new(Ensemble::new(EnginePolicy::Any));
    let background = Background::default();
    (Rooms { queue, remote: None, engines, releaser, background, events: Log::discarding() }, ids)
}

fn message(id: QueueId, recipient: &str) -> NewMessage {
    let recipient = Recipient { path: recipient.parse().unwrap(), params: RcptParams::default() };
    let envelope = Envelope {
        reverse_path: "<me@localhost>".parse().unwrap(),
        params: MailParams::default(),
        recipients: vec![recipient],
    };
    let origin = Origin {
        session: "S1".to_owned(),
        listener: "test".to_owned(),
        peer: "192.0.2.1:25".parse().unwrap(),
        helo: "client".to_owned(),
        esmtp: true,
        tls: None,
        user: None,
        received_at_ms: 1_700_000_000_000,
    };
    let (submission, trace) = (Submission::new(envelope, origin), b"Received: x\r\n".to_vec());
    let body = Body::Memory("Subject: y\r\n\r\nz\r\n".into());
    NewMessage { id, submission, trace, body, stamp: None }
}

fn quarantine() -> Quarantine {
    let (disk, root) = (Arc::new(SimulatedDisk::new()), Path::new("/quarantine"));
    let settings = quarantine::Settings::default();
    Quarantine::open(disk, root, settings, Overruled::default(), Log::discarding(), None).unwrap()
}

fn scanner() -> Scanner {
    let engine = YaraEngine::start(None).unwrap();
    let metrics = scan::Metrics::register(&prometheus::Registry::new()).unwrap();
    Scanner::start(engine, &scan::Settings::default(), metrics).unwrap()
}

/// Says all this, then nothing more, and takes the whole answer.
async fn say(rooms: &Rooms, said: &[u8]) -> String {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut reader, mut writer) = ours.into_split();
    let talk = async {
        // A server that has heard enough closes its end.
        let _ = writer.write_all(said).await;
        drop(writer);
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).await.map(|_| String::from_utf8(heard).unwrap())
    };
    let (served, heard) = tokio::join!(connection(theirs, false, rooms), talk);
    served.unwrap();
    heard.unwrap()
}

async fn ask(rooms: &Rooms, request: &str) -> Vec<serde_json::Value> {
    let heard = say(rooms, format!("{{\"version\":3,\"request\":{request}}}\n").as_bytes()).await;
    heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn orders_act_on_the_queue_that_runs() {
    let (rooms, ids) = rooms_with(&["<a@x.example>", "<b@y.example>"]).await;
    let held = ask(&rooms, r#"{"change":{"hold":{"domain":"X.example"}}}"#).await;
    assert_eq!(held[0]["affected"]["messages"], 1);
    assert_eq!(held[1], "done");
    let list = ask(&rooms, r#"{"list":{"held":true}}"#).await;
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["item"]["id"], ids[0]);
    assert_eq!(list[0]["item"]["recipients"][0]["address"], "<a@x.example>");
    let stats = ask(&rooms, r#""stats""#).await;
    assert_eq!((&stats[0]["stats"]["messages"], &stats[0]["stats"]["held"]), (&2.into(), &1.into()));
    assert_eq!(stats[0]["stats"]["holds"][0]["domain"], "x.example");
    assert_eq!(ask(&rooms, r#"{"change":{"release":{}}}"#).await[0]["affected"]["messages"], 1);
    let delete = format!(r#"{{"change":{{"delete":{{"filter":{{"ids":["{}"]}},"bounce":false}}}}}}"#, ids[1]);
    assert_eq!(ask(&rooms, &delete).await[0]["affected"]["messages"], 1);
    assert_eq!(rooms.queue.len(), 1);
    assert_eq!(ask(&rooms, &format!(r#"{{"show":"{}"}}"#, ids[0])).await[0]["details"]["session"], "S1");
    let gone = ask(&rooms, &format!(r#"{{"show":"{}"}}"#, ids[1])).await;
    assert_eq!(gone[0]["failed"]["kind"], "not-found");
}

#[tokio::test]
async fn the_quarantine_is_looked_through_released_and_emptied() {
    let (rooms, _ids) = rooms_with(&[]).await;
    for id in [7, 8] {
        let message = Arc::new(message(QueueId(id), "<a@x.example>"));
        let evidence = Evidence { threat: "Eicar.Test".to_owned(), item: None, stamp: None };
        rooms
            .releaser
            .quarantine
            .keep(Suspect { message, recipients: vec![0], evidence, files: 1 })
            .await
            .unwrap();
    }
    let list = ask(&rooms, r#"{"quarantine":{"list":{"threat":"eicar.test"}}}"#).await;
    assert_eq!((list.len(), &list[2]), (3, &"done".into()));
    assert_eq!(list[0]["kept"]["recipients"][0], "<a@x.example>");
    let show = ask(&rooms, r#"{"quarantine":{"show":"0000000000007"}}"#).await;
    assert_eq!(show[0]["kept-details"]["header"], "Received: x\r\nSubject: y\r\n");
    let release =
        r#"{"quarantine":{"release":{"filter":{"ids":["0000000000007","0000000000009"]},"force":false}}}"#;
    let released = ask(&rooms, release).await;
    let name = released[0]["let-go"]["released_as"].as_str().unwrap();
    assert!(rooms.queue.show(name.parse().unwrap()).await.is_some());
    assert_eq!(released[1]["let-go"]["failure"], "0000000000009 is not in the quarantine");
    assert_eq!(ask(&rooms, r#"{"quarantine":{"delete":{}}}"#).await[0]["affected"]["messages"], 1);
    let gone = ask(&rooms, r#"{"quarantine":{"show":"0000000000008"}}"#).await;
    assert_eq!(gone[0]["failed"]["kind"], "not-found");
    let wrong = ask(&rooms, r#"{"quarantine":{"delete":{"form":"a@b"}}}"#).await;
    assert_eq!(wrong[0]["failed"]["kind"], "bad-request");
}

#[tokio::test]
async fn several_requests_share_a_connection_and_a_content_keeps_its_octets() {
    let (rooms, ids) = rooms_with(&["<a@x.example>"]).await;
    let cat = format!("{{\"version\":3,\"request\":{{\"cat\":\"{}\"}}}}\n", ids[0]);
    let heard = say(&rooms, cat.repeat(2).as_bytes()).await;
    assert_eq!(heard.matches("\"done\"\n").count(), 2);
    let content = "Received: x\r\nSubject: y\r\n\r\nz\r\n";
    let pieces: String = heard
        .split("{\"content\":")
        .skip(1)
        .map(|piece| {
            let (octets, rest) = piece.split_once("}\n").unwrap();
            rest.get(..octets.parse().unwrap()).unwrap()
        })
        .collect();
    assert_eq!(pieces, content.repeat(2));
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_changes_nothing() {
    let (rooms, _ids) = rooms_with(&["<a@x.example>"]).await;
    let refusals: [(&[u8], &str); 9] = [
        (b"EHLO me\n", "bad-request"),
        (b"{}\n", "bad-request"),
        (b"\n", "bad-request"),
        (b"{\"version\":3,\"request\":\"stats\"}", "bad-request"),
        (b"{\"version\":4,\"request\":{\"wipe\":true}}\n", "version"),
        (b"{\"version\":3,\"request\":{\"wipe\":true}}\n", "bad-request"),
        (
            b"{\"version\":3,\"request\":{\"change\":{\"delete\":{\"filter\":{\"form\":\"a@b\"},\"bounce\":false}}}}\n",
            "bad-request",
        ),
        (
            b"{\"version\":3,\"request\":{\"change\":{\"delete\":{\"filter\":{\"ids\":[\"1\"]},\"bounce\":false}}}}\n",
            "bad-request",
        ),
        (b"{\"version\":3,\"request\":\"stats\",\"filter\":{}}\n", "bad-request"),
    ];
    for (said, kind) in refusals {
        let heard = say(&rooms, said).await;
        let last = heard.lines().last().unwrap();
        let failed: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(failed["failed"]["kind"], kind, "{}", String::from_utf8_lossy(said));
    }
    let endless = vec![b'['; 2 * usize::try_from(REQUEST_OCTETS_MAX).unwrap()];
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut reader, mut writer) = ours.into_split();
    let talk = async {
        writer.write_all(&endless).await.unwrap();
        drop(writer);
        let mut heard = String::new();
        reader.read_to_string(&mut heard).await.map(|_| heard).unwrap()
    };
    let (served, heard) = tokio::join!(connection(theirs, false, &rooms), talk);
    served.unwrap();
    assert!(heard.contains("bad-request"), "{heard}");
    assert_eq!(rooms.queue.len(), 1);
}

#[tokio::test]
async fn a_full_house_says_so() {
    let (rooms, _ids) = rooms_with(&[]).await;
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    connection(theirs, true, &rooms).await.unwrap();
    let mut heard = String::new();
    ours.read_to_string(&mut heard).await.unwrap();
    assert!(heard.contains("\"busy\""), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let (reader, _writer) = theirs.into_split();
    let waited = read_line(&mut BufReader::new(reader)).await;
    assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

proptest! {
    #[test]
    fn no_line_makes_the_reader_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&line);
    }

    #[test]
    fn deeply_nested_lines_are_refused(depth in 200_usize..60_000) {
        let line = "{\"version\":3,\"request\":".to_owned() + &"[".repeat(depth) + "\n";
        prop_assert!(parse(line.as_bytes()).is_err());
    }
}

#[tokio::test]
async fn the_engines_tell_how_they_do() {
    let (mut rooms, _ids) = rooms_with(&[]).await;
    let metrics = scan::Metrics::register(&prometheus::Registry::new()).unwrap();
    let yara = YaraEngine::start(None).unwrap();
    rooms.engines = Arc::new(Ensemble::new(EnginePolicy::Any).with("yara", yara, metrics.engine("yara")));
    for request in [r#""scan-status""#, r#""scan-reload""#] {
        let told = ask(&rooms, request).await;
        assert_eq!((told.len(), &told[0]["engine"]["name"]), (2, &"yara".into()), "{told:?}");
        assert_eq!(told[0]["engine"]["available"], true);
        assert_eq!(told[1], "done");
    }
}
