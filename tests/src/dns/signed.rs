//! DNSSEC for the test's name server: one zone, the root, signed at each answer (RFC 4034; denials as in RFC 9824), and
//! zones without signatures below it.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG};
use hickory_proto::dnssec::{Algorithm, SigningKey, TBS};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, SRV, TLSA, TXT};
use hickory_proto::rr::{self, DNSClass, Name, RData, RecordType, SerialNumber};

use super::Record;

/// The root's key, and what is not signed with it.
pub(super) struct Signer {
    key: Ed25519SigningKey,
    dnskey: DNSKEY,
    unsigned: Vec<&'static str>,
}

// === impl Signer ===

impl Signer {
    pub(super) fn new(unsigned: &[&'static str]) -> Self {
        let pkcs8 = Ed25519SigningKey::generate_pkcs8().expect("a key");
        let key = Ed25519SigningKey::from_pkcs8(&pkcs8).expect("the key can be read");
        let dnskey = DNSKEY::from_key(&key.to_public_key().expect("a public key"));
        Self { key, dnskey, unsigned: unsigned.to_vec() }
    }

    pub(super) fn trust_anchor(&self) -> String {
        let key = self.key.to_public_key().expect("a public key");
        let octets = hickory_proto::dnssec::PublicKey::public_bytes(&key);
        format!(". 3600 IN DNSKEY {} 3 15 {}\n", self.dnskey.flags(), STANDARD.encode(octets))
    }

    pub(super) fn answer(&self, query: &[u8], names: &HashMap<String, Vec<Record>>) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?.clone();
        let (name, wanted) = (question.name().clone(), question.query_type());
        let text = name.to_ascii().to_ascii_lowercase();
        let text = text.trim_end_matches('.');
        let known = names.get(text).map(Vec::as_slice).unwrap_or_default();
        let mut message = Message::response(query.metadata.id, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.recursion_available = true;
        message.add_query(question);
        let cut = self.unsigned.iter().find(|cut| text == **cut || text.ends_with(&format!(".{cut}")));
        let is_parents = cut.is_some_and(|cut| text == *cut) && wanted == RecordType::DS;
        if known.contains(&Record::Failure) {
            message.metadata.response_code = ResponseCode::ServFail;
        } else if known.contains(&Record::Denied) {
            let cut = self.unsigned.first().expect("a zone without signatures");
            message.add_authority(soa(&Name::from_ascii(format!("{cut}.")).expect("a name")));
        } else if known.contains(&Record::Diverted) {
            let cut = self.unsigned.first().expect("a zone without signatures");
            let name = |label: &str| Name::from_ascii(format!("{label}.{cut}.")).expect("a name");
            let srv = RData::SRV(SRV::new(0, 0, 25, name("y")));
            message.add_answer(rr::Record::from_rdata(name("x"), 0, srv));
        } else if let (Some(cut), false) = (cut, is_parents) {
            self.answer_unsigned(&mut message, text, cut, known);
        } else {
            self.answer_signed(&mut message, &name, is_parents, known);
        }
        message.to_vec().ok()
    }

    fn answer_unsigned(&self, message: &mut Message, text: &str, cut: &str, known: &[Record]) {
        let wanted = message.queries[0].query_type();
        let (name, zone) = (message.queries[0].name().clone(), Name::from_ascii(format!("{cut}.")).unwrap());
        let mut found: Vec<_> = known.iter().filter_map(|record| data(record, wanted)).collect();
        if text == cut && wanted == RecordType::NS {
            found.push(RData::NS(NS(zone.clone())));
        }
        if found.is_empty() {
            message.add_authority(soa(&zone));
            if known.is_empty() && text != cut {
                message.metadata.response_code = ResponseCode::NXDomain;
            }
        }
        message.add_answers(found.into_iter().map(|data| rr::Record::from_rdata(name.clone(), 0, data)));
    }

    fn answer_signed(&self, message: &mut Message, name: &Name, is_cut: bool, known: &[Record]) {
        let wanted = message.queries[0].query_type();
        let mut found: Vec<_> = known.iter().filter_map(|record| data(record, wanted)).collect();
        match wanted {
            RecordType::DNSKEY if name.is_root() => {
                found.push(RData::DNSSEC(DNSSECRData::DNSKEY(self.dnskey.clone())));
            }
            RecordType::NS if name.is_root() => found.push(RData::NS(NS(Name::root()))),
            RecordType::SOA if name.is_root() => found.push(soa(name).data),
            _ => {}
        }
        let is_forged = known.contains(&Record::Forged);
        if found.is_empty() {
            let has = |kind: &RecordType| known.iter().any(|record| data(record, *kind).is_some());
            let mut types: Vec<_> = KINDS.into_iter().filter(|kind| *kind != wanted).filter(has).collect();
            types.extend(is_cut.then_some(RecordType::NS));
            let next = name.prepend_label(b"\0".as_slice()).expect("a longer name");
            let nsec = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, types)));
            message.add_authorities(self.sign(vec![soa(&Name::root())], false));
            message
                .add_authorities(self.sign(vec![rr::Record::from_rdata(name.clone(), 0, nsec)], is_forged));
        } else {
            let records = found.into_iter().map(|data| rr::Record::from_rdata(name.clone(), 0, data));
            message.add_answers(self.sign(records.collect(), is_forged));
        }
    }

    /// The records, of one name and type, and their signature.
    fn sign(&self, mut records: Vec<rr::Record>, is_forged: bool) -> Vec<rr::Record> {
        let (name, kind) = (records[0].name.clone(), records[0].record_type());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let now = u32::try_from(now).expect("before 2106");
        let input = SigInput {
            type_covered: kind,
            algorithm: Algorithm::ED25519,
            num_labels: name.num_labels(),
            original_ttl: 0,
            sig_expiration: SerialNumber::new(now + 3600),
            sig_inception: SerialNumber::new(now - 3600),
            key_tag: self.dnskey.calculate_key_tag().expect("a tag"),
            signer_name: Name::root(),
        };
        let signed =
            TBS::from_input(&name, DNSClass::IN, &input, records.iter()).expect("octets to be signed");
        let mut signature = self.key.sign(&signed).expect("a signature");
        if is_forged {
            signature[0] ^= 1;
        }
        let rrsig = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        records.push(rr::Record::from_rdata(name, 0, rrsig));
        records
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("unsigned", &self.unsigned).finish_non_exhaustive()
    }
}

fn soa(zone: &Name) -> rr::Record {
    let soa = SOA::new(Name::root(), Name::root(), 1, 0, 0, 0, 0);
    rr::Record::from_rdata(zone.clone(), 0, RData::SOA(soa))
}

/// Where the record is of this type, or an alias.
fn data(record: &Record, wanted: RecordType) -> Option<RData> {
    let name = |text: &str| Name::from_ascii(format!("{text}.")).expect("a name");
    match record {
        Record::A(address) if wanted == RecordType::A => Some(RData::A(A(*address))),
        Record::Aaaa(address) if wanted == RecordType::AAAA => Some(RData::AAAA(AAAA(*address))),
        Record::Mx(preference, host) if wanted == RecordType::MX => {
            Some(RData::MX(MX::new(*preference, name(host))))
        }
        Record::Txt(text) if wanted == RecordType::TXT => Some(RData::TXT(TXT::new(vec![text.clone()]))),
        Record::Cname(target) if wanted != RecordType::DS && wanted != RecordType::NS => {
            Some(RData::CNAME(CNAME(name(target))))
        }
        Record::Tlsa(usage, selector, matching, octets) if wanted == RecordType::TLSA => {
            let (usage, selector, matching) = ((*usage).into(), (*selector).into(), (*matching).into());
            Some(RData::TLSA(TLSA::new(usage, selector, matching, octets.clone())))
        }
        _ => None,
    }
}

/// Those that a denial says are there.
const KINDS: [RecordType; 5] =
    [RecordType::A, RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::TLSA];
