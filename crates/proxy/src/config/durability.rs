//! A pool's `durability`, as written.

use std::time::Duration;

use serde::Deserialize;

use crate::settings::Durability;

/// What `timeout` is unless the file says otherwise.
const TIMEOUT: u64 = 500;

/// Replicas that a write may be asked to reach.
const REPLICAS_MAX: u16 = 64;

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DurabilityEntry {
    #[serde(default)]
    mode: ModeEntry,
    replicas: Option<u16>,
    /// Milliseconds.
    timeout: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeEntry {
    #[default]
    Async,
    Replicated,
}

impl DurabilityEntry {
    /// What it means for a pool that is a cache or is not, whose requests have `pool_timeout` milliseconds.
    pub(super) fn mean(self, is_cache: bool, pool_timeout: Option<u64>) -> Result<Durability, String> {
        if self.mode == ModeEntry::Async {
            return match (self.replicas, self.timeout) {
                (None, None) => Ok(Durability::Async),
                _ => Err("durability: replicas and timeout are for `mode: replicated`; with `async` nothing is waited for"
                    .to_owned()),
            };
        }
        if is_cache {
            return Err("durability: the shards of a pool of mode cache have no replicas; `replicated` is for mode storage"
                .to_owned());
        }
        let replicas = self.replicas.unwrap_or(1);
        if !(1..=REPLICAS_MAX).contains(&replicas) {
            return Err(format!("durability: replicas: {replicas} is not between 1 and {REPLICAS_MAX}"));
        }
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        if timeout == 0 {
            return Err("durability: timeout: 0 would wait for ever for a replica that is gone".to_owned());
        }
        // A write may come while the WAIT before it has just begun, and then has its own.
        let least = timeout.saturating_mul(2);
        if let Some(pool_timeout) = pool_timeout.filter(|&pool_timeout| pool_timeout <= least) {
            return Err(format!(
                "durability: timeout: {timeout} ms is waited twice at worst, for the writes before one and for its own, so the \
                 pool's timeout of {pool_timeout} ms must be more than {least}"
            ));
        }
        Ok(Durability::Replicated { replicas, timeout: Duration::from_millis(timeout) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(text: &str, is_cache: bool, pool_timeout: Option<u64>) -> Result<Durability, String> {
        let entry: DurabilityEntry = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        entry.mean(is_cache, pool_timeout)
    }

    #[test]
    fn replicated_waits_for_one_replica_for_half_a_second_unless_told_otherwise() {
        let replicated =
            |replicas, ms| Ok(Durability::Replicated { replicas, timeout: Duration::from_millis(ms) });
        assert_eq!(mean("{mode: async}", true, None), Ok(Durability::Async));
        assert_eq!(mean("{mode: replicated}", false, None), replicated(1, 500));
        assert_eq!(mean("{mode: replicated, replicas: 2, timeout: 90}", false, Some(181)), replicated(2, 90));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        for (text, is_cache, pool_timeout, part) in [
            ("{mode: replicated}", true, None, "for mode storage"),
            ("{mode: async, replicas: 1}", false, None, "nothing is waited for"),
            ("{timeout: 5}", false, None, "nothing is waited for"),
            ("{mode: replicated, replicas: 0}", false, None, "between 1 and 64"),
            ("{mode: replicated, timeout: 0}", false, None, "for ever"),
            ("{mode: replicated, timeout: 200}", false, Some(400), "must be more than 400"),
            ("{mode: replicated}", false, Some(1000), "must be more than 1000"),
            ("{mode: often}", false, None, "often"),
            ("{mode: replicated, quorum: 2}", false, None, "quorum"),
        ] {
            let said = mean(text, is_cache, pool_timeout).unwrap_err();
            assert!(said.contains(part), "{said:?} does not say {part:?}");
        }
    }
}
