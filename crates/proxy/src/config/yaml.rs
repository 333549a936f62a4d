//! Reads YAML that may hold passwords. What is wrong is told by its place and by names of keys; of what else stands in the file
//! nothing is repeated. And no key stands without a value: a password that begins with `#` is a comment, and what is left
//! out in its place would let everybody in.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, MessageFormatter, NonFiniteFloatPolicy, Options, UserMessageFormatter};

/// Reads the one document in `text`.
///
/// # Errors
/// What is wrong, the line and the key.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let told = |error: Error| {
        let line = error.location().and_then(|place| usize::try_from(place.line()).ok());
        let said = error.render_with_formatter(&Unrepeated(text));
        match line.and_then(|line| key_of(text, line)) {
            Some(key) => format!("{said}: {key}"),
            None => said,
        }
    };
    let read = serde_saphyr::from_str_with_options(text, options()).map_err(told)?;
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |document| {
        Filled("the file").deserialize(document)
    })
    .map_err(told)?;
    Ok(read)
}

fn options() -> Options {
    // A number without end may be a password.
    serde_saphyr::options! { with_snippet: false, non_finite_float_policy: NonFiniteFloatPolicy::PassThrough }
}

/// The key that the line of this number begins with, if it does.
fn key_of(text: &str, line: usize) -> Option<&str> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let (key, _) = line.trim_start_matches([' ', '-']).split_once(':')?;
    is_plain(key).then_some(key)
}

fn is_plain(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Words errors, for a file of this text.
struct Unrepeated<'t>(&'t str);

impl Unrepeated<'_> {
    /// A key that is none of those `expected`. It is named if it stands there as one: a password whose key was forgotten does not.
    fn unknown_key(&self, key: &str, expected: &str, error: &Error) -> String {
        let is_followed_by_colon = || {
            let place = error.location()?;
            let line = self.0.lines().nth(usize::try_from(place.line()).ok()?.checked_sub(1)?)?;
            let at = usize::try_from(place.column()).ok()?.checked_sub(1)?;
            let (start, _) = line.char_indices().nth(at)?;
            let rest = line.get(start..)?.trim_start_matches(['"', '\'']).strip_prefix(key)?;
            rest.trim_start_matches(['"', '\'', ' ']).starts_with(':').then_some(())
        };
        match key.split_once(':') {
            Some((known, _)) if expected.split(", ").any(|one| one == known) => {
                format!("a blank is missing behind `{known}:`")
            }
            None if is_plain(key) && is_followed_by_colon().is_some() => {
                format!("unknown key `{key}`, expected one of {expected}")
            }
            _ => format!("something stands where one of these keys is expected: {expected}"),
        }
    }
}

impl MessageFormatter for Unrepeated<'_> {
    fn format_message<'e>(&self, error: &'e Error) -> Cow<'e, str> {
        // A type with a value behind it, as in: string "swordfish".
        let kind = |unexpected: &str| {
            unexpected.split(['"', '`', '\'']).next().unwrap_or_default().trim().to_owned()
        };
        Cow::Owned(match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                self.unknown_key(field, &expected.join(", "), error)
            }
            Error::SerdeUnknownVariant { expected, .. } => {
                format!("this value is unknown, expected one of {}", expected.join(", "))
            }
            Error::SerdeInvalidType { unexpected, expected, .. } => {
                format!("invalid type: {}, expected {expected}", kind(unexpected))
            }
            Error::SerdeInvalidValue { unexpected, expected, .. } => {
                format!("invalid value: {}, expected {expected}", kind(unexpected))
            }
            Error::DuplicateMappingKey { .. } => "a key is there twice".to_owned(),
            Error::UnsupportedTag { .. }
            | Error::TaggedStructFieldName { .. }
            | Error::TaggedEnumMismatch { .. } => {
                "an unknown tag: quote a value that begins with an exclamation mark".to_owned()
            }
            Error::NonFiniteFloat { .. } => "a number without end".to_owned(),
            _ => return UserMessageFormatter.format_message(error),
        })
    }
}

/// Anything but nothing, at the key of this name.
#[derive(Clone, Copy)]
struct Filled<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Filled<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Filled<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom(format!("{} is empty: quote a value that begins with #, or leave the key out", self.0)))
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Filled(&key))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u128<E>(self, _: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}
