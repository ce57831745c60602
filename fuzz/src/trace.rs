//! `Received:`: no text of a peer ends a line, a comment or the date.

use gatepost_core::intake::trace::received;
use gatepost_core::queue::QueueId;

use crate::input::Input;
use crate::message::submission;

/// Four lines, each folded, none forged.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (hostname, id) = (input.text(), QueueId(input.u64()));
    let submission = submission(&mut input);
    let header = String::from_utf8(received(&hostname, id, &submission)).expect("UTF-8");
    let lines: Vec<&str> = header.strip_suffix("\r\n").expect("a line end").split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{header:?}");
    assert!(lines[0].starts_with("Received: from "));
    assert!(lines[1..].iter().all(|line| line.starts_with('\t')), "{header:?}");
    assert!(lines.iter().all(|line| !line[1..].contains(|c: char| c.is_control())), "{header:?}");
    // RFC 5322 section 2.1.1.
    assert!(lines.iter().all(|line| line.len() <= 998), "{header:?}");
    let before_path = header.split(" for ").next().unwrap_or_default();
    assert_eq!(before_path.matches('(').count(), before_path.matches(')').count());
    assert!(before_path.matches('(').count() <= 2, "{header:?}");
    assert!(lines[2].ends_with(';'), "{header:?}");
    let date = lines[3].trim_start();
    assert!(date.ends_with(" +0000") && date.len() <= 40, "{date:?}");
}
