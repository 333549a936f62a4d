//! Patterns of keys and channels, as Redis's ACL rules, KEYS and PSUBSCRIBE have them: `*`, `?`, `[a-c]`, `[^x]`, `\`.

/// Which keys, or which channels, a user may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    all: bool,
    some: Vec<Box<[u8]>>,
}

impl Patterns {
    /// Every name.
    pub fn all() -> Patterns {
        Patterns { all: true, some: Vec::new() }
    }

    /// Whether every name is allowed.
    pub fn are_all(&self) -> bool {
        self.all
    }

    /// How many there are; every name is one.
    pub fn count(&self) -> usize {
        if self.all { 1 } else { self.some.len() }
    }

    /// Allows what matches `pattern` as well; `*` is every name.
    ///
    /// # Errors
    /// If every name is allowed already.
    pub fn add(&mut self, pattern: &[u8]) -> Result<(), AllAlready> {
        match pattern {
            b"*" => *self = Patterns::all(),
            _ if self.all => return Err(AllAlready),
            _ if self.some.iter().any(|known| **known == *pattern) => {}
            _ => self.some.push(pattern.into()),
        }
        Ok(())
    }

    /// Whether `name` is allowed.
    pub fn allow(&self, name: &[u8]) -> bool {
        self.all || self.some.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether all that `pattern` may match is allowed: it is itself one of these, to the letter.
    pub fn allow_pattern(&self, pattern: &[u8]) -> bool {
        self.all || self.some.iter().any(|own| **own == *pattern)
    }

    /// The patterns, each behind `mark`.
    pub fn written(&self, mark: char) -> Vec<String> {
        match self.all {
            true => vec![format!("{mark}*")],
            false => self.some.iter().map(|own| format!("{mark}{}", String::from_utf8_lossy(own))).collect(),
        }
    }
}

/// A pattern was added to all names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllAlready;

/// Whether `text` is matched by `pattern`, in time of at most the product of their lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty(); // to Redis not even a star matches nothing at all
    }
    let (mut at, mut from) = (0, 0);
    // Behind the last star, and where in the text that star ends as far as tried.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, from));
            continue;
        }
        let Some(&byte) = text.get(from) else { return at == pattern.len() };
        if let Some(length) = one(&pattern[at..], byte) {
            at += length;
            from += 1;
        } else if let Some((behind, end)) = &mut star {
            *end += 1;
            (at, from) = (*behind, *end);
        } else {
            return false;
        }
    }
}

/// If the first element of `pattern` matches `byte`, its length.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (matched, length) = in_class(class, byte);
            matched.then_some(1 + length)
        }
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Whether `byte` is in the class, and how long that is with its bracket; one without a bracket goes to the end.
fn in_class(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= (*first.min(last)..=*first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_redis_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("*", "a", true),
            ("a*", "a", true),
            ("**", "abc", true),
            ("app:*", "app:", true),
            ("app:*", "ap", false),
            ("*:x", "a:b:x", true),
            ("*:x", "a:b:xy", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-c]", "hb", true),
            ("h[c-a]", "hb", true),
            ("h[a-c]", "hd", false),
            ("h\\*", "h*", true),
            ("h\\*", "hx", false),
            ("h[\\]]", "h]", true),
            ("h[ab", "ha", true),
            ("h[ab", "hax", false),
            ("h\\", "h\\", true),
            ("[]", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn stars_do_not_make_it_slow() {
        let (pattern, text) = ("a*".repeat(64) + "b", "a".repeat(4096));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }
}
