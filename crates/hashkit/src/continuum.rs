//! A pool's hashes laid out over its live servers, ready for lookups.
//!
//! ```text
//!  ketama   points: 4 for each 1/40 of a fair share, anywhere       modula   points: the last slot of
//!           in 32 bits                                                       each server
//!           ·──b──·a─·──c·───a──·─b───·─▶ (wraps)                            ·a·b·b·c·  (hash mod 4)
//!  the first point that is not below the hash owns it
//! ```
//!
//! Both are one sorted array and one search in it. Does not sort its members
//! ([`server_order`](crate::server_order) does), does not decide who lives, and draws no random numbers.

#[cfg(test)]
mod golden;

use crate::{Distribution, Member};
use md5::{Digest, Md5};
use std::num::NonZeroU32;

/// Twemproxy cuts a server's name with its index at so many bytes before it hashes them.
const POINT_NAME_MAX: usize = 272;
/// Points of a server that has exactly its fair share.
const KETAMA_POINTS: f32 = 160.0;
/// Points that one MD5 digest gives.
const POINTS_PER_DIGEST: usize = 4;

/// A distribution prepared over the members of a pool; made anew when one dies, returns or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuum {
    /// What a hash is reduced by before the search. None where all 32 bits count.
    modulus: Option<NonZeroU32>,
    /// Ascending.
    points: Box<[u32]>,
    /// Who owns the point of the same index: an index into the members.
    servers: Box<[u32]>,
}

impl Continuum {
    /// Lays out `members`, which are in [server order](crate::server_order).
    ///
    /// Members that are not live or weigh nothing get no keys. For [`Distribution::Random`] every
    /// live member is one slot whatever its weight.
    #[must_use]
    pub fn new(distribution: Distribution, members: &[Member<'_>]) -> Continuum {
        match distribution {
            Distribution::Ketama => ketama(members),
            Distribution::Modula => slots(members, |member| member.weight),
            Distribution::Random => slots(members, |_| 1),
        }
    }

    /// The member that owns `hash`, as an index into the members given; None when nobody lives.
    ///
    /// For [`Distribution::Random`] the hash is the next number of a [`Random`](crate::Random).
    #[must_use]
    #[inline]
    pub fn lookup(&self, hash: u32) -> Option<usize> {
        let value = match self.modulus {
            Some(modulus) => hash % modulus,
            None => hash,
        };
        let found = self.points.partition_point(|&point| point < value);
        // Past the last point the ring begins again.
        let index = if found == self.points.len() { 0 } else { found };
        self.servers.get(index).map(|&server| server as usize)
    }
}

/// Consecutive slots, `size` of them for each live member; a member's point is its last slot.
///
/// Twemproxy has an array of all slots instead. Ours does not grow with the weights.
fn slots(members: &[Member<'_>], size: impl Fn(&Member<'_>) -> u32) -> Continuum {
    let mut total: u64 = 0;
    let mut points = Vec::new();
    let mut servers = Vec::new();
    for (server, member) in (0..).zip(members) {
        let size = size(member);
        if member.live && size > 0 {
            total += u64::from(size);
            points.push(u32::try_from(total - 1).unwrap_or(u32::MAX));
            servers.push(server);
        }
    }
    // A total beyond 32 bits leaves every hash as it is.
    let modulus = u32::try_from(total).ok().and_then(NonZeroU32::new);
    Continuum { modulus, points: points.into(), servers: servers.into() }
}

fn ketama(members: &[Member<'_>]) -> Continuum {
    let live = members.iter().filter(|member| member.live);
    let count = live.clone().count();
    let total: u64 = live.map(|member| u64::from(member.weight)).sum();
    let mut ring: Vec<(u32, u32)> = Vec::new();
    for (server, member) in (0..).zip(members).filter(|(_, member)| member.live) {
        for index in 0..digests(member.weight, total, count) {
            let mut name = format!("{}-{index}", member.name).into_bytes();
            name.truncate(POINT_NAME_MAX);
            let digest: [u8; 16] = Md5::digest(&name).into();
            let words = digest.chunks_exact(POINTS_PER_DIGEST);
            ring.extend(words.map(|word| (u32::from_le_bytes([word[0], word[1], word[2], word[3]]), server)));
        }
    }
    // Stable, as glibc's qsort is: of equal points the lower server's comes first and gets the keys.
    ring.sort_by_key(|&(point, _)| point);
    let (points, servers): (Vec<u32>, Vec<u32>) = ring.into_iter().unzip();
    Continuum { modulus: None, points: points.into(), servers: servers.into() }
}

/// How many digests (of four points) a server gets on a ring of `count` live ones.
///
/// In single precision and in this order, since the rounding is part of the result: 25 servers of
/// one weight get 39 digests each, not 40.
fn digests(weight: u32, total: u64, count: usize) -> usize {
    let share = weight as f32 / total as f32;
    let exact = share * KETAMA_POINTS / POINTS_PER_DIGEST as f32 * count as f32;
    let nudged = (f64::from(exact) + 1e-10) as f32;
    nudged.floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members<'a>(names: &'a [String], weights: &[u32]) -> Vec<Member<'a>> {
        names.iter().zip(weights).map(|(name, &weight)| Member { name, weight, live: true }).collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("10.0.0.{i}:6379")).collect()
    }

    fn points_each(weights: &[u32]) -> Vec<usize> {
        let total = weights.iter().map(|&weight| u64::from(weight)).sum();
        weights.iter().map(|&weight| digests(weight, total, weights.len()) * POINTS_PER_DIGEST).collect()
    }

    #[test]
    fn single_precision_takes_points_away() {
        let short: Vec<usize> = (1..=3000).filter(|&n| digests(1, n as u64, n) == 39).collect();
        assert_eq!(short.len(), 305);
        assert_eq!(short[..12], [25, 47, 50, 55, 61, 71, 94, 100, 107, 109, 110, 115]);
        assert!((1..=3000).all(|n| matches!(digests(1, n as u64, n), 39 | 40)));
    }

    #[test]
    fn unequal_weights_round_down() {
        assert_eq!(points_each(&[1, 80]), [0, 316]);
        assert_eq!(points_each(&[1, 79]), [4, 316]);
        assert_eq!(points_each(&[50, 50, 51]), [156, 156, 160]);
    }

    #[test]
    fn equal_points_belong_to_the_lower_server() {
        // Cut at 272 bytes the two names, and all their indexes, are the same.
        let long = "x".repeat(POINT_NAME_MAX);
        let (a, b) = (format!("{long}a"), format!("{long}b"));
        let continuum = Continuum::new(
            Distribution::Ketama,
            &[Member { name: &a, weight: 1, live: true }, Member { name: &b, weight: 1, live: true }],
        );
        assert_eq!(continuum.points.len(), 320);
        for hash in (0..=u32::MAX).step_by(99_991) {
            assert_eq!(continuum.lookup(hash), Some(0));
        }
    }

    #[test]
    fn the_ring_wraps_and_a_point_owns_its_own_value() {
        let names = names(3);
        let continuum = Continuum::new(Distribution::Ketama, &members(&names, &[1; 3]));
        let (first, last) = (continuum.points[0], continuum.points[479]);
        let owner = |index: usize| Some(continuum.servers[index] as usize);
        assert!(last < u32::MAX);
        assert_eq!(continuum.lookup(last), owner(479));
        assert_eq!(continuum.lookup(last + 1), owner(0));
        assert_eq!(continuum.lookup(u32::MAX), owner(0));
        assert_eq!(continuum.lookup(first), owner(0));
        assert_eq!(continuum.lookup(first + 1), owner(1));
    }

    #[test]
    fn modula_repeats_each_server_by_weight() {
        let names = names(4);
        let mut members = members(&names, &[1, 2, 3, 1]);
        let owners = |continuum: &Continuum| (0..8).map(|h| continuum.lookup(h).unwrap()).collect::<Vec<_>>();
        assert_eq!(owners(&Continuum::new(Distribution::Modula, &members)), [0, 1, 1, 2, 2, 2, 3, 0]);
        assert_eq!(owners(&Continuum::new(Distribution::Random, &members)), [0, 1, 2, 3, 0, 1, 2, 3]);
        members[1].live = false;
        assert_eq!(owners(&Continuum::new(Distribution::Modula, &members)), [0, 2, 2, 2, 3, 0, 2, 2]);
        members[0].weight = 0;
        assert_eq!(owners(&Continuum::new(Distribution::Modula, &members)), [2, 2, 2, 3, 2, 2, 2, 3]);
    }

    #[test]
    fn weights_beyond_32_bits_in_sum_neither_panic_nor_allocate() {
        let names = names(3);
        let members = members(&names, &[u32::MAX, u32::MAX, 1]);
        let continuum = Continuum::new(Distribution::Modula, &members);
        assert_eq!(continuum.lookup(u32::MAX - 1), Some(0));
        assert_eq!(continuum.lookup(u32::MAX), Some(1));
        assert!(Continuum::new(Distribution::Ketama, &members).lookup(7).is_some());
    }

    #[test]
    fn nobody_lives() {
        let dead =
            [Member { name: "a", weight: 1, live: false }, Member { name: "b", weight: 0, live: true }];
        for members in [&[][..], &dead[..1]] {
            for &distribution in Distribution::ALL {
                assert_eq!(Continuum::new(distribution, members).lookup(7), None);
            }
        }
        // Nor does anybody who weighs nothing, except to `random`, which does not weigh.
        for distribution in [Distribution::Ketama, Distribution::Modula] {
            assert_eq!(Continuum::new(distribution, &dead).lookup(7), None);
        }
    }

    proptest! {
        #[test]
        fn a_lookup_answers_a_live_member(
            pool in prop::collection::vec((1_u32..200, any::<bool>()), 0..30),
            hashes in prop::collection::vec(any::<u32>(), 50),
        ) {
            let names = names(pool.len());
            let members: Vec<_> = names.iter().zip(&pool)
                .map(|(name, &(weight, live))| Member { name, weight, live }).collect();
            let anybody = pool.iter().any(|&(_, live)| live);
            for &distribution in Distribution::ALL {
                let continuum = Continuum::new(distribution, &members);
                for &hash in &hashes {
                    let found = continuum.lookup(hash);
                    prop_assert_eq!(found.is_some(), anybody);
                    prop_assert!(found.is_none_or(|server| members[server].live));
                }
            }
        }

        #[test]
        fn ejecting_one_of_equal_weight_moves_only_its_keys(
            count in 2_usize..30,
            weight in 1_u32..100,
            ejected: prop::sample::Index,
            hashes in prop::collection::vec(any::<u32>(), 200),
        ) {
            let names = names(count);
            let mut members = members(&names, &vec![weight; count]);
            let before = Continuum::new(Distribution::Ketama, &members);
            let ejected = ejected.index(count);
            members[ejected].live = false;
            let after = Continuum::new(Distribution::Ketama, &members);
            let total = u64::from(weight) * count as u64;
            prop_assume!(
                digests(weight, total, count) == digests(weight, total - u64::from(weight), count - 1)
            );
            for hash in hashes {
                let owner = before.lookup(hash);
                if owner != Some(ejected) {
                    prop_assert_eq!(after.lookup(hash), owner);
                }
            }
        }
    }
}
