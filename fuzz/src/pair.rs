//! A session that is passed through, between two machines, against the server behind by itself.

use crate::input::Input;
use crate::reply;

#[expect(dead_code, reason = "some of it is for the tests of the machines alone")]
#[path = "../../proxy/smtp/tests/pair/model/mod.rs"]
pub(crate) mod model;

use model::{Pair, Setup};

/// What a client says, in reads of any lengths, while the replies of the server behind come in pieces, sooner or later. The
/// client hears what that server would have said to it, which keeps the same mails and hears nothing but what it was asked.
/// 0xFF, which no text has, stands for waiting until nothing moves any more.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (choice, cuts, seed) = (input.octet(), input.cuts(), input.octet());
    let mut pair = Pair::new(Setup::of(choice), u64::from(seed));
    pair.says(b"EHLO client.example\r\n");
    pair.rest();
    for group in input.rest().split(|octet| *octet == 0xff) {
        cuts.pieces(group).into_iter().for_each(|piece| pair.says(piece));
        pair.rest();
    }
    pair.check();
    reply::split(pair.front.said());
}
