//! The query of a request: `name=value&…`, percent-encoded.

use std::str::FromStr;

/// What stands behind the `?`, each parameter to be taken once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// In words, for a percent sign without two hexadecimal digits, for what is not UTF-8, and for a name that stands twice.
    pub fn parse(query: &str) -> Result<Query, String> {
        let mut all: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if all.iter().any(|(known, _)| *known == name) {
                return Err(format!("{name} stands twice in the query"));
            }
            all.push((name, value));
        }
        Ok(Query(all))
    }

    /// Takes the parameter `name` out, if it is there.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes the number `name` out, if it is there.
    ///
    /// # Errors
    /// If it is no such number.
    pub fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, String> {
        let read =
            |text: String| text.parse().map_err(|_| format!("{name}={text} is not a number that fits"));
        self.text(name).map(read).transpose()
    }

    /// Takes `yes` or `no` out, if it is there.
    ///
    /// # Errors
    /// If it says something else.
    pub fn yes_or_no(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("yes") => Ok(Some(true)),
            Some("no") => Ok(Some(false)),
            Some(other) => Err(format!("{name}={other} is neither yes nor no")),
        }
    }

    /// All must have been taken by now.
    ///
    /// # Errors
    /// If one is left, which nobody knows here; `known` are those that are.
    pub fn finish(self, known: &[&str]) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) if known.is_empty() => {
                Err(format!("there is no parameter {name} here, and no other"))
            }
            Some((name, _)) => {
                Err(format!("there is no parameter {name} here: there are {}", known.join(", ")))
            }
        }
    }
}

fn decode(text: &str) -> Result<String, String> {
    let wrong = || format!("{text} is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err(wrong());
                };
                (high * 16 + low) as u8
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_query_is_read_or_refused_and_what_was_encoded_comes_back(query: String, text: String) {
            let _ = Query::parse(&query);
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let mut all = Query::parse(&format!("a={encoded}&b=1")).unwrap();
            prop_assert_eq!(all.text("a"), Some(text));
        }
    }

    #[test]
    fn parameters_are_read_once() {
        let mut all = Query::parse("pool=a%20b&limit=5&held=yes&&name=x+y%2b").unwrap();
        assert_eq!(all.text("pool").as_deref(), Some("a b"));
        assert_eq!(all.text("pool"), None);
        assert_eq!(all.number::<usize>("limit"), Ok(Some(5)));
        assert_eq!(all.number::<usize>("after"), Ok(None));
        assert_eq!(all.yes_or_no("held"), Ok(Some(true)));
        assert_eq!(all.text("name").as_deref(), Some("x y+"));
        assert_eq!(all.finish(&[]), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for wrong in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=1&a=2", "%2=1", "a=%+1"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
        let mut all = Query::parse("limit=-1&held=maybe&colour=red").unwrap();
        assert!(all.number::<usize>("limit").unwrap_err().contains("limit=-1"));
        assert!(all.yes_or_no("held").unwrap_err().contains("held=maybe"));
        let left = all.finish(&["limit", "held"]).unwrap_err();
        assert!(left.contains("colour") && left.contains("limit, held"), "{left}");
    }
}
