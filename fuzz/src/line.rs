//! Line framing, against a reader that looks at one octet after the other.

use gatepost_smtp::wire::limits;
use gatepost_smtp::wire::line::{Fault, LineReader, LineStep};
use gatepost_smtp::wire::verb::Verb;

use crate::input::{Cuts, Input};

/// The same lines and the same fault come out of any split.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let cuts = input.cuts();
    let stream = input.rest();
    let expected = read_naively(stream);
    assert_eq!(read(stream, cuts), expected, "cut by {cuts:?}");
    assert_eq!(read(stream, Cuts::OCTETS), expected, "octet by octet");
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Line(Vec<u8>),
    Overlong(usize),
    Fault(Fault),
}

fn read(stream: &[u8], cuts: Cuts) -> Vec<Found> {
    let mut reader = LineReader::default();
    let mut found = Vec::new();
    for piece in cuts.pieces(stream) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (taken, step) = reader.read(rest, line_octets_max);
            rest = &rest[taken..];
            match step {
                LineStep::Partial => assert!(rest.is_empty(), "what is left behind was not read"),
                LineStep::Line(line) => found.push(Found::Line(line.into_owned())),
                LineStep::Overlong { octets, start } => {
                    assert!(start.len() <= START_OCTETS);
                    found.push(Found::Overlong(usize::try_from(octets).unwrap()));
                }
                LineStep::Fault(fault) => {
                    found.push(Found::Fault(fault));
                    return found;
                }
            }
        }
    }
    found
}

fn read_naively(stream: &[u8]) -> Vec<Found> {
    let (mut found, mut line) = (Vec::new(), Vec::new());
    let mut octets = stream.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        let fault = match octet {
            0 => Fault::Nul,
            b'\n' => Fault::BareLf,
            b'\r' => match octets.next() {
                None => break,
                Some(b'\n') => {
                    found.push(end(std::mem::take(&mut line)));
                    continue;
                }
                Some(_) => Fault::BareCr,
            },
            text => {
                line.push(text);
                continue;
            }
        };
        found.push(Found::Fault(fault));
        break;
    }
    found
}

fn end(line: Vec<u8>) -> Found {
    let limit = line_octets_max(&line[..line.len().min(START_OCTETS)]);
    if line.len() + 2 > limit { Found::Overlong(line.len()) } else { Found::Line(line) }
}

/// The limits of the verb table that differ most.
fn line_octets_max(start: &[u8]) -> usize {
    match Verb::split(start).0 {
        Verb::Auth => limits::AUTH_LINE_OCTETS,
        Verb::Mail => limits::MAIL_LINE_OCTETS,
        Verb::Xexch50 => limits::XEXCH50_LINE_OCTETS,
        _ => limits::COMMAND_LINE_OCTETS,
    }
}

/// The reader tells a line's limit by so many octets of it.
const START_OCTETS: usize = 16;
