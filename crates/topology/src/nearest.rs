//! The name that somebody meant.

/// The nearest of `names` to `given`, if one is near enough to be what was meant: two edits away at
/// most, or one the beginning of the other, when case, `_` and `-` are left aside.
#[must_use]
pub fn nearest<'a>(given: &str, names: &[&'a str]) -> Option<&'a str> {
    let given = bare(given);
    let close = |name: &&&'a str| {
        let name = bare(name);
        let shorter = given.len().min(name.len());
        let distance = distance(&given, &name);
        let is_beginning = shorter >= 4 && (name.starts_with(&given) || given.starts_with(&name));
        (is_beginning || (distance <= 2 && distance < shorter)).then_some(distance)
    };
    let near = names.iter().filter_map(|name| Some((close(&name)?, *name)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

fn bare(name: &str) -> String {
    // Long enough for any name of ours, and a bound on what a hostile one costs.
    name.chars().filter(char::is_ascii_alphanumeric).take(40).collect::<String>().to_lowercase()
}

/// Levenshtein's distance: insertions, deletions and replacements that lead from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to = to.as_bytes();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from_byte) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to_byte) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from_byte != *to_byte);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let names = ["hash", "hash_tag", "auto_eject_hosts", "timeout", "server_retry_timeout", "md5"];
        for (given, expected) in [
            ("autoeject", Some("auto_eject_hosts")),
            ("Hash", Some("hash")),
            ("hashtag", Some("hash_tag")),
            ("hash-tag", Some("hash_tag")),
            ("timeuot", Some("timeout")),
            ("retry_timeout", None),
            ("MD5", Some("md5")),
            ("x", None),
            ("", None),
            ("replicas", None),
        ] {
            assert_eq!(nearest(given, &names), expected, "{given}");
        }
    }

    #[test]
    fn distances() {
        for (from, to, expected) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }
}
