//! What control notes of an instance, beside the process itself: written before anything happens, so that whoever comes
//! after a crash knows what was meant.

use std::net::SocketAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::layout::Place;
use crate::io::private_file;
use crate::redis_version::RedisVersion;
use crate::runtime::{Exit, Program, Refused, Start, User};

/// The format that this program reads and writes.
const FORMAT: u32 = 1;

/// What is known of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    /// Of the present life, or the last.
    pub(super) start: Start,
    /// Who is known to it at present.
    pub(super) users: Vec<User>,
    /// The program's version, of a Redis or a Sentinel.
    pub(super) version: Option<[u16; 3]>,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// When the present life was begun.
    pub(super) started_at: SystemTime,
    /// The process, once it was seen. Only a hint: `process.rs` says which one it is.
    pub(super) process: Option<ProcessId>,
    /// It was asked to end.
    pub(super) stopping: Option<Stopping>,
    /// The present life is over.
    pub(super) exit: Option<Exit>,
    /// The count of the lives before: see [`Exit::unasked_in_a_row`].
    pub(super) unasked_in_a_row: u32,
    /// What a proxy serves.
    pub(super) epoch: u64,
}

/// Which process: its number, and when it began in the kernel's ticks, since numbers come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: u32,
    pub(super) ticks: u64,
}

/// A stop under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stopping {
    /// When patience ends.
    pub(super) kill_at: SystemTime,
    /// Whether data, logs and name go as well.
    pub(super) remove: bool,
}

impl Record {
    pub(super) fn new(
        start: &Start,
        address: SocketAddr,
        version: Option<RedisVersion>,
        now: SystemTime,
    ) -> Self {
        Self {
            format: FORMAT,
            start: start.clone(),
            users: start.users.clone(),
            version: version.map(|version| [version.major, version.minor, version.patch]),
            address,
            started_at: now,
            process: None,
            stopping: None,
            exit: None,
            unasked_in_a_row: 0,
            epoch: match &start.program {
                Program::Proxy(proxy) => proxy.epoch,
                Program::Redis(_) | Program::Sentinel(_) => 0,
            },
        }
    }

    pub(super) fn version(&self) -> Option<RedisVersion> {
        self.version.map(|[major, minor, patch]| RedisVersion::new(major, minor, patch))
    }

    /// Reads it; `None` if there is none: then nothing was ever started there.
    pub(super) fn read(place: &Place) -> Result<Option<Self>, Refused> {
        let path = place.record();
        let Some(text) = private_file::read(&path)? else { return Ok(None) };
        let unknown = |why: String| Refused::Unknown { doing: format!("reading {}", path.display()), why };
        let record: Self = serde_json::from_str(&text).map_err(|error| {
            unknown(format!("{error}; it was written by another version or damaged: put it right, or end the process and remove its folder"))
        })?;
        if record.format != FORMAT {
            return Err(unknown(format!(
                "it has format {}, and this version knows {FORMAT} alone",
                record.format
            )));
        }
        Ok(Some(record))
    }

    pub(super) fn write(&self, place: &Place) -> Result<(), Refused> {
        // Text, numbers and instants after 1970: there is nothing that JSON cannot hold.
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        private_file::write(&place.record(), &text)
    }
}
