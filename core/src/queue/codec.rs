//! The primitives of the format: little-endian numbers, and texts with their length in 4 octets before them.

/// The octets are not what the format asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed record")]
pub(super) struct Malformed;

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    octets: Vec<u8>,
}

/// Takes values off a slice; never reads beyond it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
}

// === impl Encoder ===

impl Encoder {
    pub(super) fn with_capacity(octets: usize) -> Self {
        Self { octets: Vec::with_capacity(octets) }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.octets.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.octets.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.octets.extend_from_slice(&value.to_le_bytes());
    }

    /// In 4 octets: nothing is counted here that comes near 2^32.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn raw(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Nothing that crosses the queue's door comes near 4 GiB; what does is cut rather than written with a false length.
    pub(super) fn bytes(&mut self, octets: &[u8]) {
        let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        self.u32(length);
        self.raw(octets.get(..length as usize).unwrap_or(octets));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn display(&mut self, value: &impl std::fmt::Display) {
        self.text(&value.to_string());
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.octets.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.octets
    }
}

// === impl Decoder ===

impl<'a> Decoder<'a> {
    pub(super) const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(super) fn raw(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        let [octet] = self.array()?;
        Ok(octet)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        self.raw(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, Malformed> {
        self.text()?.parse().map_err(|_| Malformed)
    }

    pub(super) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }

    /// A count of items of which each takes at least `item_octets_min` octets: a false one cannot make us allocate.
    pub(super) fn count(&mut self, item_octets_min: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        let needed = count.checked_mul(item_octets_min).ok_or(Malformed)?;
        if needed <= self.rest.len() { Ok(count) } else { Err(Malformed) }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}
