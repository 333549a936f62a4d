//! The files of tokens.

use crate::api::{Answer, Call, Caller, Denied, Role, Tokens};
use crate::credentials::Password;
use crate::io::private_file;
use crate::quantity::Timestamp;
use crate::runtime::Refused;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The tokens that are known, and where that is written.
pub(super) struct TokenFiles {
    folder: PathBuf,
    tokens: Mutex<Tokens>,
}

impl TokenFiles {
    /// Reads what is known, and makes an operator's and a viewer's token where there is none.
    pub(super) fn open(dir: &Path) -> Result<Self, Refused> {
        let folder = dir.join("tokens");
        private_file::folder(&folder)?;
        let mut tokens = Tokens::default();
        let known = folder.join("known.json");
        if let Some(text) = private_file::read(&known)? {
            tokens = serde_json::from_str(&text).map_err(|error| Refused::Machine {
                doing: format!("reading {}", known.display()),
                why: format!(
                    "it is damaged ({error}): move it away, and new tokens are made at the next start"
                ),
            })?;
        }
        for (name, role) in [("operator", Role::Operator), ("viewer", Role::Viewer)] {
            if !tokens.has(&role) {
                let token = chance()?;
                private_file::write(&folder.join(name), format!("{}\n", token.reveal()).as_bytes())?;
                tokens.add(Caller { token: name.to_owned(), role }, &token, now());
            }
        }
        let files = TokenFiles { folder, tokens: Mutex::new(Tokens::default()) };
        files.keep(tokens)?;
        Ok(files)
    }

    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        self.lock().caller(token).cloned()
    }

    /// Lists, makes or revokes tokens; they are on the disk when this returns.
    pub(super) fn answer(&self, caller: &Caller, call: &Call) -> Result<Answer, Denied> {
        let mut tokens = self.lock().clone();
        let answer = match call {
            Call::CreateToken { name, tenant } => tokens.create(caller, (name, tenant), &chance()?, now())?,
            Call::RevokeToken { name } => tokens.revoke(caller, name)?,
            _ => return tokens.list(caller),
        };
        self.keep(tokens)?;
        Ok(answer)
    }

    /// Changes come one behind the other, so nobody writes between.
    fn keep(&self, tokens: Tokens) -> Result<(), Refused> {
        let path = self.folder.join("known.json");
        let text = serde_json::to_vec_pretty(&tokens).map_err(|error| Refused::Machine {
            doing: format!("writing {}", path.display()),
            why: error.to_string(),
        })?;
        private_file::write(&path, &text)?;
        *self.lock() = tokens;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that nobody can guess.
pub(super) fn chance() -> Result<Password, Refused> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 32];
    let read = File::open(source).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| private_file::refused("making a token", source, &error))?;
    Ok(Password::of_chance(bytes))
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
