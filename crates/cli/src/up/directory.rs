//! The demo's directory: ours alone, used by one `shoal up` at a time, with passwords that nobody else can read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::layout::{Layout, Pool};

/// Held locked as long as `shoal up` runs; also what tells our directory from any other.
const LOCK: &str = "up.lock";

/// Random bytes in a password; it is written as hexadecimal digits.
const PASSWORD_BYTES: usize = 32;

/// A directory that this process has to itself.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The kernel unlocks it when we end, however we end.
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub fn open(given: &Path) -> Result<Directory> {
        make(given)?;
        let path = fs::canonicalize(given).with_context(|| format!("cannot use {}", given.display()))?;
        demand_ours(&path)?;
        set_mode(&path, 0o700)?;
        let lock = lock(&path)?;
        Ok(Directory { path, _lock: lock })
    }

    /// Its absolute path, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what the processes need. Passwords that are there are kept, so that clients can keep them too.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        for pool in &layout.pools {
            let path = layout.password_file(pool);
            if self.password(layout, pool).is_err() {
                write_private(&path, &format!("{}\n", random_password()?))?;
            }
            set_mode(&path, 0o600)?;
            let password = self.password(layout, pool)?;
            for server in &pool.servers {
                make(&server.dir)?;
                write_private(&server.config(), &server.redis_conf(pool.mode, &password))?;
            }
        }
        make(&layout.proxy_dir())?;
        write_private(&layout.proxy_dir().join("proxy.yml"), &layout.proxy_yml())
    }

    /// A pool's password.
    pub fn password(&self, layout: &Layout, pool: &Pool) -> Result<String> {
        let path = layout.password_file(pool);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let password = text.trim_end();
        // A file that was cut off while it was written is as good as none.
        if password.len() != 2 * PASSWORD_BYTES || !password.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("{} holds no password of ours", path.display());
        }
        Ok(password.to_owned())
    }
}

fn make(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Refuses a directory that is somebody's, or that holds something else: its mode is about to change.
fn demand_ours(path: &Path) -> Result<()> {
    let shown = path.display();
    let context = || format!("cannot look into {shown}");
    if fs::metadata(path).with_context(context)?.uid() != rustix::process::geteuid().as_raw() {
        bail!("{shown} belongs to another user: choose a directory of your own with --dir");
    }
    let empty = fs::read_dir(path).with_context(context)?.next().is_none();
    if !empty && !path.join(LOCK).exists() {
        bail!("{shown} has files in it that are not from `shoal up`: choose another directory with --dir");
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let context = || format!("cannot lock {}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).with_context(context)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            // Without the number the sentence is still true.
            let _ = file.read_to_string(&mut owner);
            let (dir, owner) = (dir.display(), owner.trim());
            bail!(
                "another `shoal up` (process {owner}) runs in {dir}: end it, or start this one with another --dir and --port"
            );
        }
        Err(error) => return Err(error).with_context(context),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).with_context(context)?;
    Ok(file)
}

fn random_password() -> Result<String> {
    let mut bytes = [0; PASSWORD_BYTES];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file that its owner alone can read, before there is anything in it to be read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(context),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot make {} private", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that another test is just starting has the lock of this one until it becomes its program.
    fn open_when_let_go(path: &Path) -> Directory {
        let begun = std::time::Instant::now();
        loop {
            match Directory::open(path) {
                Ok(directory) => return directory,
                Err(error) if begun.elapsed() > std::time::Duration::from_secs(10) => panic!("{error}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_it_writes_is_private_and_passwords_stay() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let read = || {
            let directory = open_when_let_go(&path);
            let layout = Layout::new(directory.path(), 22121);
            directory.write(&layout).unwrap();
            assert_eq!(mode(directory.path()), 0o700);
            for (pool, server) in layout.servers() {
                assert_eq!((mode(&layout.password_file(pool)), mode(&server.config())), (0o600, 0o600));
            }
            layout.pools.each_ref().map(|pool| directory.password(&layout, pool).unwrap())
        };
        let first = read();
        assert_ne!(first[0], first[1]);
        assert_eq!(read(), first);
        // Cut off in the middle: made anew.
        fs::write(path.join("demo.password"), &first[0][..10]).unwrap();
        let third = read();
        assert_ne!(third[0], first[0]);
        assert_eq!(third[1], first[1]);
    }

    #[test]
    fn a_directory_is_used_once_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let first = Directory::open(parent.path()).unwrap();
        let error = Directory::open(parent.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(first);
        open_when_let_go(parent.path());
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.txt"), "").unwrap();
        set_mode(parent.path(), 0o755).unwrap();
        let error = Directory::open(parent.path()).unwrap_err().to_string();
        assert!(error.contains("not from `shoal up`"), "{error}");
        assert_eq!(mode(parent.path()), 0o755);
    }
}
