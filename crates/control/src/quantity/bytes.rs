//! Amounts of memory.

use super::written_as_text;
use crate::Error;
use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

/// An amount of memory in bytes, written `8GiB` or `512MiB`; a bare number is bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units, the greatest first of each kind; the first five are those that amounts are written in.
const UNITS: [(&str, u64); 13] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

impl Bytes {
    /// None.
    pub const ZERO: Bytes = Bytes(0);

    /// So many MiB (2^20 bytes).
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Bytes(mib.saturating_mul(1 << 20))
    }

    /// So many GiB (2^30 bytes).
    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Bytes(gib.saturating_mul(1 << 30))
    }

    /// Both together, or the greatest amount there is.
    #[must_use]
    pub const fn plus(self, other: Bytes) -> Self {
        Bytes(self.0.saturating_add(other.0))
    }

    /// What is left of it, or nothing.
    #[must_use]
    pub const fn minus(self, other: Bytes) -> Self {
        Bytes(self.0.saturating_sub(other.0))
    }

    /// So many times as much, or the greatest amount there is.
    #[must_use]
    pub const fn times(self, times: u64) -> Self {
        Bytes(self.0.saturating_mul(times))
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(amounts: I) -> Bytes {
        amounts.fold(Bytes::ZERO, Bytes::plus)
    }
}

impl fmt::Display for Bytes {
    /// The greatest binary unit of which it is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS[..5].iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (name, bytes) = unit.unwrap_or(&("B", 1));
        f.pad(&format!("{}{name}", self.0 / bytes))
    }
}

impl FromStr for Bytes {
    type Err = Error;

    /// # Errors
    /// [`Error::Quantity`]: units are written as here, so that `8g` and `8gb`, which mean different amounts in
    /// `redis.conf`, cannot be mistaken.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |hint: String| Err(Error::Quantity { given: text.to_owned(), what: "memory", hint });
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let unit = unit.trim_start();
        let bytes = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, bytes)) => *bytes,
            None if unit.is_empty() => 1,
            None => return refuse(meant(number, unit)),
        };
        match scaled(number, bytes) {
            Some(bytes) => Ok(Bytes(bytes)),
            None => refuse("write a number and a unit: 8GiB, 512MiB".to_owned()),
        }
    }
}

/// What somebody meant who wrote a unit in another way.
fn meant(number: &str, unit: &str) -> String {
    let letter = unit.chars().next().map(|letter| letter.to_ascii_uppercase());
    match letter {
        Some(letter @ ('K' | 'M' | 'G' | 'T')) if unit.len() <= 3 && !number.is_empty() => {
            format!("did you mean {number}{letter}iB?")
        }
        _ => "write a number and a unit: 8GiB, 512MiB".to_owned(),
    }
}

/// A decimal number times `unit`, if that is a whole number that 64 bits hold.
pub(super) fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let numerator = whole.parse::<u64>().ok()? as u128 * denominator + fraction.parse::<u128>().ok()?;
    let scaled = numerator.checked_mul(u128::from(unit))?;
    (scaled % denominator == 0).then(|| u64::try_from(scaled / denominator).ok())?
}

written_as_text!(
    Bytes,
    "an amount of memory, such as 8GiB or 512MiB",
    r"^[0-9]+(\.[0-9]+)?\s*([KMGT]i?B?|kB|B)?$"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn read_and_written() {
        for (given, bytes, written) in [
            ("8GiB", 8 << 30, "8GiB"),
            ("8Gi", 8 << 30, "8GiB"),
            ("1.5 GiB", 3 << 29, "1536MiB"),
            ("512MiB", 512 << 20, "512MiB"),
            ("20GB", 20_000_000_000, "19531250KiB"),
            ("1000", 1000, "1000B"),
            ("0", 0, "0B"),
            ("1024", 1024, "1KiB"),
        ] {
            let read: Bytes = given.parse().unwrap();
            assert_eq!((read.0, read.to_string().as_str()), (bytes, written), "{given}");
        }
    }

    #[test]
    fn refused_with_what_was_meant() {
        for (given, hint) in [
            ("8gb", "did you mean 8GiB?"),
            ("8g", "did you mean 8GiB?"),
            ("8G", "did you mean 8GiB?"),
            ("8GIB", "did you mean 8GiB?"),
            ("GiB", "write a number"),
            ("-1", "write a number"),
            ("1.0000000001GiB", "write a number"),
            ("0.3B", "write a number"),
            ("99999999999999999999", "write a number"),
            ("17179869184GiB", "write a number"),
            ("", "write a number"),
        ] {
            let error = given.parse::<Bytes>().unwrap_err().to_string();
            assert!(error.contains(hint), "{given}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(bytes in any::<u64>(), shift in 0_u32..50) {
            let bytes = Bytes(bytes >> shift << (shift / 2));
            prop_assert_eq!(bytes.to_string().parse::<Bytes>().unwrap(), bytes);
        }

        #[test]
        fn any_text_is_refused_or_read(text in ".{0,20}|[0-9.]{0,22}[A-Za-z]{0,3}") {
            let _ = text.parse::<Bytes>();
        }
    }
}
