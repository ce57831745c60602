//! The configuration: any text is a configuration, or its problems are shown in their places.

use std::path::Path;

use gatepost::config::{Config, EXAMPLE};

use crate::input::Input;

/// A text, or the commented example with some octets changed, which gets deeper.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    if input.octet().is_multiple_of(2) {
        return check_text(&String::from_utf8_lossy(input.rest()));
    }
    let mut text = uncommented();
    for _ in 0..4 {
        let (at, count, new) =
            (usize::from(input.u16()) % text.len(), usize::from(input.octet()), input.octets());
        let end = (at + count % 16).min(text.len());
        text.splice(at..end, new.iter().copied());
        if input.is_empty() || text.is_empty() {
            break;
        }
    }
    check_text(&String::from_utf8_lossy(&text));
}

fn check_text(text: &str) {
    let Err(problems) = Config::parse(Path::new(FILE), text) else { return };
    let shown = problems.to_string();
    assert!(problems.count() > 0 && shown.starts_with(FILE));
    assert!(!shown.replace('\n', "").contains(|c: char| c.is_control()), "{shown:?}");
    let places = shown.lines().filter_map(|line| line.strip_prefix(FILE)?.strip_prefix(':'));
    for place in places {
        let mut numbers = place.split(':').map_while(|number| number.parse::<usize>().ok());
        let Some(line) = numbers.next() else { continue };
        assert!((1..=text.split('\n').count()).contains(&line), "{shown}");
        assert!(numbers.next().is_some_and(|column| column >= 1), "{shown}");
    }
}

/// The example with its optional settings switched on.
fn uncommented() -> Vec<u8> {
    let is_setting = |line: &&str| line.starts_with("# ") && (line.contains(" = ") || line.contains("# ["));
    let lines = EXAMPLE.lines().map(|line| if is_setting(&line) { &line[2..] } else { line });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

const FILE: &str = "gatepost.toml";
