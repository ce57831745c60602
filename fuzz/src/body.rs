//! Bodies behind DATA and BDAT, against decoders that see the whole stream at once.

use gatepost_smtp::wire::bdat::ChunkDecoder;
use gatepost_smtp::wire::data::{DataDecoder, encode};
use gatepost_smtp::wire::line::Fault;

use crate::input::{Cuts, Input};

/// End of data, dots and faults are where the reference has them, in any split; and a body that is encoded comes back.
pub fn check_data(octets: &[u8]) {
    let mut input = Input::new(octets);
    let cuts = input.cuts();
    let stream = input.rest();
    let naive = NaiveData::read(stream);
    for cuts in [cuts, Cuts::OCTETS] {
        let mut decoder = DataDecoder::default();
        let (mut body, mut taken) = (Vec::new(), 0);
        for piece in cuts.pieces(stream) {
            taken += decoder.decode(piece, &mut |octets| body.extend_from_slice(octets));
        }
        assert_eq!(decoder.is_finished(), naive.end.is_some());
        assert_eq!(taken, naive.end.unwrap_or(stream.len()));
        if naive.end.is_some() {
            assert_eq!(decoder.fault(), naive.fault);
            match naive.fault {
                None => assert_eq!(body, naive.body),
                Some(_) => assert!(naive.body.starts_with(&body), "nothing behind a fault is stored"),
            }
        }
    }
    if !stream.is_empty() && first_fault(stream).is_none() && stream.ends_with(b"\r\n") {
        let mut encoded = Vec::new();
        encode(stream, &mut encoded);
        let decoded = NaiveData::read(&encoded);
        assert_eq!((decoded.end, &decoded.body[..]), (Some(encoded.len()), stream), "encoding is undone");
    }
}

/// Chunks of any sizes hold the body that their octets make together.
pub fn check_chunks(octets: &[u8]) {
    let mut input = Input::new(octets);
    let is_binary = input.octet() % 2 == 1;
    let cuts = input.cuts();
    let stream = input.rest();
    let fault = if is_binary { None } else { first_fault(stream) };
    for cuts in [cuts, Cuts::OCTETS] {
        let mut decoder = if is_binary { ChunkDecoder::binary() } else { ChunkDecoder::lines() };
        let mut body = Vec::new();
        for piece in cuts.pieces(stream) {
            decoder.decode(piece, &mut |octets| body.extend_from_slice(octets));
        }
        assert!(stream.starts_with(&body));
        let finished = decoder.finish(&mut |octets| body.extend_from_slice(octets));
        assert_eq!(finished.err(), fault);
        if fault.is_none() {
            assert_eq!(body, with_last_line_ended(stream, is_binary));
        }
    }
}

/// What the whole stream says to somebody who searches it.
pub(crate) struct NaiveData {
    /// Octets up to and with the end of data.
    pub(crate) end: Option<usize>,
    /// Without the doubled dots.
    pub(crate) body: Vec<u8>,
    pub(crate) fault: Option<Fault>,
}

// === impl NaiveData ===

impl NaiveData {
    pub(crate) fn read(stream: &[u8]) -> Self {
        let stream = [b"\r\n", stream].concat();
        let Some(at) = stream.windows(5).position(|window| window == b"\r\n.\r\n") else {
            return Self { end: None, body: Vec::new(), fault: None };
        };
        let coded = &stream[..at + 2];
        let mut body = Vec::new();
        for (index, octet) in coded.iter().enumerate().skip(2) {
            let begins_line = coded[..index].ends_with(b"\r\n");
            if *octet != b'.' || !begins_line {
                body.push(*octet);
            }
        }
        Self { end: Some(at + 3), fault: first_fault(&coded[2..]), body }
    }
}

pub(crate) fn with_last_line_ended(body: &[u8], is_binary: bool) -> Vec<u8> {
    let end: &[u8] = if is_binary || body.is_empty() || body.ends_with(b"\r\n") { b"" } else { b"\r\n" };
    [body, end].concat()
}

pub(crate) fn first_fault(text: &[u8]) -> Option<Fault> {
    text.iter().enumerate().find_map(|(index, octet)| match octet {
        0 => Some(Fault::Nul),
        b'\r' if text.get(index + 1) != Some(&b'\n') => Some(Fault::BareCr),
        b'\n' if index == 0 || text[index - 1] != b'\r' => Some(Fault::BareLf),
        _ => None,
    })
}
