//! Scripts that a pool's clients have shown, so that a shard that lacks one can be given it.
//!
//! Each worker has its own, for each pool: nothing is locked, and what one worker has not seen its clients load again, as they
//! do at a single Redis.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sha1::{Digest as _, Sha1};

/// Bytes of scripts kept, with what is noted of them, for each pool and worker; the oldest make room.
pub const SCRIPTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a script above which it is not kept.
pub const SCRIPT_MAX: usize = 256 * 1024;

/// Bytes that a script costs besides its own.
const OVERHEAD: usize = 256;

/// Bytes that a script costs for each shard that was given it: a number, in a list that grows by doubling.
const GIVEN_BYTES: usize = 2 * size_of::<u16>();

/// A script's name: its SHA-1 in lower-case hexadecimal digits.
pub type Name = [u8; 40];

/// The scripts of one pool.
#[derive(Debug, Default)]
pub struct Scripts {
    names: BTreeMap<Arc<[u8]>, Name>,
    scripts: BTreeMap<Name, Script>,
    /// In the order in which they were shown.
    order: VecDeque<Name>,
    bytes: usize,
}

#[derive(Debug)]
struct Script {
    body: Arc<[u8]>,
    /// The shards that were given it, sorted.
    given: Vec<u16>,
}

impl Script {
    fn bytes(&self) -> usize {
        self.body.len() + OVERHEAD + self.given.len() * GIVEN_BYTES
    }
}

impl Scripts {
    /// Keeps `body`; its name, unless it is too long to be kept.
    pub fn show(&mut self, body: &[u8]) -> Option<Name> {
        if let Some(name) = self.names.get(body) {
            return Some(*name);
        }
        if body.len() > SCRIPT_MAX {
            return None;
        }
        let (name, body): (Name, Arc<[u8]>) = (name_of(body), body.into());
        let script = Script { body: body.clone(), given: Vec::new() };
        self.bytes += script.bytes();
        self.names.insert(body, name);
        self.scripts.insert(name, script);
        self.order.push_back(name);
        self.make_room();
        Some(name)
    }

    /// Notes that `shard` is given the script that `name` names, if that is kept.
    pub fn give(&mut self, name: &Name, shard: u16) {
        let Some(script) = self.scripts.get_mut(name) else { return };
        if let Err(place) = script.given.binary_search(&shard) {
            script.given.insert(place, shard);
            self.bytes += GIVEN_BYTES;
            self.make_room();
        }
    }

    /// Whether `shard` was given the script that `name` names.
    pub fn was_given(&self, name: &Name, shard: u16) -> bool {
        self.scripts.get(name).is_some_and(|script| script.given.binary_search(&shard).is_ok())
    }

    /// A connection to `shard` is lost: what answers there next may be a server that was never given anything.
    pub fn lose(&mut self, shard: u16) {
        for script in self.scripts.values_mut() {
            if let Ok(place) = script.given.binary_search(&shard) {
                script.given.remove(place);
                self.bytes -= GIVEN_BYTES;
            }
        }
    }

    /// The script that `word` names, in digits of either case.
    pub fn find(&self, word: &[u8]) -> Option<(Name, Arc<[u8]>)> {
        let mut name: Name = word.try_into().ok()?;
        name.make_ascii_lowercase();
        self.scripts.get(&name).map(|script| (name, script.body.clone()))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Scripts::default();
    }

    fn make_room(&mut self) {
        while self.bytes > SCRIPTS_BYTES_MAX {
            let Some(script) = self.order.pop_front().and_then(|oldest| self.scripts.remove(&oldest)) else {
                break;
            };
            self.bytes -= script.bytes();
            self.names.remove(&script.body);
        }
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
        assert_eq!(scripts.find(name), Some((*name, b"return 1"[..].into())));
        assert!(scripts.find(&name.to_ascii_uppercase()).is_some());
        assert_eq!(scripts.find(b"e0e1"), None);
        scripts.clear();
        assert_eq!(scripts.find(name), None);
    }

    #[test]
    fn who_was_given_a_script_is_known_until_its_connection_is_lost() {
        let mut scripts = Scripts::default();
        let name = name_of(b"return 1");
        scripts.give(&name, 0);
        assert!(!scripts.was_given(&name, 0), "it is not kept");
        assert_eq!(scripts.show(b"return 1"), Some(name));
        for shard in [2, 0, 2] {
            scripts.give(&name, shard);
        }
        assert!(scripts.was_given(&name, 0) && !scripts.was_given(&name, 1));
        scripts.lose(0);
        assert!(!scripts.was_given(&name, 0) && scripts.was_given(&name, 2));
        assert_eq!(scripts.bytes, b"return 1".len() + OVERHEAD + GIVEN_BYTES);
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
        assert_eq!(scripts.names.len(), scripts.scripts.len());
        assert_eq!(scripts.names.len(), scripts.order.len());
        let huge = vec![b'x'; SCRIPT_MAX + 1];
        assert_eq!(scripts.show(&huge), None);
        assert_eq!(scripts.find(&name_of(&huge)), None);
    }

    #[test]
    fn what_is_noted_of_shards_takes_room_too() {
        let mut scripts = Scripts::default();
        let body = |number: usize| format!("return {number} --{}", "x".repeat(100_000)).into_bytes();
        for number in 0..41 {
            let name = scripts.show(&body(number)).unwrap();
            (0..1000).for_each(|shard| scripts.give(&name, shard));
            assert!(scripts.bytes <= SCRIPTS_BYTES_MAX);
        }
        let kept = scripts.scripts.values();
        assert!(kept.len() > 30);
        let given: usize = kept.map(|script| script.given.len()).sum();
        assert!(scripts.scripts.len() * 100_000 + given * GIVEN_BYTES <= SCRIPTS_BYTES_MAX);
        (0..1000).for_each(|shard| scripts.lose(shard));
        assert_eq!(scripts.bytes, scripts.scripts.values().map(Script::bytes).sum::<usize>());
    }
}
