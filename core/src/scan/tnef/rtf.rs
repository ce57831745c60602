//! Compressed RTF ([MS-OXRTFCP]): an LZ77 with a dictionary of 4,096 octets that begins with what every RTF text begins with.

use crate::scan::verdict::Obstacle;

/// What the octets hold. It can be at most some nine times as long.
///
/// # Errors
///
/// [`Obstacle::Broken`], if they are no compressed RTF, and [`Obstacle::TooLarge`], if there is more than `octets_max`.
pub(super) fn decompress(octets: &[u8], octets_max: usize) -> Result<Vec<u8>, Obstacle> {
    // The sizes, which need not be true, the kind, and a checksum.
    let (header, packed) = octets.split_at_checked(16).ok_or(Obstacle::Broken)?;
    match header.get(8..12) {
        Some(b"LZFu") => unpack(packed, octets_max).ok_or(Obstacle::TooLarge),
        Some(b"MELA") => Ok(packed.to_vec()),
        _ => Err(Obstacle::Broken),
    }
}

/// `None`, if there is more than `octets_max`.
fn unpack(mut rest: &[u8], octets_max: usize) -> Option<Vec<u8>> {
    let mut dictionary = vec![0; DICTIONARY_OCTETS];
    dictionary.get_mut(..PRELOADED.len())?.copy_from_slice(PRELOADED);
    let mut text = Vec::new();
    let mut at = PRELOADED.len();
    let put = |octet: u8, text: &mut Vec<u8>, dictionary: &mut Vec<u8>, at: &mut usize| {
        text.push(octet);
        if let Some(place) = dictionary.get_mut(*at) {
            *place = octet;
        }
        *at = at.wrapping_add(1) % DICTIONARY_OCTETS;
    };
    'runs: while let Some((flags, behind)) = rest.split_first() {
        rest = behind;
        if text.len() > octets_max {
            return None;
        }
        for bit in 0..8 {
            if flags >> bit & 1 == 0 {
                let Some((octet, behind)) = rest.split_first() else { break 'runs };
                rest = behind;
                put(*octet, &mut text, &mut dictionary, &mut at);
                continue;
            }
            let Some((reference, behind)) = rest.split_first_chunk() else { break 'runs };
            rest = behind;
            let reference = usize::from(u16::from_be_bytes(*reference));
            let (from, len) = (reference >> 4, (reference & 0xf).wrapping_add(2));
            // A reference to where the next octet goes is the end.
            if from == at {
                break 'runs;
            }
            for step in 0..len {
                let octet = *dictionary.get(from.wrapping_add(step) % DICTIONARY_OCTETS)?;
                put(octet, &mut text, &mut dictionary, &mut at);
            }
        }
    }
    (text.len() <= octets_max).then_some(text)
}

const DICTIONARY_OCTETS: usize = 4_096;
const PRELOADED: &[u8] = b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";
