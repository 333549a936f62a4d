//! The folder of credentials: a file for each, mode 0600, made once with a password of chance.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::credentials::{Password, Passwords};
use crate::io::private_file;
use crate::runtime::{Refused, User};

/// The credentials by name. Cheap to clone; files are read each time, so that what was rotated is what counts.
#[derive(Clone, Debug)]
pub struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// Those in a folder, which is made.
    ///
    /// # Errors
    /// [`Refused::Machine`].
    pub fn open(folder: PathBuf) -> Result<Self, Refused> {
        private_file::folder(&folder)?;
        Ok(Self { folder })
    }

    /// The file of a credential.
    ///
    /// # Errors
    /// [`Refused::Credential`] for a name that would lead elsewhere.
    pub fn path(&self, credential: &str) -> Result<PathBuf, Refused> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let fits = (1..=200).contains(&credential.len())
            && credential.bytes().all(letters)
            && !credential.starts_with('.');
        if fits {
            return Ok(self.folder.join(credential));
        }
        let why =
            "a credential's name has letters, digits, hyphens, dots and underscores, and begins with no dot";
        Err(refused(credential, why))
    }

    /// The passwords of a credential, which is made if it is not there.
    ///
    /// # Errors
    /// [`Refused::Credential`], [`Refused::Machine`].
    pub fn get(&self, credential: &str) -> Result<Passwords, Refused> {
        if let Some(passwords) = self.known(credential)? {
            return Ok(passwords);
        }
        let new = Passwords::one(chance(credential)?);
        if private_file::write_new(&self.path(credential)?, new.write().as_bytes())? {
            return Ok(new);
        }
        // Somebody else made it between: theirs counts.
        self.known(credential)?.ok_or_else(|| refused(credential, "it was removed while it was being made"))
    }

    /// The passwords of a credential that is there.
    ///
    /// # Errors
    /// [`Refused::Credential`], [`Refused::Machine`].
    pub fn known(&self, credential: &str) -> Result<Option<Passwords>, Refused> {
        let path = self.path(credential)?;
        let Some(text) = private_file::read(&path)? else { return Ok(None) };
        let mode = fs::metadata(&path).map_or(0, |file| file.permissions().mode());
        if mode & 0o077 != 0 {
            let shown = path.display();
            let why =
                format!("others may read {shown}: `chmod 600 {shown}`, and rotate it, since they may have");
            return Err(refused(credential, &why));
        }
        let why = |error| refused(credential, &format!("{} is no good: {error}", path.display()));
        Passwords::read(&text).map(Some).map_err(why)
    }

    /// Puts a new password in front of a credential's; those of before stay valid, until it is
    /// [settled](Self::settle). Between the two every instance that names it is told its users.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn rotate(&self, credential: &str) -> Result<Passwords, Refused> {
        let next = self.get(credential)?.rotated(chance(credential)?);
        private_file::write(&self.path(credential)?, next.write().as_bytes())?;
        Ok(next)
    }

    /// Forgets all but the preferred password.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn settle(&self, credential: &str) -> Result<Passwords, Refused> {
        let settled = self.get(credential)?.settled();
        private_file::write(&self.path(credential)?, settled.write().as_bytes())?;
        Ok(settled)
    }

    /// Each user with its passwords.
    pub(super) fn of_users(&self, users: &[User]) -> Result<Vec<(User, Passwords)>, Refused> {
        users.iter().map(|user| Ok((user.clone(), self.get(&user.credential)?))).collect()
    }
}

fn chance(credential: &str) -> Result<Password, Refused> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| {
        refused(credential, &format!("the machine's chance (/dev/urandom) cannot be read: {error}"))
    })?;
    Ok(Password::of_chance(bytes))
}

fn refused(credential: &str, why: &str) -> Refused {
    Refused::Credential { credential: credential.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_made_once_and_rotated_by_hand() {
        let place = tempfile::tempdir().unwrap();
        let credentials = Credentials::open(place.path().join("credentials")).unwrap();
        let first = credentials.get("demo.tenant").unwrap();
        assert_eq!(first.preferred().reveal().len(), 64);
        assert_eq!(credentials.get("demo.tenant").unwrap(), first);
        assert_ne!(credentials.get("demo.platform").unwrap(), first);
        let both = credentials.rotate("demo.tenant").unwrap();
        assert_eq!(both.iter().count(), 2);
        assert_ne!(both.preferred(), first.preferred());
        assert_eq!(credentials.settle("demo.tenant").unwrap(), both.settled());
    }

    #[test]
    fn names_lead_nowhere_else_and_open_files_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let credentials = Credentials::open(place.path().to_owned()).unwrap();
        for name in ["", "../x", "a/b", ".hidden", "a b"] {
            assert!(matches!(credentials.get(name), Err(Refused::Credential { .. })), "{name:?}");
        }
        let path = credentials.path("shown").unwrap();
        fs::write(&path, "secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let why = credentials.get("shown").unwrap_err().to_string();
        assert!(why.contains("chmod 600") && !why.contains("secret"), "{why}");
    }
}
