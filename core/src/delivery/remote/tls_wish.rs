//! What the sender of a mail asks of TLS on its way (RFC 8689).

use super::super::hop::Courier;
use crate::queue::NewMessage;

/// What is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum TlsWish {
    /// Nothing: the domain's own policy decides.
    #[default]
    None,
    /// REQUIRETLS: only servers that prove who they are, and ask the same of the next one.
    Required,
    /// `TLS-Required: No`: it should rather arrive than be kept from listeners, whatever the domain's policy is.
    Waived,
}

// === impl TlsWish ===

impl TlsWish {
    pub(super) async fn of(message: &NewMessage, courier: &Courier) -> Self {
        if message.submission.envelope.params.requiretls {
            // The field does not count then (section 4.1).
            return Self::Required;
        }
        // A body that cannot be read is told of when it is to be sent.
        let header = courier.beginning(&message.body).await.unwrap_or_default();
        if waives(&header) { Self::Waived } else { Self::None }
    }
}

/// Whether the header section that these octets begin with has `TLS-Required: No`.
fn waives(octets: &[u8]) -> bool {
    let mut lines = octets.split(|octet| *octet == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    lines.any(|line| {
        let Some((name, value)) = line.split_at_checked(FIELD.len()) else { return false };
        let value = value.trim_ascii_start().strip_prefix(b":").unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(FIELD) && value.eq_ignore_ascii_case(b"no")
    })
}

const FIELD: &[u8] = b"TLS-Required";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_field_itself_waives_tls() {
        for waiving in [
            "TLS-Required: No\r\n\r\n",
            "Subject: x\r\ntls-required :no\r\nTo: y\r\n\r\n",
            "TLS-Required: NO",
        ] {
            assert!(waives(waiving.as_bytes()), "{waiving:?}");
        }
        for other in [
            "",
            "TLS-Required: Yes\r\n\r\n",
            "TLS-Required-By: No\r\n\r\n",
            "X-TLS-Required: No\r\n\r\n",
            "Subject: x\r\n\r\nTLS-Required: No\r\n",
            "TLS-Required No\r\n\r\n",
        ] {
            assert!(!waives(other.as_bytes()), "{other:?}");
        }
    }
}
