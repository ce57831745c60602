//! RFC 3461 section 4: xtext, the escape of parameter values.

/// `xtext = *( xchar / hexchar )`: decodes a whole value, or `None` where it is none.
///
/// `xchar = %d33-42 / %d44-60 / %d62-126`, `hexchar = "+" 2(%x30-39 / %x41-46)`.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut octets = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' => hex_digit(octets.next()?)?.checked_mul(16)?.checked_add(hex_digit(octets.next()?)?)?,
            b'=' => return None,
            b'!'..=b'~' => octet,
            _ => return None,
        });
    }
    Some(decoded)
}

/// The shortest xtext of these octets.
pub(crate) fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'!'..=b'~' if octet != b'+' && octet != b'=' => text.push(char::from(octet)),
            _ => text.push_str(&format!("+{octet:02X}")),
        }
    }
    text
}

/// Upper-case only, as the ABNF says: two spellings of one value would not compare equal downstream.
fn hex_digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => octet.checked_sub(b'0'),
        b'A'..=b'F' => octet.checked_sub(b'A')?.checked_add(10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_octet_survives_the_escape(octets: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&octets)), Some(octets));
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["+", "+4", "+4g", "+2b", "a=b", "a b", "ä"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
