//! What the golden files hold.

use super::*;

/// What `core/tests/golden/queue-v1.seg` holds behind its header: three mails, one half done, one done.
pub(super) fn batches_of_version_1() -> Vec<Vec<Record>> {
    let bounced = Outcome::Done(Disposition::Bounced { reason: "5.1.1 no such mailbox".to_owned() });
    let retry = Outcome::Retry { reason: "4.2.2 mailbox full".to_owned(), not_before_ms: NOT_BEFORE_MS };
    let deleted = Outcome::Done(Disposition::DeletedByPolicy { threat: "Eicar".to_owned() });
    let half = Change {
        id: QueueId(101),
        attempts: 1,
        not_before_ms: NOT_BEFORE_MS,
        outcomes: vec![(0, bounced), (1, retry)],
        leaves_pending: true,
    };
    let done = Change {
        id: QueueId(102),
        attempts: 1,
        not_before_ms: 0,
        outcomes: vec![(0, deleted), (1, Outcome::Done(Disposition::Delivered))],
        leaves_pending: false,
    };
    vec![vec![mail(101), mail(102)], vec![half.encode(), done.encode(), mail(103)]]
}

/// `core/tests/golden/queue-v2.seg` goes on with standing holds, a mail that they hold, marks, a mail that was carried
/// on, and a mail that was removed with a notification of it.
pub(super) fn batches_of_version_2() -> Vec<Vec<Record>> {
    let rules = Rules::new(vec![
        HoldRule::Domain("example.org".to_owned()),
        HoldRule::Sender("a@example.net".to_owned()),
    ]);
    let marks = |mark, ids: &[u64]| Marks { mark, ids: ids.iter().copied().map(QueueId).collect() }.record();
    let standing = Standing {
        id: QueueId(90),
        attempts: 7,
        not_before_ms: CARRIED_NOT_BEFORE_MS,
        held: true,
        given_up: false,
        sender_knows: false,
        last_reason: Some("4.4.1 no answer".to_owned()),
        pending: Pending::of_words(&[0b10]),
    };
    let carried = message(QueueId(90), 2, Body::Memory(Bytes::from_static(b"Subject: 90\r\n\r\nhello\r\n")));
    let whole = encode_message(&carried);
    let whole = Bytes::from([whole.head(), whole.body()].concat());
    let moved = standing.record(&Facts::of_message(&carried), message_rest(Kind::Message, &whole).unwrap());
    let removed = Change {
        id: QueueId(103),
        attempts: 1,
        not_before_ms: 0,
        outcomes: vec![(0, Outcome::Removed), (1, Outcome::Removed)],
        leaves_pending: false,
    };
    let notice = message(QueueId(105), 1, Body::Memory(Bytes::from_static(b"Subject: failed\r\n\r\n")));
    let notice = encode_message_as(Kind::FollowUp, &notice, &Facts::of_message(&notice));
    let mut batches = batches_of_version_1();
    batches.push(vec![rules.record(), mail(104), marks(Mark::Hold, &[101]), moved]);
    batches.push(vec![notice, removed.encode(), marks(Mark::GiveUp, &[101])]);
    batches
}

/// `core/tests/golden/queue-v3.seg` goes on with a mail that went on from an address of ours.
pub(super) fn batches_of_version_3() -> Vec<Vec<Record>> {
    let mut batches = batches_of_version_2();
    batches.push(vec![encode_message(&forwarded())]);
    batches
}

/// `core/tests/golden/queue-v4.seg` goes on with a mail that another one takes the place of.
pub(super) fn batches_of_version_4() -> Vec<Vec<Record>> {
    let successor = message(QueueId(107), 2, Body::Memory(Bytes::from_static(b"Subject: 107\r\n\r\n")));
    let successor = encode_message_as(Kind::FollowUp, &successor, &Facts::of_message(&successor));
    let replaced = Outcome::Done(Disposition::Replaced { by: QueueId(107) });
    let change = Change {
        id: QueueId(106),
        attempts: 1,
        not_before_ms: 0,
        outcomes: vec![(0, replaced.clone()), (1, replaced)],
        leaves_pending: false,
    };
    let mut batches = batches_of_version_3();
    batches.push(vec![successor, change.encode()]);
    batches
}

/// To two recipients, the second of whom stands for `sales@here.example` and sees another sender.
pub(super) fn forwarded() -> NewMessage {
    let mut mail =
        message(QueueId(106), 2, Body::Memory(Bytes::from_static(b"Subject: 106\r\n\r\nhello\r\n")));
    mail.submission.forwards.insert(1, "<sales@here.example>".parse().unwrap());
    mail.submission
        .forwards
        .set_sender(Some("<SRS0=AAAAAA=BB=first.example=ann@here.example>".parse().unwrap()));
    mail
}

/// The file as the journal leaves it: with its footer, and no zeros behind.
pub(super) fn golden() -> Vec<u8> {
    let mut octets = segment(&batches_of_version_4());
    let footer = footer_of(&octets);
    octets.extend_from_slice(&footer.header(SEGMENT.0, 0));
    octets.extend_from_slice(&[footer.head(), footer.padding()].concat());
    octets
}

fn footer_of(octets: &[u8]) -> Record {
    let disk = SimulatedDisk::new();
    put(&disk, &SEGMENT.path(Path::new(ROOT)), octets);
    let mut batches = batches_of_version_4().into_iter().flatten();
    let mut footer = Footer::default();
    let mut offset = SEGMENT_HEADER_OCTETS;
    while let Some(head) =
        octets.get(usize::try_from(offset).unwrap()..).and_then(|octets| RecordHead::decode(octets).ok())
    {
        if !matches!(head.kind, Kind::Batch | Kind::Opening) {
            let place = Location { segment: SEGMENT, offset, payload_octets: head.payload_octets };
            footer.note(&batches.next().unwrap(), place);
        }
        offset += head.octets();
    }
    footer.record().unwrap()
}

/// The segment behind it, whose opening tells where it ends.
pub(super) fn next_segment(end: u64) -> Vec<u8> {
    let next = SegmentId(SEGMENT.0 + (1 << 32));
    let mut octets = encode_header(next, 64 * 1024);
    let opening = Opening { id_floor: 200, ends: vec![(SEGMENT, end)] }.record();
    let head = BatchHead { segment: next.0, flushed: octets.len() as u64, octets: opening.octets() }.record();
    for record in [&head, &opening] {
        octets.extend_from_slice(&record.header(next.0, 1));
        octets.extend_from_slice(&[record.head(), record.body(), record.padding()].concat());
    }
    octets
}
