//! Amounts as people write them: memory, cores, lengths of time, instants.
//!
//! ```text
//!   "8GiB" ◀──▶ Bytes(8589934592)      "500m" ◀──▶ Cores(500)      "10m" ◀──▶ Period(600 s)
//! ```
//!
//! What is read is written again in its shortest exact form, so that a resource looks the same wherever it went.

mod bytes;
mod cores;
mod time;

pub use bytes::Bytes;
pub use cores::Cores;
pub use time::{Period, Timestamp};

/// Serde, `Display` to `FromStr`, and the schema of a quantity; `integer` names what a bare number means, if it may stand.
macro_rules! written_as_text {
    ($type:ident, $expecting:literal, $pattern:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }

                    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": ["string", "number"],
                    "pattern": $pattern,
                    "description": $expecting,
                })
            }
        }
    };
}
use written_as_text;
