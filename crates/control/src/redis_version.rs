//! Redis's versions, as far as what we write for it depends on them.

use std::fmt;
use std::str::FromStr;

/// A version of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedisVersion {
    /// 7 of 7.0.15.
    pub major: u16,
    /// 0 of 7.0.15.
    pub minor: u16,
    /// 15 of 7.0.15.
    pub patch: u16,
}

impl RedisVersion {
    /// Of these numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Out of what `redis-server --version` prints: `Redis server v=7.0.15 sha=…`.
    #[must_use]
    pub fn of_program(printed: &str) -> Option<Self> {
        let (_, rest) = printed.split_once("v=")?;
        rest.split_whitespace().next()?.parse().ok()
    }

    /// Whether it is what was asked for: `7`, `7.0` and `7.0.15` all ask for 7.0.15.
    #[must_use]
    pub fn answers(self, asked: &str) -> bool {
        let own = self.to_string();
        own.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Whether it has users and rules (6.0).
    #[must_use]
    pub const fn has_acl(self) -> bool {
        self.major >= 6
    }

    /// Whether rules name channels (6.2).
    #[must_use]
    pub const fn has_channels(self) -> bool {
        self.major > 6 || (self.major == 6 && self.minor >= 2)
    }

    /// Whether rules take single subcommands away, and users have selectors (7.0).
    #[must_use]
    pub const fn has_selectors(self) -> bool {
        self.major >= 7
    }
}

impl FromStr for RedisVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.splitn(3, '.').map(|number| number.parse::<u16>().map_err(|_| ()));
        let mut next = || numbers.next().unwrap_or(Ok(0));
        Ok(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for RedisVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_from_the_program_s_own_words() {
        let printed =
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0";
        assert_eq!(RedisVersion::of_program(printed), Some(RedisVersion::new(7, 0, 15)));
        assert_eq!(RedisVersion::of_program("no such thing"), None);
        assert_eq!("6.2".parse(), Ok(RedisVersion::new(6, 2, 0)));
        assert!("six".parse::<RedisVersion>().is_err());
    }

    #[test]
    fn a_part_of_a_version_asks_for_all_that_begin_so() {
        let version = RedisVersion::new(7, 0, 15);
        for asked in ["7", "7.0", "7.0.15"] {
            assert!(version.answers(asked), "{asked}");
        }
        for asked in ["7.0.1", "6", "7.2", "70"] {
            assert!(!version.answers(asked), "{asked}");
        }
    }
}
