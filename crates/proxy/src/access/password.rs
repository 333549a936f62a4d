//! Passwords as they are kept: by their SHA-256 alone, as Redis's own ACL keeps them, and compared in constant time.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// Passwords that one user may have at once. Also how many the proxy tries on a server.
pub const PASSWORDS_MAX: usize = 16;

/// The SHA-256 of a password. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash([u8; 32]);

impl PasswordHash {
    /// That of the password `clear`.
    pub fn of(clear: &[u8]) -> PasswordHash {
        PasswordHash(Sha256::digest(clear).into())
    }

    /// The one written as 64 lower-case hexadecimal digits, as Redis's `#` rule has them.
    pub fn from_hex(text: &str) -> Option<PasswordHash> {
        let mut hash = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(PasswordHash(hash))
    }

    /// Whether `given` is one of `known`; takes the same time whichever it is, and wherever they differ.
    pub fn is_among(given: &PasswordHash, known: &[PasswordHash]) -> bool {
        known.iter().fold(Choice::from(0), |seen, own| seen | own.0.ct_eq(&given.0)).into()
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `printf %s hunter2 | sha256sum`.
    const HUNTER2: &str = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let known = [PasswordHash::of(b"other"), PasswordHash::from_hex(HUNTER2).unwrap()];
        assert!(PasswordHash::is_among(&PasswordHash::of(b"hunter2"), &known));
        for wrong in [&b"hunter"[..], b"hunter22", b"", HUNTER2.as_bytes()] {
            assert!(!PasswordHash::is_among(&PasswordHash::of(wrong), &known));
        }
        assert!(!PasswordHash::is_among(&PasswordHash::of(b""), &[]));
        assert_eq!(format!("{known:?}"), "[PasswordHash(…), PasswordHash(…)]");
    }

    #[test]
    fn only_64_lower_case_digits_are_a_hash() {
        for wrong in ["", "ab", &HUNTER2.to_uppercase(), &HUNTER2[1..], &format!("{}g", &HUNTER2[1..])] {
            assert!(PasswordHash::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
