//! Lengths of time, and instants as the calendar knows them.

use super::written_as_text;
use crate::Error;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A length of time, written `30s` or `10m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.0).to_string())
    }
}

impl FromStr for Period {
    type Err = Error;

    /// # Errors
    /// [`Error::Quantity`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let hint = || "write a number with its unit: 500ms, 30s, 10m, 2h".to_owned();
        let read = humantime::parse_duration(text).map(Period);
        read.map_err(|_| Error::Quantity { given: text.to_owned(), what: "time", hint: hint() })
    }
}

written_as_text!(Period, "a length of time, such as 30s or 10m", r"^([0-9]+\s*[a-z]+\s*)+$");

/// An instant of the calendar in milliseconds since 1970 (UTC), written as RFC 3339 does: `2026-11-21T10:00:00.000Z`.
///
/// It is for people to read. What decides who is first is a revision or an epoch, never a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The last one that can be written: the end of the year 9999.
    const MAX: u64 = 253_402_300_799_999;

    /// How much later this one is, or nothing if it is not.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The instant that much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Timestamp::default().plus(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.min(Timestamp::MAX));
        f.pad(&humantime::format_rfc3339_millis(time).to_string())
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// # Errors
    /// [`Error::Quantity`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let hint = || "write it so: 2026-11-21T10:00:00Z".to_owned();
        let read = humantime::parse_rfc3339(text).map(Timestamp::from);
        read.map_err(|_| Error::Quantity { given: text.to_owned(), what: "instant", hint: hint() })
    }
}

written_as_text!(Timestamp, "an instant, such as 2026-11-21T10:00:00Z", r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T.*Z$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        for text in ["30s", "10m", "2h 30m", "500ms"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert!("10".parse::<Period>().is_err() && "ten".parse::<Period>().is_err());

        let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(noon.to_string(), "2026-11-21T12:00:00.000Z");
        assert_eq!(noon.plus(Duration::from_secs(3)).since(noon), Duration::from_secs(3));
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
