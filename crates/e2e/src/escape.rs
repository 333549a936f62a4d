//! Bytes as text: how the case files write them and how failures show them.
//!
//! `\r \n \t \0 \\ \" \xHH` are the byte; `<c*n>` is the character `c` n times (a plain `<` is `\x3c`);
//! everything else is itself, in UTF-8.

/// The bytes of an escaped text.
///
/// # Errors
/// A sentence that names the broken escape.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape_sequence(rest, &mut bytes)?,
            '<' => repetition(rest, &mut bytes)?,
            _ => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                &rest[c.len_utf8()..]
            }
        };
    }
    Ok(bytes)
}

/// The words of a command line: separated by blanks, `"…"` holds blanks or nothing, escapes everywhere.
///
/// # Errors
/// A sentence that names the broken escape or the quote without an end.
pub fn words(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted).ok_or_else(|| format!("no closing quote in {text:?}"))?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        words.push(unescape(word)?);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Bytes as escaped text, long runs and long texts shortened: for people, in failures.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    const LONGEST: usize = 400;
    let head = &bytes[..bytes.len().min(LONGEST)];
    let mut text = format!("'{}'", head.escape_ascii().to_string().replace("\\'", "'"));
    if bytes.len() > LONGEST {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}

fn escape_sequence<'a>(rest: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let broken = || format!("unknown escape at {rest:?}");
    let (byte, len) = match rest.as_bytes().get(1) {
        Some(b'r') => (b'\r', 2),
        Some(b'n') => (b'\n', 2),
        Some(b't') => (b'\t', 2),
        Some(b'0') => (0, 2),
        Some(b'\\') => (b'\\', 2),
        Some(b'"') => (b'"', 2),
        Some(b'x') => {
            let digits = rest.get(2..4).ok_or_else(broken)?;
            (u8::from_str_radix(digits, 16).map_err(|_| broken())?, 4)
        }
        _ => return Err(broken()),
    };
    bytes.push(byte);
    Ok(&rest[len..])
}

fn repetition<'a>(rest: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let broken = || format!("a repetition is written <c*n>, not {rest:?}");
    let end = rest.find('>').ok_or_else(broken)?;
    let (what, count) = rest[1..end].split_once('*').ok_or_else(broken)?;
    let count: usize = count.parse().map_err(|_| broken())?;
    bytes.extend_from_slice(what.repeat(count).as_bytes());
    Ok(&rest[end + 1..])
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_unescaped() {
        let got = words(r#"SET "a b" \xff\r\n "" <x*3>"#).unwrap();
        let want: [&[u8]; 5] = [b"SET", b"a b", b"\xff\r\n", b"", b"xxx"];
        assert_eq!(got, want);
    }

    #[test]
    fn broken_escapes_are_named() {
        assert!(unescape(r"\q").unwrap_err().contains("\\q") || unescape(r"\q").is_err());
        assert!(unescape(r"\x4").is_err());
        assert!(unescape("<x>").is_err());
        assert!(words("\"a").is_err());
    }
}
