//! A pool's data, out of its replicas into files, and from files into new shards.
//!
//! `redis-cli --rdb` fetches a shard as a replica would. It gets the password by its environment (`REDISCLI_AUTH`): that is
//! seen by this user's own processes and root alone, who can read the credential's file as well; arguments are seen by
//! everybody.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};
use shoal_topology::{Endpoint, Mode, Pool};

use super::LocalRuntime;
use super::look::life_password;
use super::start::{check_name, invalid};
use crate::backup::{self, BadBackup, FORMAT, MANIFEST, Manifest, ShardBackup};
use crate::credentials::Password;
use crate::io::private_file;
use crate::quantity::Timestamp;
use crate::redis_version::RedisVersion;
use crate::runtime::{Observed, Persistence, Program, RedisSays, Refused, Role, Runtime as _, Start};

/// How long a file may not grow: before its first byte a Redis may write a whole snapshot to its own disk.
const STALLED: Duration = Duration::from_secs(600);

/// Time between two looks at a file that grows.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

impl LocalRuntime {
    /// Writes the data of a pool into a folder, which is made. `shards` are the names of each shard's instances, in the
    /// pool's order; see [`backup::source`] for who is asked. The manifest is written last.
    ///
    /// # Errors
    /// [`Refused`], with the shard's name; files of an attempt that failed stay, and are no backup.
    pub fn back_up(&self, pool: &Pool, shards: &[Vec<String>], into: &Path) -> Result<Manifest, Refused> {
        if pool.shards.len() != shards.len() {
            return Err(invalid(&pool.name, "shards", "the instances of each shard have to be named"));
        }
        if !into.exists() {
            private_file::folder(into)?;
        }
        if into.join(MANIFEST).exists() {
            let why = format!("{} holds a backup already: choose another folder", into.display());
            return Err(invalid(&pool.name, "to", &why));
        }
        let began_at = Timestamp::from(SystemTime::now());
        let observation = self.observe()?;
        let mut done = Vec::new();
        for ((at, shard), names) in pool.shards.iter().enumerate().zip(shards) {
            let own: Vec<&Observed> =
                observation.instances.iter().filter(|o| names.contains(&o.name)).collect();
            let Some((observed, says)) = backup::source(&own) else {
                let why = "none of its instances answers with its data whole: look at them, then try again";
                return Err(Refused::NotRunning {
                    name: format!("shard {} of {}", shard.name, pool.name),
                    why: why.to_owned(),
                });
            };
            done.push(self.back_up_shard(&shard.name, &format!("shard-{at}.rdb"), observed, says, into)?);
        }
        let ended_at = Timestamp::from(SystemTime::now());
        let manifest = Manifest { format: FORMAT, began_at, ended_at, pool: pool.clone(), shards: done };
        private_file::write(&into.join(MANIFEST), manifest.write().as_bytes())?;
        Ok(manifest)
    }

    fn back_up_shard(
        &self,
        shard: &str,
        file: &str,
        observed: &Observed,
        says: &RedisSays,
        into: &Path,
    ) -> Result<ShardBackup, Refused> {
        let gone = || Refused::Gone { name: observed.name.clone(), uid: observed.uid.clone() };
        let record = self.shared.state().records.get(&observed.name).cloned().ok_or_else(gone)?;
        let (user, password) = life_password(&self.shared, &record, says.gate)?;
        let path = into.join(file);
        // Made first, so that it is never anybody else's to read.
        private_file::write(&path, b"")?;
        let doing = format!("fetching shard {shard} from {}", observed.name);
        let cli = &self.shared.options.programs.redis_cli;
        let child = fetch(cli, record.address, user.as_deref(), &password, &path);
        let child = child.map_err(|error| missing(cli, &error))?;
        wait(child, &path).map_err(|why| Refused::Machine { doing: doing.clone(), why })?;
        check(cli, &path).map_err(|why| Refused::Machine { doing: doing.clone(), why })?;
        let (bytes, sha256) = sum(&path).map_err(|error| private_file::refused(&doing, &path, &error))?;
        Ok(ShardBackup {
            name: shard.to_owned(),
            file: file.to_owned(),
            bytes,
            sha256,
            from: Endpoint::Tcp { host: record.address.ip().to_string(), port: record.address.port() },
            from_replica: matches!(says.role, Role::Replica { .. }),
            taken_at: Timestamp::from(SystemTime::now()),
            redis_version: says.version.clone(),
            replication_id: says.replication_id.clone(),
            offset: says.offset,
        })
    }

    /// Lays a shard's data where the instance that `start` will start for the first time reads it. An instance that was
    /// ever started is refused: its data is not overwritten.
    ///
    /// # Errors
    /// [`Refused::Invalid`], [`Refused::Machine`].
    pub fn lay_data(
        &self,
        start: &Start,
        manifest: &Manifest,
        shard: usize,
        from: &Path,
    ) -> Result<(), Refused> {
        let name = &start.name;
        check_name("name", name)?;
        let Program::Redis(redis) = &start.program else {
            return Err(invalid(name, "program", "only a Redis has data"));
        };
        if redis.mode == Mode::Cache || start.empty {
            return Err(invalid(name, "empty", "it is to start empty: nothing can be restored into it"));
        }
        let (_, version) = self.shared.options.programs.redis(redis.version.as_deref())?;
        if redis.persistence == Persistence::Aof && version < RedisVersion::new(4, 0, 0) {
            let why = format!(
                "Redis {version} reads no snapshot in its log of writes: restore with persistence rdb, or take 4.0"
            );
            return Err(invalid(name, "persistence", &why));
        }
        let Some(backup) = manifest.shards.get(shard) else {
            return Err(invalid(name, "shard", &format!("the backup has {} shards", manifest.shards.len())));
        };
        let state = self.shared.state();
        if state.records.contains_key(name) {
            return Err(invalid(
                name,
                "name",
                "it was started already, and its data is not overwritten: delete it first",
            ));
        }
        let data = self.shared.layout.place(name).data();
        private_file::remove_folder(&data)?;
        private_file::folder(&data)?;
        // A log of writes may begin with a snapshot, and this one is nothing else; Redis 7 takes the old single file over.
        let file = if redis.persistence == Persistence::Aof { "appendonly.aof" } else { "dump.rdb" };
        let (source, path) = (from.join(&backup.file), data.join(file));
        private_file::write(&path, b"")?;
        let doing = format!("laying the data of {name}");
        fs::copy(&source, &path).map_err(|error| private_file::refused(&doing, &path, &error))?;
        private_file::write_mode(&path).map_err(|error| private_file::refused(&doing, &path, &error))?;
        // What was copied is what was taken, or it is not left to be started from.
        verify_file(backup, &path).or_else(|bad| {
            private_file::remove_folder(&data)?;
            Err(invalid(name, "backup", &bad.to_string()))
        })
    }
}

/// Reads a backup, and checks every file of it.
///
/// # Errors
/// [`Refused::Invalid`] in the words of [`BadBackup`]; [`Refused::Machine`].
pub fn read_backup(from: &Path) -> Result<Manifest, Refused> {
    let shown = from.display().to_string();
    let bad = |error: BadBackup| invalid(&shown, "backup", &error.to_string());
    let text = private_file::read(&from.join(MANIFEST))?.ok_or_else(|| {
        let why = format!("there is no {MANIFEST}: it is no backup, or one that did not come to its end");
        bad(BadBackup::Manifest(why))
    })?;
    let manifest = Manifest::read(&text).map_err(bad)?;
    for shard in &manifest.shards {
        verify_file(shard, &from.join(&shard.file)).map_err(bad)?;
    }
    Ok(manifest)
}

fn verify_file(shard: &ShardBackup, path: &Path) -> Result<(), BadBackup> {
    let damaged =
        |why: String| BadBackup::Damaged { shard: shard.name.clone(), file: shard.file.clone(), why };
    let (bytes, sha256) = sum(path).map_err(|error| damaged(format!("cannot be read ({error})")))?;
    match () {
        () if bytes != shard.bytes => Err(damaged(format!("has {bytes} bytes, and had {}", shard.bytes))),
        () if sha256 != shard.sha256 => {
            Err(damaged("is not what was written (its SHA-256 differs)".to_owned()))
        }
        () => Ok(()),
    }
}

fn fetch(
    cli: &Path,
    at: std::net::SocketAddr,
    user: Option<&str>,
    password: &Password,
    to: &Path,
) -> io::Result<Child> {
    let mut command = Command::new(cli);
    command.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string(), "--no-auth-warning"]);
    if let Some(user) = user {
        command.args(["--user", user]);
    }
    command.arg("--rdb").arg(to).env_clear().env("REDISCLI_AUTH", password.reveal());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
}

/// Waits for the end, as long as the file grows.
fn wait(mut child: Child, path: &Path) -> Result<(), String> {
    let (mut length, mut since) = (0, Instant::now());
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if since.elapsed() > STALLED => {
                child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
                return Err(format!("no byte came in {} s: look at the instance's log", STALLED.as_secs()));
            }
            None => std::thread::sleep(BETWEEN_LOOKS),
        }
        let now = fs::metadata(path).map_or(0, |file| file.len());
        if now != length {
            (length, since) = (now, Instant::now());
        }
    };
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        // It has ended: what it said is there.
        errors.read_to_string(&mut said).map_err(|error| error.to_string())?;
    }
    let last =
        said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned();
    if status.success() { Ok(()) } else { Err(format!("redis-cli failed ({status}): {last}")) }
}

/// Has Redis's own program read the file from its beginning to its checksum.
fn check(cli: &Path, path: &Path) -> Result<(), String> {
    let name = PathBuf::from("redis-check-rdb");
    let program = cli
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or(name.clone(), |dir| dir.join(&name));
    let output = Command::new(&program).arg(path).stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(&program, &error).to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rfind(|line| line.contains("---") || line.contains("rror")).unwrap_or_default();
    Err(format!("what came is no whole snapshot (redis-check-rdb: {})", last.trim()))
}

fn missing(program: &Path, error: &io::Error) -> Refused {
    let advice = format!("{}: {error}. Install it (Debian: `apt install redis-tools`)", program.display());
    Refused::NoProgram {
        program: program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        advice,
    }
}

/// Length and SHA-256 of a file.
fn sum(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; 256 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((bytes, crate::credentials::hex(&hash.finalize()))),
            length => {
                hash.update(&piece[..length]);
                bytes += length as u64;
            }
        }
    }
}
