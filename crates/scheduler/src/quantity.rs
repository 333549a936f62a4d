//! Memory and cores, and how they are written.

use std::fmt;

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(pub u64);

/// Thousandths of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cores(pub u32);

const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

impl Memory {
    /// So many GiB.
    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// Written rounded up, as a need is: what is free is rounded down, so that a need that is a byte too large never
    /// reads like one that fits.
    pub(crate) fn rounded_up(self) -> impl fmt::Display {
        let unit = UNITS.iter().find(|(size, _)| self.0 >= *size).map_or(1, |(size, _)| *size);
        let tenth = unit.div_ceil(10);
        if self.to_string_is_exact(unit) { self } else { Self(self.0.saturating_add(tenth - 1)) }
    }

    /// Whether a tenth of the unit says it all.
    fn to_string_is_exact(self, unit: u64) -> bool {
        u128::from(self.0) * 10 % u128::from(unit) == 0
    }
}

impl fmt::Display for Memory {
    /// In the largest unit that it fills, to a tenth, rounded down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(size, _)| self.0 >= *size) {
            Some((size, unit)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(*size);
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl fmt::Display for Cores {
    /// In cores, with as many digits as it takes: `0.25 cores`, `1 core`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(f, "{whole} {}", if whole == 1 { "core" } else { "cores" });
        }
        let digits = format!("{rest:03}");
        write!(f, "{whole}.{} cores", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_to_a_tenth_free_down_and_needs_up() {
        let almost = Memory(Memory::gib(9).0 + 1);
        assert_eq!(almost.to_string(), "9.0 GiB");
        assert_eq!(almost.rounded_up().to_string(), "9.1 GiB");
        assert_eq!(Memory::gib(9).rounded_up().to_string(), "9.0 GiB");
        assert_eq!(Memory::mib(1536).to_string(), "1.5 GiB");
        assert_eq!(Memory(1023).to_string(), "1023 bytes");
        assert_eq!(Memory(1023).rounded_up().to_string(), "1023 bytes");
        assert_eq!(Memory(u64::MAX).to_string(), "16777215.9 TiB");
    }

    #[test]
    fn cores_have_as_many_digits_as_it_takes() {
        let text = |thousandths| Cores(thousandths).to_string();
        assert_eq!(["0 cores", "1 core", "0.25 cores", "12.005 cores"], [0, 1000, 250, 12005].map(text)[..]);
    }
}
