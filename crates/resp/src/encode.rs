//! Frames appended to a buffer: the replies that we make ourselves, and requests of our own.
//!
//! Does not check that as many elements follow as an aggregate announces.

use std::io::Write as _;

/// `*n`: the head of an array of `n` elements.
pub fn array_len(out: &mut Vec<u8>, n: usize) {
    head(out, b'*', n);
}

/// `%n`: the head of a RESP3 map of `n` pairs.
pub fn map_len(out: &mut Vec<u8>, n: usize) {
    head(out, b'%', n);
}

/// `~n`: the head of a RESP3 set of `n` elements.
pub fn set_len(out: &mut Vec<u8>, n: usize) {
    head(out, b'~', n);
}

/// `>n`: the head of a RESP3 push of `n` elements, its kind included.
pub fn push_len(out: &mut Vec<u8>, n: usize) {
    head(out, b'>', n);
}

/// A bulk string of any bytes.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A simple string; CR and LF become blanks, since they would end it.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// An error, its code in front (`ERR no such shard`); CR and LF become blanks, since they would end it.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

/// An integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    if value < 0 {
        out.push(b'-');
    }
    digits(out, value.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

/// RESP2's null bulk string, `$-1`.
pub fn null_bulk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"$-1\r\n");
}

/// RESP2's null array, `*-1`.
pub fn null_array(out: &mut Vec<u8>) {
    out.extend_from_slice(b"*-1\r\n");
}

/// RESP3's null, `_`.
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"_\r\n");
}

/// A RESP3 boolean.
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
}

/// A RESP3 double: the shortest text that reads back as the same number; `inf`, `-inf`, `nan`.
pub fn double(out: &mut Vec<u8>, value: f64) {
    out.push(b',');
    let size = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() || size == 0.0 || (1e-5..1e17).contains(&size) {
        write(out, format_args!("{value}"));
    } else {
        write(out, format_args!("{value:e}"));
    }
    out.extend_from_slice(b"\r\n");
}

/// A request: an array of bulk strings.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    array_len(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

fn head(out: &mut Vec<u8>, kind: u8, n: usize) {
    out.push(kind);
    digits(out, n as u64);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    for byte in &mut out[start..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn digits(out: &mut Vec<u8>, mut value: u64) {
    let mut text = [0; 20];
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[start..]);
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a Vec takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_every_type() {
        assert_eq!(encoded(|out| array_len(out, 0)), "*0\r\n");
        assert_eq!(encoded(|out| map_len(out, 12)), "%12\r\n");
        assert_eq!(encoded(|out| set_len(out, 3)), "~3\r\n");
        assert_eq!(encoded(|out| push_len(out, 2)), ">2\r\n");
        assert_eq!(encoded(|out| bulk(out, b"a\r\nb")), "$4\r\na\r\nb\r\n");
        assert_eq!(encoded(|out| bulk(out, b"")), "$0\r\n\r\n");
        assert_eq!(encoded(|out| simple(out, "OK")), "+OK\r\n");
        assert_eq!(encoded(null_bulk), "$-1\r\n");
        assert_eq!(encoded(null_array), "*-1\r\n");
        assert_eq!(encoded(null), "_\r\n");
        assert_eq!(encoded(|out| boolean(out, true)), "#t\r\n");
        assert_eq!(encoded(|out| boolean(out, false)), "#f\r\n");
        assert_eq!(encoded(|out| command(out, &[b"GET", b"k"])), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    #[test]
    fn a_line_cannot_be_broken_from_inside() {
        assert_eq!(encoded(|out| error(out, "ERR a\r\n+OK\n")), "-ERR a  +OK \r\n");
        assert_eq!(encoded(|out| simple(out, "a\rb")), "+a b\r\n");
    }

    #[test]
    fn writes_integers_at_their_ends() {
        assert_eq!(encoded(|out| integer(out, 0)), ":0\r\n");
        assert_eq!(encoded(|out| integer(out, -7)), ":-7\r\n");
        assert_eq!(encoded(|out| integer(out, i64::MAX)), ":9223372036854775807\r\n");
        assert_eq!(encoded(|out| integer(out, i64::MIN)), ":-9223372036854775808\r\n");
        assert_eq!(encoded(|out| array_len(out, usize::MAX)), "*18446744073709551615\r\n");
    }

    #[test]
    fn writes_doubles_that_read_back() {
        for (value, text) in [
            (0.0, ",0\r\n"),
            (-0.0, ",-0\r\n"),
            (1.5, ",1.5\r\n"),
            (3.0, ",3\r\n"),
            (f64::INFINITY, ",inf\r\n"),
            (f64::NEG_INFINITY, ",-inf\r\n"),
            (f64::NAN, ",nan\r\n"),
            (1e300, ",1e300\r\n"),
            (-2.5e-9, ",-2.5e-9\r\n"),
        ] {
            assert_eq!(encoded(|out| double(out, value)), text);
        }
    }
}
