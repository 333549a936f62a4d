//! Amounts of processor.

use super::{bytes, written_as_text};
use crate::Error;
use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

/// An amount of processor in thousandths of a core, written `2`, `0.5` or `500m` as Kubernetes does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cores(pub u64);

impl Cores {
    /// None.
    pub const ZERO: Cores = Cores(0);

    /// So many whole cores.
    #[must_use]
    pub const fn whole(cores: u64) -> Self {
        Cores(cores.saturating_mul(1000))
    }

    /// Both together, or the greatest amount there is.
    #[must_use]
    pub const fn plus(self, other: Cores) -> Self {
        Cores(self.0.saturating_add(other.0))
    }

    /// What is left of it, or nothing.
    #[must_use]
    pub const fn minus(self, other: Cores) -> Self {
        Cores(self.0.saturating_sub(other.0))
    }

    /// So many times as much, or the greatest amount there is.
    #[must_use]
    pub const fn times(self, times: u64) -> Self {
        Cores(self.0.saturating_mul(times))
    }
}

impl Sum for Cores {
    fn sum<I: Iterator<Item = Cores>>(amounts: I) -> Cores {
        amounts.fold(Cores::ZERO, Cores::plus)
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            thousandths if thousandths.is_multiple_of(1000) => f.pad(&(thousandths / 1000).to_string()),
            thousandths => f.pad(&format!("{thousandths}m")),
        }
    }
}

impl FromStr for Cores {
    type Err = Error;

    /// # Errors
    /// [`Error::Quantity`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let thousandths = match text.strip_suffix('m') {
            Some(number) => bytes::scaled(number, 1),
            None => bytes::scaled(text, 1000),
        };
        let hint = || "write cores or thousandths of one: 2, 0.5, 500m".to_owned();
        thousandths.map(Cores).ok_or_else(|| Error::Quantity {
            given: text.to_owned(),
            what: "cores",
            hint: hint(),
        })
    }
}

written_as_text!(Cores, "a number of cores, such as 2, 0.5 or 500m", r"^([0-9]+(\.[0-9]+)?|[0-9]+m)$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        for (given, thousandths, written) in [
            ("2", 2000, "2"),
            ("0.5", 500, "500m"),
            ("500m", 500, "500m"),
            ("1500m", 1500, "1500m"),
            ("0", 0, "0"),
        ] {
            let read: Cores = given.parse().unwrap();
            assert_eq!((read.0, read.to_string().as_str()), (thousandths, written), "{given}");
        }
    }

    #[test]
    fn refused() {
        for given in ["", "m", "two", "-1", "0.0001", "1.5m", "1e3", "2 cores"] {
            assert!(given.parse::<Cores>().is_err(), "{given}");
        }
    }
}
