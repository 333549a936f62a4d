//! What was written when and by whom, and whether a value that was read is stale.
//!
//! A value is stale if its write had ended before another write of the key began, and that other one had ended before the
//! read began. A write whose fate is unknown never ends, and makes nothing stale.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub proxy: usize,
    pub begun: u64,
    pub ended: Option<u64>,
}

#[derive(Default)]
pub struct History {
    /// By the number that is the value; a deletion has a number too.
    pub writes: Vec<Write>,
    of_key: BTreeMap<Vec<u8>, Vec<usize>>,
    /// For each key and proxy, the write before which nothing counts: an old file took it back.
    forgiven: BTreeMap<(Vec<u8>, usize), u64>,
}

impl History {
    pub fn begin(&mut self, proxy: usize, key: &[u8], now: u64) -> usize {
        self.writes.push(Write { proxy, begun: now, ended: None });
        let number = self.writes.len() - 1;
        self.of_key.entry(key.to_vec()).or_default().push(number);
        number
    }

    pub fn end(&mut self, number: usize, now: u64) {
        self.writes[number].ended = Some(now);
    }

    /// Writes of `key` through `proxy` up to now may be lost, by Redis's own promise.
    pub fn forgive(&mut self, key: &[u8], proxy: usize, now: u64) {
        self.forgiven.insert((key.to_vec(), proxy), now);
    }

    /// The write through one of `proxies` that makes the value `read` stale for a read that began at `asked`.
    pub fn makes_stale(&self, key: &[u8], read: usize, asked: u64, proxies: &[usize]) -> Option<Write> {
        let ended = self.writes[read].ended?;
        self.of_key.get(key)?.iter().map(|&number| self.writes[number]).find(|write| {
            let forgiven = self.forgiven.get(&(key.to_vec(), write.proxy)).copied().unwrap_or(0);
            proxies.contains(&write.proxy)
                && write.begun > ended.max(forgiven)
                && write.ended.is_some_and(|ended| ended < asked)
        })
    }

    pub fn wrote(&self, proxy: usize, key: &[u8]) -> bool {
        self.of_key.get(key).is_some_and(|all| all.iter().any(|&number| self.writes[number].proxy == proxy))
    }
}
