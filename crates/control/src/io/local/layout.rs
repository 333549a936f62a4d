//! Where things are under the state directory.
//!
//! ```text
//! <dir>/runtime.lock                 held by the one control that uses the directory
//!      /credentials/<name>           passwords, one in each line
//!      /nodes/<name>.down            a node that was taken down, and why
//!      /instances/<name>/record.json what was started, and what became of it
//!                       /lock        held by the process itself, from before it is one: see process.rs
//!                       /data/       the process's folder: dump.rdb, appendonlydir
//!                       /log, log.1… what it said
//!                       /redis.conf, platform.conf, users.acl, proxy.yml, admin.sock
//! ```

use std::path::{Path, PathBuf};

use crate::redis_conf::USERS_FILE;

/// The state directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    dir: PathBuf,
}

/// The folder of one instance.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
}

impl Layout {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn runtime_lock(&self) -> PathBuf {
        self.dir.join("runtime.lock")
    }

    pub(super) fn credentials(&self) -> PathBuf {
        self.dir.join("credentials")
    }

    pub(super) fn nodes(&self) -> PathBuf {
        self.dir.join("nodes")
    }

    pub(super) fn node_down(&self, node: &str) -> PathBuf {
        self.nodes().join(format!("{node}.down"))
    }

    pub(super) fn instances(&self) -> PathBuf {
        self.dir.join("instances")
    }

    pub(super) fn place(&self, name: &str) -> Place {
        Place { dir: self.instances().join(name) }
    }
}

impl Place {
    pub(super) fn record(&self) -> PathBuf {
        self.dir.join("record.json")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(super) fn users(&self) -> PathBuf {
        self.dir.join(USERS_FILE)
    }

    pub(super) fn platform_conf(&self) -> PathBuf {
        self.dir.join("platform.conf")
    }

    /// The file that the process rewrites itself.
    pub(super) fn own_conf(&self, sentinel: bool) -> PathBuf {
        self.dir.join(if sentinel { "sentinel.conf" } else { "redis.conf" })
    }

    pub(super) fn proxy_yml(&self) -> PathBuf {
        self.dir.join("proxy.yml")
    }

    pub(super) fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }
}
