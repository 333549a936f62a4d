//! The names of Twemproxy's distributions, what they distribute over, and in which order.

use crate::names::names;
use std::cmp::Ordering;

/// How hashes are spread over servers, as the key `distribution` of `nutcracker.yml` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Distribution {
    /// Consistent hashing: an ejected server's keys go to the others; Twemproxy's default.
    #[default]
    Ketama,
    /// Hash modulo the sum of weights: an ejection moves nearly every key.
    Modula,
    /// Any living server, whatever the key and the weights.
    Random,
}

names!(Distribution, "distribution", {
    Ketama => "ketama",
    Modula => "modula",
    Random => "random",
});

/// One server of a pool, as a [`Continuum`](crate::Continuum) sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name that ketama hashes: the given one, or the one that Twemproxy derives from the address.
    pub name: &'a str,
    /// The share of keys relative to the other members. With 0 a member gets none (Twemproxy refuses it).
    pub weight: u32,
    /// Whether it takes keys now; false while it is ejected.
    pub live: bool,
}

/// What Twemproxy sorts servers (and pools) by: shorter names first, then by bytes.
#[must_use]
pub fn sort_key(name: &str) -> (usize, &[u8]) {
    (name.len(), name.as_bytes())
}

/// The indexes of `names` in server order; equal names keep the order they came in.
///
/// `alpha` comes after `b`, `c` and `zeta`.
#[must_use]
pub fn server_order<S: AsRef<str>>(names: &[S]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| compare(names[a].as_ref(), names[b].as_ref()));
    order
}

fn compare(a: &str, b: &str) -> Ordering {
    sort_key(a).cmp(&sort_key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_names_come_first() {
        assert_eq!(server_order(&["zeta", "b", "alpha", "c"]), [1, 3, 0, 2]);
        assert_eq!(server_order(&["10.0.0.1:6379", "10.0.0.2", "/tmp/redis:"]), [1, 2, 0]);
        assert_eq!(server_order(&["b", "a", "b"]), [1, 0, 2]);
        // Bytes, not signed chars: é is 0xc3 0xa9.
        assert_eq!(server_order(&["é", "zz"]), [1, 0]);
        assert!(server_order::<&str>(&[]).is_empty());
    }
}
