//! Against an ICAP server of our own, which answers as the test has written it. A real one is among the tests of the binary.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use prometheus::Registry;
use tempfile::TempDir;

use super::*;
use crate::scan::{Cleaning, Metrics, Obstacle, Verdict};

/// A server that answers every item as the test wants; of one that begins with `skip` it wants the preview alone.
struct Fake {
    folder: TempDir,
    state: Arc<FakeState>,
}

type Answers = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

struct FakeState {
    options: String,
    /// The answer to an item.
    answer: Box<Answers>,
    items: Mutex<Vec<Vec<u8>>>,
    connections: AtomicUsize,
    most_at_once: AtomicUsize,
    open: AtomicUsize,
}

impl Fake {
    fn start(options: &str, answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(FakeState {
            options: options.to_owned(),
            answer: Box::new(answer),
            items: Mutex::default(),
            connections: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let listener = UnixListener::bind(folder.path().join("icap.sock")).unwrap();
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&served);
                thread::spawn(move || {
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
                    state.most_at_once.fetch_max(open, Ordering::SeqCst);
                    let stream = stream.unwrap();
                    let _ = serve(&stream, &state);
                    state.open.fetch_sub(1, Ordering::SeqCst);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { folder, state }
    }

    fn engine(&self) -> Arc<dyn Engine> {
        let settings = Settings {
            outside: OutsideSettings {
                name: "icap".into(),
                timeout: Duration::from_secs(20),
                retry_delay: Duration::from_millis(50),
            },
            address: Address::Unix(self.folder.path().join("icap.sock")),
            service: "avscan".into(),
        };
        let metrics = Metrics::register(&Registry::new()).unwrap().engine("icap");
        start(&settings, Log::discarding(), metrics).unwrap()
    }

    fn items(&self) -> Vec<Vec<u8>> {
        self.state.items.lock().unwrap().clone()
    }
}

fn serve(mut stream: &UnixStream, state: &FakeState) -> io::Result<()> {
    loop {
        let head = read_head(stream)?;
        if head.starts_with("OPTIONS icap://localhost/avscan ICAP/1.0\r\n") {
            stream.write_all(format!("ICAP/1.0 200 OK\r\n{}\r\n", state.options).as_bytes())?;
            continue;
        }
        assert!(head.starts_with("RESPMOD icap://localhost/avscan ICAP/1.0\r\n"), "{head}");
        assert!(head.contains("\r\nAllow: 204\r\n"), "{head}");
        let (_, sections) = head.split_once("res-body=").unwrap();
        let octets: usize = sections.lines().next().unwrap().parse().unwrap();
        let mut http = vec![0; octets];
        stream.read_exact(&mut http)?;
        assert!(http.ends_with(b"\r\n\r\n"), "the body begins where it was said");
        let (mut item, is_all) = read_chunks(stream)?;
        let is_enough = item.starts_with(b"skip");
        if head.contains("\r\nPreview: ") && !is_all && !is_enough {
            stream.write_all(b"ICAP/1.0 100 Continue\r\n\r\n")?;
            item.extend(read_chunks(stream)?.0);
        }
        let answer = (state.answer)(&item);
        state.items.lock().unwrap().push(item);
        if answer.is_empty() {
            return Ok(());
        }
        stream.write_all(&answer)?;
    }
}

fn read_head(mut stream: &UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        head.extend(octet);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn read_line(mut stream: &UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        line.extend(octet);
    }
    Ok(String::from_utf8(line).unwrap().trim_end().to_owned())
}

/// The octets, and whether there are no more behind a preview.
fn read_chunks(mut stream: &UnixStream) -> io::Result<(Vec<u8>, bool)> {
    let mut octets = Vec::new();
    loop {
        let line = read_line(stream)?;
        let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
        let start = octets.len();
        octets.resize(start + size, 0);
        stream.read_exact(&mut octets[start..])?;
        assert_eq!(read_line(stream)?, "");
        if size == 0 {
            return Ok((octets, line.ends_with("; ieof")));
        }
    }
}

fn unchanged() -> Vec<u8> {
    b"ICAP/1.0 204 No Content\r\nISTag: \"1\"\r\n\r\n".to_vec()
}

/// A 200 that sends this page.
fn page(fields: &str, status: &str, content: &[u8]) -> Vec<u8> {
    let http = format!("HTTP/1.1 {status}\r\nX: y\r\n\r\n");
    let mut answer = format!(
        "ICAP/1.0 200 OK\r\nISTag: \"1\"\r\n{fields}Encapsulated: res-hdr=0, res-body={}\r\n\r\n{http}",
        http.len()
    )
    .into_bytes();
    for piece in content.chunks(7) {
        answer.extend(format!("{:x}\r\n", piece.len()).as_bytes());
        answer.extend(piece);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

fn patient() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

const OPTIONS: &str = "Methods: RESPMOD, REQMOD\r\nISTag: \"1\"\r\nEncapsulated: null-body=0\r\n";

#[test]
fn an_item_arrives_whole_with_and_without_a_preview_over_one_connection() {
    for preview in ["", "Preview: 0\r\n", "Preview: 10\r\n", "Preview: 100000\r\n"] {
        let fake = Fake::start(&format!("{OPTIONS}{preview}"), |_| unchanged());
        let engine = fake.engine();
        let items = [vec![], vec![b'x'; 9], vec![b'x'; 10], vec![b'x'; 11], vec![7; 1_000_000]];
        for item in &items {
            assert_eq!(engine.scan(item, patient()), Verdict::Clean, "{preview}, {}", item.len());
        }
        assert_eq!(fake.items(), items, "{preview}");
        assert_eq!(fake.state.connections.load(Ordering::SeqCst), 1, "{preview}");
        assert_eq!(engine.identity().signatures(), "1");
    }
}

#[test]
fn an_item_that_the_server_has_not_seen_whole_is_not_clean() {
    let fake = Fake::start(&format!("{OPTIONS}Preview: 10\r\n"), |_| unchanged());
    let engine = fake.engine();
    let unseen = Verdict::Unscannable { reason: Obstacle::EngineLimit };
    for (item, verdict) in [
        (b"skip this and the rest".as_slice(), unseen),
        (b"skip", Verdict::Clean),
        (b"skip this.", Verdict::Clean),
    ] {
        assert_eq!(engine.scan(item, patient()), verdict, "{item:?}");
    }
    assert_eq!(fake.items(), [b"skip this ".as_slice(), b"skip", b"skip this."]);
}

#[test]
fn what_is_found_is_named_and_what_is_replaced_is_found() {
    let infected = |threat: &str| Verdict::Infected { threat: threat.into() };
    let found = page("X-Infection-Found: Type=0; Resolution=2; Threat=Eicar;\r\n", "403 Forbidden", b"no");
    for (answer, verdict) in [
        (found, infected("Eicar")),
        (page("", "403 Forbidden", b"item"), infected("content-replaced")),
        (page("", "200 OK", b"another item"), infected("content-replaced")),
        (page("", "200 OK", b"ite"), infected("content-replaced")),
        (page("", "200 OK", b"item"), Verdict::Clean),
        (b"ICAP/1.0 204 No Content\r\nX-Virus-ID: Eicar\r\n\r\n".to_vec(), infected("Eicar")),
        (
            b"ICAP/1.0 413 Too Large\r\nISTag: \"1\"\r\n\r\n".to_vec(),
            Verdict::Unscannable { reason: Obstacle::EngineLimit },
        ),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let fake = Fake::start(OPTIONS, move |_| answer.clone());
        let engine = fake.engine();
        for _ in 0..2 {
            assert_eq!(engine.scan(b"item", patient()), verdict, "{shown}");
        }
    }
}

#[test]
fn whatever_else_a_server_says_is_a_failure_and_never_clean() {
    for answer in [
        "",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "ICAP/1.0 404 Not Found\r\n\r\n",
        "ICAP/1.0 500 Error\r\n\r\n",
        "ICAP/1.0 100 Continue\r\n\r\n",
        "ICAP/1.0 204 OK\r\nno colon\r\n\r\n",
        "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=999999999\r\n\r\n",
        "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\nzz\r\n",
    ] {
        let fake = Fake::start(OPTIONS, move |_| answer.as_bytes().to_vec());
        let verdict = fake.engine().scan(b"item", patient());
        assert_eq!(verdict, Verdict::Failed, "{answer:?}");
    }
    let fake = Fake::start(OPTIONS, |_| [b"ICAP/1.0 204 OK\r\nX: ".as_slice(), &[b'x'; 100_000]].concat());
    assert_eq!(fake.engine().scan(b"item", patient()), Verdict::Failed, "an endless head");
}

#[test]
fn a_new_tag_behind_an_item_is_a_new_identity() {
    let fake = Fake::start(OPTIONS, |item| {
        format!("ICAP/1.0 204 No Content\r\nISTag: \"{}\"\r\n\r\n", item.len()).into_bytes()
    });
    let engine = fake.engine();
    assert_eq!(engine.scan(b"seven..", patient()), Verdict::Clean);
    assert_eq!(engine.identity().signatures(), "7");
}

#[test]
fn a_service_without_respmod_or_version_is_not_loaded() {
    for options in ["Methods: REQMOD\r\nISTag: \"1\"\r\n", "Methods: RESPMOD\r\n"] {
        let fake = Fake::start(options, |_| unchanged());
        let engine = fake.engine();
        assert!(!engine.is_available(), "{options}");
        assert_eq!(engine.scan(b"item", patient()), Verdict::Failed);
    }
}

#[test]
fn no_more_connections_are_opened_than_the_server_wants() {
    let fake = Fake::start(&format!("{OPTIONS}Max-Connections: 2\r\n"), |_| {
        thread::sleep(Duration::from_millis(20));
        unchanged()
    });
    let engine = fake.engine();
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let engine = &engine;
            scope.spawn(move || assert_eq!(engine.scan(&[number], patient()), Verdict::Clean));
        }
    });
    assert_eq!(fake.items().len(), 8);
    assert!(fake.state.most_at_once.load(Ordering::SeqCst) <= 2);
}

#[test]
fn what_comes_in_the_place_of_an_item_is_the_item_cleaned_unless_it_is_a_page_about_it() {
    const OURS: &str = "200 OK\r\nContent-Type: application/octet-stream";
    let long = "x".repeat(100_000);
    for (fields, status, content, expected) in [
        ("", OURS, "clean", Some("clean")),
        ("X-Infection-Found: Type=0; Resolution=1; Threat=T;\r\n", OURS, "clean", Some("clean")),
        ("X-Infection-Found: Type=0; Resolution=2; Threat=T;\r\n", OURS, "clean", None),
        ("", "200 OK\r\nContent-Type: text/html", "clean", None),
        ("", "403 Forbidden\r\nContent-Type: application/octet-stream", "clean", None),
        ("", OURS, "dirty", None),
        ("", OURS, &long, None),
    ] {
        let answer = page(fields, status, content.as_bytes());
        let fake = Fake::start(OPTIONS, move |_| answer.clone());
        let expected = expected.map_or(Cleaning::NotCleanable, |octets| Cleaning::Cleaned(octets.into()));
        assert_eq!(fake.engine().clean(b"dirty", patient()), expected, "{fields}{status}");
    }
    let fake = Fake::start(OPTIONS, |_| unchanged());
    assert_eq!(fake.engine().clean(b"clean", patient()), Cleaning::NotCleanable);
    let preview = page("", OURS, b"cleaned preview");
    let fake = Fake::start(&format!("{OPTIONS}Preview: 4\r\n"), move |_| preview.clone());
    assert_eq!(fake.engine().clean(b"skip the rest", patient()), Cleaning::NotCleanable);
    let fake = Fake::start(OPTIONS, |_| b"HTTP/1.1 what\r\n\r\n".to_vec());
    assert_eq!(fake.engine().clean(b"item", patient()), Cleaning::Failed);
}
