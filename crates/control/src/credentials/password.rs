//! Passwords as values that do not show themselves.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;

/// The most passwords that are valid for one user at a time: two in a rotation, and some room.
pub const PASSWORDS_MAX: usize = 16;

/// The longest password, in bytes.
pub const PASSWORD_LENGTH_MAX: usize = 512;

/// A password: printable ASCII without blanks, quotes and backslashes, so that it stands in every file as it is. Debug does
/// not show it, and it has no Display.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Why some text is no password; it does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadPassword {
    /// Nothing there.
    #[error("it holds no password; one stands in each line, the preferred one first")]
    Empty,
    /// Longer than [`PASSWORD_LENGTH_MAX`].
    #[error("a password in it is longer than 512 bytes")]
    TooLong,
    /// More than [`PASSWORDS_MAX`].
    #[error("it holds more than 16 passwords; remove the oldest lines")]
    TooMany,
    /// A letter that some file would read otherwise.
    #[error("a password in it has a blank, a quote, a backslash, or a letter that is not ASCII")]
    Letter,
}

impl Password {
    /// Takes a password.
    ///
    /// # Errors
    /// [`BadPassword`].
    pub fn new(text: impl Into<String>) -> Result<Self, BadPassword> {
        let text = text.into();
        if text.is_empty() {
            return Err(BadPassword::Empty);
        }
        if text.len() > PASSWORD_LENGTH_MAX {
            return Err(BadPassword::TooLong);
        }
        let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#' | b'`');
        if text.bytes().all(fits) { Ok(Self(text)) } else { Err(BadPassword::Letter) }
    }

    /// Out of 32 bytes of chance: 64 hexadecimal digits.
    #[must_use]
    pub fn of_chance(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }

    /// The password itself, for those who must send or write it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// As in ACL rules, after `#`.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The passwords of one credential: all are valid, the first is preferred. Never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwords(Vec<Password>);

impl Passwords {
    /// One password alone.
    #[must_use]
    pub fn one(password: Password) -> Self {
        Self(vec![password])
    }

    /// Out of a credential's file: one password in each line.
    ///
    /// # Errors
    /// [`BadPassword`].
    pub fn read(text: &str) -> Result<Self, BadPassword> {
        let lines = text.lines().filter(|line| !line.is_empty());
        let passwords = lines.map(Password::new).collect::<Result<Vec<_>, _>>()?;
        match passwords.len() {
            0 => Err(BadPassword::Empty),
            n if n > PASSWORDS_MAX => Err(BadPassword::TooMany),
            _ => Ok(Self(passwords)),
        }
    }

    /// As a credential's file.
    #[must_use]
    pub fn write(&self) -> String {
        self.0.iter().map(|password| format!("{}\n", password.reveal())).collect()
    }

    /// The one to give where one is asked for.
    #[must_use]
    pub fn preferred(&self) -> &Password {
        &self.0[0]
    }

    /// All of them, the preferred one first.
    pub fn iter(&self) -> impl Iterator<Item = &Password> {
        self.0.iter()
    }

    /// With another preferred one; those of before stay valid (the oldest goes, where there are too many).
    #[must_use]
    pub fn rotated(&self, next: Password) -> Self {
        let mut all = vec![next];
        all.extend(self.0.iter().filter(|old| **old != all[0]).cloned().collect::<Vec<_>>());
        all.truncate(PASSWORDS_MAX);
        Self(all)
    }

    /// The preferred one alone: those of before are valid no more.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self::one(self.preferred().clone())
    }
}

/// Small hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
