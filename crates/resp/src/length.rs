//! The line `<number>\r\n` that follows `*`, `$` and their like; `?\r\n` where RESP3 streams.
//!
//! As strict as Redis: an optional minus, no plus, no leading zero, nothing empty.

/// What stands at a place where a length is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// The number; the line's end is at `next`.
    Whole { value: i64, next: usize },
    /// `?`: elements or chunks until an end marker; the line's end is at `next`.
    Streamed { next: usize },
    /// All bytes there are may still become a length.
    Partial,
    /// No continuation can make it one.
    Bad,
}

/// Longest text of an i64, its CRLF included.
pub(crate) const LONGEST: usize = 22;

/// Reads the length that starts at `at`.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize) -> Length {
    // Nearly all lengths are positive and of a few digits: those end here.
    let mut next = at;
    let mut value: i64 = 0;
    while let Some(&byte) = bytes.get(next) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let zero_in_front = next > at + 1 && bytes[at] == b'0';
            if byte != b'\r' || next == at || zero_in_front {
                break;
            }
            return match bytes.get(next + 1) {
                Some(b'\n') => Length::Whole { value, next: next + 2 },
                Some(_) => Length::Bad,
                None => Length::Partial,
            };
        }
        if next - at == 18 {
            break;
        }
        value = value * 10 + i64::from(digit);
        next += 1;
    }
    read_any(bytes, at)
}

/// The same for negative, very long, streamed, cut and wrong ones.
#[cold]
fn read_any(bytes: &[u8], at: usize) -> Length {
    let text = bytes.get(at..).unwrap_or_default();
    if let Some(rest) = text.strip_prefix(b"?") {
        return match rest {
            [b'\r', b'\n', ..] => Length::Streamed { next: at + 3 },
            [] | [b'\r'] => Length::Partial,
            _ => Length::Bad,
        };
    }
    let negative = text.first() == Some(&b'-');
    let sign = usize::from(negative);
    let digits = text[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut value: i64 = 0;
    for byte in &text[sign..sign + digits] {
        let digit = i64::from(byte - b'0');
        let signed = if negative { -digit } else { digit };
        match value.checked_mul(10).and_then(|value| value.checked_add(signed)) {
            Some(grown) => value = grown,
            None => return Length::Bad,
        }
    }
    if digits > 0 && text[sign] == b'0' && (digits > 1 || negative) {
        return Length::Bad;
    }
    match &text[sign + digits..] {
        [] | [b'\r'] if digits > 0 || text.len() == sign => Length::Partial,
        [b'\r', b'\n', ..] if digits > 0 => Length::Whole { value, next: at + sign + digits + 2 },
        _ => Length::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_what_redis_accepts() {
        for (text, expected) in [
            ("0\r\n", Length::Whole { value: 0, next: 3 }),
            ("12\r\nrest", Length::Whole { value: 12, next: 4 }),
            ("-1\r\n", Length::Whole { value: -1, next: 4 }),
            ("999999999999999999\r\n", Length::Whole { value: 999_999_999_999_999_999, next: 20 }),
            ("9223372036854775807\r\n", Length::Whole { value: i64::MAX, next: 21 }),
            ("-9223372036854775808\r\n", Length::Whole { value: i64::MIN, next: LONGEST }),
            ("?\r\n", Length::Streamed { next: 3 }),
            ("?", Length::Partial),
            ("??", Length::Bad),
            ("1?", Length::Bad),
            ("", Length::Partial),
            ("-", Length::Partial),
            ("7", Length::Partial),
            ("7\r", Length::Partial),
            ("\r\n", Length::Bad),
            ("\r", Length::Bad),
            ("-\r\n", Length::Bad),
            ("-0\r\n", Length::Bad),
            ("01\r\n", Length::Bad),
            ("00", Length::Bad),
            ("+1\r\n", Length::Bad),
            (" 1\r\n", Length::Bad),
            ("1 \r\n", Length::Bad),
            ("1\n", Length::Bad),
            ("1\rx", Length::Bad),
            ("9223372036854775808\r\n", Length::Bad),
            ("-9223372036854775809", Length::Bad),
        ] {
            assert_eq!(read(text.as_bytes(), 0), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_two_paths_agree(text in "[-0-9?\r\nx]{0,24}", at in 0_usize..4) {
            prop_assert_eq!(read(text.as_bytes(), at), read_any(text.as_bytes(), at));
        }

        #[test]
        fn every_prefix_of_a_length_is_partial(value in any::<i64>()) {
            let line = format!("{value}\r\n");
            for cut in 0..line.len() {
                prop_assert_eq!(read(&line.as_bytes()[..cut], 0), Length::Partial);
            }
            prop_assert_eq!(read(line.as_bytes(), 0), Length::Whole { value, next: line.len() });
        }
    }
}
