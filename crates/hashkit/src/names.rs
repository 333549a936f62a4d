//! The names by which configuration files call our enums.
//!
//! Matching is exact: Twemproxy refuses `MD5`, and so do we.

/// Gives an enum `ALL`, `name`, `Display` and `FromStr` from one table of variants and names.
macro_rules! names {
    ($type:ident, $what:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order in which the documents list them.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// The name that configuration files use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::Error;

            /// # Errors
            /// [`Error::UnknownName`](crate::Error::UnknownName), which lists the valid names.
            fn from_str(given: &str) -> Result<Self, Self::Err> {
                match given {
                    $($name => Ok($type::$variant),)+
                    _ => Err($crate::Error::UnknownName {
                        what: $what,
                        given: given.to_owned(),
                        valid: &[$($name),+],
                    }),
                }
            }
        }
    };
}

pub(crate) use names;
