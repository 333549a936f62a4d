//! As whom the proxy enters the servers, and by which passwords.
//!
//! Several passwords may be valid at once, so that servers and proxies can be given a new one in any order: where there is
//! more than one, all are tried, the first one last. Redis keeps a connection's rights when a further AUTH is refused, so
//! one that is taken is enough.

use shoal_resp::encode;

use crate::access::DEFAULT_USER;
use crate::settings::Secret;

/// As whom the proxy enters the servers of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAuth {
    /// The user's name; `None` leaves it out, as servers before Redis 6 need it.
    pub user: Option<String>,
    /// The passwords, the preferred one first; not empty.
    pub passwords: Vec<Secret>,
}

impl ServerAuth {
    /// Appends what enters a server in RESP2; the number of requests.
    pub fn greet(&self, out: &mut Vec<u8>) -> u8 {
        for password in self.passwords.iter().rev() {
            let password = password.reveal().as_bytes();
            match &self.user {
                Some(user) => encode::command(out, &[b"AUTH", user.as_bytes(), password]),
                None => encode::command(out, &[b"AUTH", password]),
            }
        }
        self.passwords.len() as u8
    }

    /// Appends what enters a server and goes over to RESP3; the number of requests.
    pub fn greet_resp3(&self, out: &mut Vec<u8>) -> u8 {
        if let [only] = &self.passwords[..] {
            let user = self.user.as_ref().map_or(DEFAULT_USER, String::as_str).as_bytes();
            encode::command(out, &[b"HELLO", b"3", b"AUTH", user, only.reveal().as_bytes()]);
            return 1;
        }
        let tries = self.greet(out);
        encode::command(out, &[b"HELLO", b"3"]);
        tries + 1
    }

    /// Whether connections made by `before` may go on under `now`: it is the same user, who has perhaps other passwords.
    pub fn is_same_user(before: Option<&ServerAuth>, now: Option<&ServerAuth>) -> bool {
        let user = |auth: Option<&ServerAuth>| match auth.and_then(|auth| auth.user.as_ref()) {
            Some(user) => user.as_bytes().to_vec(),
            None => DEFAULT_USER.as_bytes().to_vec(),
        };
        user(before) == user(now)
    }
}

/// Which of several passwords were tried on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Answers to AUTH that are still to come.
    left: u8,
    let_in: bool,
}

impl Tries {
    /// A connection begins, and tries all that `auth` has.
    pub fn begin(auth: Option<&ServerAuth>) -> Tries {
        Tries { left: auth.map_or(0, |auth| auth.passwords.len() as u8), let_in: false }
    }

    /// The next answer to a greeting has come, a refusal or not: whether that is a refusal of the proxy, because no other
    /// password is left and none was taken.
    pub fn refused(&mut self, refusal: bool) -> bool {
        if self.left == 0 {
            return refusal;
        }
        self.left -= 1;
        self.let_in |= !refusal;
        self.left == 0 && !self.let_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(user: Option<&str>, passwords: &[&str]) -> ServerAuth {
        let passwords = passwords.iter().map(|password| Secret::new(*password)).collect();
        ServerAuth { user: user.map(str::to_owned), passwords }
    }

    fn greeted(auth: &ServerAuth, resp3: bool) -> (u8, String) {
        let mut out = Vec::new();
        let count = if resp3 { auth.greet_resp3(&mut out) } else { auth.greet(&mut out) };
        let text = String::from_utf8(out).unwrap();
        let words = text.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
        (count, words.collect::<Vec<_>>().join(" ").trim().to_owned())
    }

    #[test]
    fn the_preferred_password_is_tried_last() {
        let words = |count, text: &str| (count, text.to_owned());
        let (one, two) = (auth(None, &["a"]), auth(Some("shoal"), &["new", "old"]));
        assert_eq!(greeted(&one, false), words(1, "AUTH a"));
        assert_eq!(greeted(&one, true), words(1, "HELLO 3 AUTH default a"));
        assert_eq!(greeted(&two, false), words(2, "AUTH shoal old AUTH shoal new"));
        assert_eq!(greeted(&two, true), words(3, "AUTH shoal old AUTH shoal new HELLO 3"));
        assert!(!format!("{two:?}").contains("old"));
    }

    #[test]
    fn one_password_that_is_taken_is_enough() {
        let tried = |answers: &[bool]| {
            let mut tries = Tries::begin(Some(&auth(None, &["a", "b"])));
            answers.iter().map(|refusal| tries.refused(*refusal)).collect::<Vec<_>>()
        };
        assert_eq!(tried(&[true, false, false]), [false, false, false]);
        assert_eq!(tried(&[false, true, false]), [false, false, false]);
        assert_eq!(tried(&[true, true]), [false, true]);
        // What follows AUTH must not be refused.
        assert_eq!(tried(&[false, false, true]), [false, false, true]);
        assert!(Tries::begin(None).refused(true));
    }

    #[test]
    fn other_passwords_are_the_same_user() {
        let (plain, named) = (auth(None, &["a"]), auth(Some("default"), &["b"]));
        let other = auth(Some("shoal"), &["a"]);
        assert!(ServerAuth::is_same_user(Some(&plain), Some(&named)));
        assert!(ServerAuth::is_same_user(None, Some(&plain)));
        assert!(!ServerAuth::is_same_user(Some(&plain), Some(&other)));
    }
}
