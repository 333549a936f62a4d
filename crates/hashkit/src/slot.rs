//! Redis Cluster's slots ("Redis cluster specification": key distribution model, hash tags).

use crate::HashTag;
use crate::hash::crc::crc16;

/// How many slots a Redis Cluster has.
pub const SLOTS: u16 = 16384;

/// Redis Cluster's rule for tags is Twemproxy's, with these two bytes.
const TAG: HashTag = HashTag { open: b'{', close: b'}' };

/// The slot of `key`, below [`SLOTS`]: CRC-16/XMODEM of its hash tag or of the whole.
///
/// The tag is what stands between the first `{` and the first `}` after it, if that is not empty.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    crc16(TAG.hashed_part(key)) & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;
    use proptest::prelude::*;

    #[test]
    fn redis_own_answers() {
        let rows = testdata::tsv(include_str!("../../../testdata/hashkit/slots/slots.tsv"));
        assert!(rows.len() > 20);
        for row in rows {
            let key = testdata::unhex(row[0]);
            assert_eq!(slot(&key).to_string(), row[1], "{}", String::from_utf8_lossy(&key));
        }
    }

    proptest! {
        #[test]
        fn below_the_number_of_slots(key: Vec<u8>) {
            prop_assert!(slot(&key) < SLOTS);
        }
    }
}
