//! Reads the golden vectors of `testdata/hashkit`.

/// The rows of tab-separated values, without blank lines and those that begin with `#`.
pub fn tsv(text: &'static str) -> Vec<Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect()).collect()
}

/// The bytes that pairs of hexadecimal digits stand for.
pub fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
