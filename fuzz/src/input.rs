//! How the octets of an input are used up.

use gatepost_core::disk::Dice;

/// Takes values off the front of an input; an input that is used up gives zeros.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

/// How a stream arrives: whole, octet by octet, or cut at places that the number decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cuts(u8);

// === impl Input ===

impl<'a> Input<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(crate) fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.octet(), self.octet()])
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.octet()))
    }

    pub(crate) fn cuts(&mut self) -> Cuts {
        Cuts(self.octet())
    }

    /// As many octets as the next one says.
    pub(crate) fn octets(&mut self) -> &'a [u8] {
        let count = usize::from(self.octet()).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    /// As `octets`, what is no UTF-8 replaced.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.octets()).into_owned()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }
}

// === impl Cuts ===

impl Cuts {
    pub(crate) const WHOLE: Self = Self(0);
    pub(crate) const OCTETS: Self = Self(1);

    pub(crate) fn pieces(self, octets: &[u8]) -> Vec<&[u8]> {
        match self.0 {
            0 => vec![octets],
            1 => octets.chunks(1).collect(),
            seed => {
                let mut dice = Dice::new(u64::from(seed));
                let longest = [3, 20, 200][usize::from(seed) % 3];
                let (mut pieces, mut rest) = (Vec::new(), octets);
                while !rest.is_empty() {
                    let (piece, tail) = rest.split_at((1 + dice.below_usize(longest)).min(rest.len()));
                    pieces.push(piece);
                    rest = tail;
                }
                pieces
            }
        }
    }
}
