//! One cursor over all shards of a pool. It carries all there is to know, so that a scan goes on with any session, worker or
//! proxy of the same topology.
//!
//! ```text
//!   bit 63   62 ............ 43   42 ........................ 0
//!      0   |     check, 1..2^20  |   inner * shards + shard      |
//! ```
//!
//! `inner` is the shard's own cursor. A walk goes through the shards in the order of the configuration; each begins and ends
//! at `inner` 0, and the whole at 0. `check` is made of all that decides where keys are: names, addresses, weights and order
//! of the shards, hash, distribution and tag. A cursor of another topology is an error, never a walk that skips keys; two
//! topologies that differ have the same check once in a million.
//!
//! Redis 7.0's cursor is below the size of its hash table (`dictScan`), a power of two of about the number of keys. So
//! 2^43 / shards is far more than a server's memory holds: 2^36 keys each at 128 shards. A server's cursor that is not below
//! it, as Kvrocks gives with its top bit set, is an error too.
//!
//! The check is never 0, so a cursor of ours is never 0 before the end, and never one that a single Redis gave. Bit 63 is
//! never set: some clients read cursors as signed.

use std::fmt::Write;

use sha1::{Digest as _, Sha1};
use shoal_topology::Pool;

const CHECK_BITS: u32 = 20;
const CHECK_SHIFT: u32 = 63 - CHECK_BITS;
const PLACE_MASK: u64 = (1 << CHECK_SHIFT) - 1;

/// How cursors of one topology are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    /// In 1..2^20.
    check: u32,
    shards: u16,
}

/// Where a walk over all shards is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Whose cursors they are.
    pub cursors: Cursors,
    /// The shard that is being walked through.
    pub shard: u16,
}

/// Why a cursor cannot be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCursor {
    /// It is no number of 64 bits.
    NoNumber,
    /// It was given under another topology, or by something else than a pool.
    Foreign,
}

/// A server's cursor is too large to be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Cursors {
    /// Those of `pool`.
    pub fn of(pool: &Pool) -> Cursors {
        let mut text = format!("{} {} {}", pool.hash, pool.char_sign, pool.distribution);
        // Writing to a string cannot fail. Lengths keep names apart that hold what separates them.
        if let Some(tag) = &pool.hash_tag {
            let _ = write!(text, " tag {tag}");
        }
        for shard in &pool.shards {
            let address = shard.primary.to_string();
            let _ = write!(text, "\n{} {} {address} {}", shard.name.len(), shard.name, shard.weight);
        }
        let [a, b, c, d, ..] = <[u8; 20]>::from(Sha1::digest(text));
        let check = u32::from_be_bytes([a, b, c, d]) >> (u32::BITS - CHECK_BITS);
        Cursors { check: check.max(1), shards: pool.shards.len() as u16 }
    }

    /// The shard, by its index, and its own cursor at which `text` says to go on.
    ///
    /// # Errors
    /// [`BadCursor`].
    pub fn read(self, text: &[u8]) -> Result<(u16, u64), BadCursor> {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| digits).ok_or(BadCursor::NoNumber)?;
        let cursor: u64 = text.parse().map_err(|_| BadCursor::NoNumber)?;
        if cursor == 0 {
            return Ok((0, 0));
        }
        if cursor >> CHECK_SHIFT != u64::from(self.check) {
            return Err(BadCursor::Foreign);
        }
        let (place, shards) = (cursor & PLACE_MASK, u64::from(self.shards));
        Ok(((place % shards) as u16, place / shards))
    }

    /// The cursor that names `inner` of `shard`; one that is not to be confused with the end.
    fn write(self, shard: u16, inner: u64) -> Result<u64, TooLarge> {
        let place = inner.checked_mul(u64::from(self.shards)).and_then(|at| at.checked_add(u64::from(shard)));
        match place {
            Some(place) if place <= PLACE_MASK => Ok(u64::from(self.check) << CHECK_SHIFT | place),
            _ => Err(TooLarge),
        }
    }
}

impl Leg {
    /// What the client is given where the shard gave `inner`: the next shard follows the last page of one, and 0 the last
    /// page of all.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn next(self, inner: u64) -> Result<u64, TooLarge> {
        match inner {
            0 if self.shard + 1 == self.cursors.shards => Ok(0),
            0 => self.cursors.write(self.shard + 1, 0),
            _ => self.cursors.write(self.shard, inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shoal_topology::Distribution;

    use crate::fixture::pool;

    #[test]
    fn a_walk_goes_through_every_shard_and_ends_at_zero_alone() {
        let cursors = Cursors::of(&pool(3));
        let mut seen = Vec::new();
        let mut cursor = 0;
        loop {
            let (shard, inner) = cursors.read(cursor.to_string().as_bytes()).unwrap();
            seen.push((shard, inner));
            // Each shard has three pages.
            let after = match inner {
                0 => 96,
                96 => 7,
                _ => 0,
            };
            cursor = Leg { cursors, shard }.next(after).unwrap();
            if cursor == 0 {
                break;
            }
            assert!(cursor < 1 << 63);
        }
        let expected: Vec<_> = (0..3).flat_map(|shard| [0, 96, 7].map(|inner| (shard, inner))).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn whatever_moves_keys_changes_the_check() {
        let own = pool(4);
        let cursor = Leg { cursors: Cursors::of(&own), shard: 1 }.next(5).unwrap().to_string();
        let mut others = vec![pool(3), pool(5)];
        let mut change = |how: &dyn Fn(&mut Pool)| {
            let mut other = own.clone();
            how(&mut other);
            others.push(other);
        };
        change(&|pool| pool.shards.swap(0, 3));
        change(&|pool| pool.shards[2].name = "other".into());
        change(&|pool| pool.shards[2].weight = 2);
        change(&|pool| pool.shards[2].primary = "127.0.0.1:9".parse().unwrap());
        change(&|pool| pool.distribution = Distribution::Modula);
        change(&|pool| pool.hash = "murmur".parse().unwrap());
        change(&|pool| pool.char_sign = "unsigned".parse().unwrap());
        change(&|pool| pool.hash_tag = Some("{}".parse().unwrap()));
        for other in &others {
            assert_eq!(Cursors::of(other).read(cursor.as_bytes()), Err(BadCursor::Foreign), "{other:?}");
        }
        let mut same = own.clone();
        same.name = "beta".into();
        assert_eq!(Cursors::of(&same).read(cursor.as_bytes()), Ok((1, 5)));
    }

    #[test]
    fn a_server_s_own_cursor_and_what_is_no_number_are_refused() {
        let cursors = Cursors::of(&pool(4));
        assert_eq!(cursors.read(b"17"), Err(BadCursor::Foreign));
        assert_eq!(cursors.read(b"0000"), Ok((0, 0)));
        for text in [&b""[..], b"-1", b"+1", b" 1", b"1x", b"18446744073709551616", b"\xff"] {
            assert_eq!(cursors.read(text), Err(BadCursor::NoNumber));
        }
        assert_eq!(Leg { cursors, shard: 0 }.next(1 << 63), Err(TooLarge));
        assert_eq!(Leg { cursors, shard: 0 }.next(1 << 41), Err(TooLarge));
        assert!(Leg { cursors, shard: 3 }.next((1 << 41) - 1).is_ok());
    }

    proptest! {
        #[test]
        fn a_cursor_that_is_written_is_read_again(shards in 1usize..300, shard in any::<u16>(), inner in 1u64..1 << 34) {
            let cursors = Cursors::of(&pool(shards));
            let shard = shard % shards as u16;
            let cursor = Leg { cursors, shard }.next(inner).unwrap();
            prop_assert!(cursor > 0 && cursor < 1 << 63);
            prop_assert_eq!(cursors.read(cursor.to_string().as_bytes()), Ok((shard, inner)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..30)) {
            let cursors = Cursors::of(&pool(5));
            if let Ok((shard, inner)) = cursors.read(&text) {
                prop_assert!(shard < 5);
                prop_assert!(inner <= PLACE_MASK / 5);
            }
        }
    }
}
