//! Scripts that a pool's clients have shown, so that a shard that lacks one can be given it.
//!
//! Each worker has its own, for each pool: nothing is locked, and what one worker has not seen its clients load again, as they
//! do at a single Redis.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sha1::{Digest as _, Sha1};

/// Bytes of scripts kept, for each pool and worker; the oldest make room.
pub const SCRIPTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a script above which it is not kept.
pub const SCRIPT_MAX: usize = 256 * 1024;

/// Bytes that a script costs besides its own.
const OVERHEAD: usize = 256;

/// A script's name: its SHA-1 in lower-case hexadecimal digits.
type Name = [u8; 40];

/// The scripts of one pool.
#[derive(Debug, Default)]
pub struct Scripts {
    names: BTreeMap<Arc<[u8]>, Name>,
    bodies: BTreeMap<Name, Arc<[u8]>>,
    /// In the order in which they were shown.
    order: VecDeque<Arc<[u8]>>,
    bytes: usize,
    /// The shards that were given each of them.
    given: BTreeSet<(Name, u16)>,
}

impl Scripts {
    /// Keeps `body`.
    pub fn show(&mut self, body: &[u8]) {
        if body.len() > SCRIPT_MAX || self.names.contains_key(body) {
            return;
        }
        let (name, body): (Name, Arc<[u8]>) = (name_of(body), body.into());
        self.bytes += body.len() + OVERHEAD;
        self.names.insert(body.clone(), name);
        self.bodies.insert(name, body.clone());
        self.order.push_back(body);
        while self.bytes > SCRIPTS_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= oldest.len() + OVERHEAD;
            if let Some(name) = self.names.remove(&oldest) {
                self.bodies.remove(&name);
                self.given.retain(|(other, _)| *other != name);
            }
        }
    }

    /// Notes that `shard` is given `body`, if that is kept.
    pub fn give(&mut self, body: &[u8], shard: u16) {
        if let Some(name) = self.names.get(body) {
            self.given.insert((*name, shard));
        }
    }

    /// Whether `shard` was given `body`.
    pub fn was_given(&self, body: &[u8], shard: u16) -> bool {
        self.names.get(body).is_some_and(|name| self.given.contains(&(*name, shard)))
    }

    /// A connection to `shard` is lost: what answers there next may be a server that was never given anything.
    pub fn lose(&mut self, shard: u16) {
        self.given.retain(|(_, other)| *other != shard);
    }

    /// The script that `name` names, in digits of either case.
    pub fn find(&self, name: &[u8]) -> Option<Arc<[u8]>> {
        let mut name: Name = name.try_into().ok()?;
        name.make_ascii_lowercase();
        self.bodies.get(&name).cloned()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Scripts::default();
    }
}

/// What Redis calls `body`.
fn name_of(body: &[u8]) -> Name {
    let mut name = [0; 40];
    for (byte, digits) in Sha1::digest(body).iter().zip(name.chunks_exact_mut(2)) {
        digits.copy_from_slice(format!("{byte:02x}").as_bytes());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_by_its_name_in_any_case() {
        let mut scripts = Scripts::default();
        scripts.show(b"return 1");
        // By redis-server 7.0: SCRIPT LOAD "return 1".
        let name = b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert_eq!(scripts.find(name).as_deref(), Some(&b"return 1"[..]));
        assert!(scripts.find(&name.to_ascii_uppercase()).is_some());
        assert_eq!(scripts.find(b"e0e1"), None);
        scripts.clear();
        assert_eq!(scripts.find(name), None);
    }

    #[test]
    fn who_was_given_a_script_is_known_until_its_connection_is_lost() {
        let mut scripts = Scripts::default();
        scripts.give(b"return 1", 0);
        assert!(!scripts.was_given(b"return 1", 0), "it is not kept");
        scripts.show(b"return 1");
        scripts.give(b"return 1", 0);
        scripts.give(b"return 1", 2);
        assert!(scripts.was_given(b"return 1", 0) && !scripts.was_given(b"return 1", 1));
        scripts.lose(0);
        assert!(!scripts.was_given(b"return 1", 0) && scripts.was_given(b"return 1", 2));
    }

    #[test]
    fn the_oldest_make_room_and_huge_ones_are_not_kept() {
        let mut scripts = Scripts::default();
        let body = |number: usize| format!("return {number} --{}", "x".repeat(100_000)).into_bytes();
        for number in 0..200 {
            scripts.show(&body(number));
            scripts.show(&body(number));
            assert!(scripts.bytes <= SCRIPTS_BYTES_MAX);
        }
        let kept = |number| scripts.find(&name_of(&body(number))).is_some();
        assert!(!kept(0) && kept(199) && kept(170));
        assert_eq!(scripts.names.len(), scripts.bodies.len());
        assert_eq!(scripts.names.len(), scripts.order.len());
        let huge = vec![b'x'; SCRIPT_MAX + 1];
        scripts.show(&huge);
        assert_eq!(scripts.find(&name_of(&huge)), None);
    }
}
