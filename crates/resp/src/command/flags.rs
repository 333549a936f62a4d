//! Sets of a command's flags and of its ACL categories.

/// What Redis says about a command's conduct, in the words of `COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(u32);

/// The categories of ACL rules that a command is in (`+@write`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Categories(u32);

macro_rules! set {
    ($set:ident: $($bit:literal $name:ident $text:literal)*) => {
        #[expect(missing_docs, reason = "the names are Redis's, and its documentation explains them")]
        impl $set {
            $(pub const $name: Self = Self(1 << $bit);)*
        }

        impl $set {
            /// None of them.
            pub const EMPTY: Self = Self(0);
            /// Each with the word that Redis has for it.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];

            /// Those of both sets.
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether all of `other` are in this set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether at least one of `other` is in this set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// The one that Redis calls `text`, in lower case.
            pub fn named(text: &str) -> Option<Self> {
                Self::NAMES.iter().find(|(_, name)| *name == text).map(|(one, _)| *one)
            }

            /// The words for those in this set.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(one, _)| self.contains(*one)).map(|(_, name)| *name)
            }
        }
    };
}

set! { Flags:
    0 WRITE "write"
    1 READONLY "readonly"
    2 DENYOOM "denyoom"
    3 ADMIN "admin"
    4 PUBSUB "pubsub"
    5 NOSCRIPT "noscript"
    6 BLOCKING "blocking"
    7 LOADING "loading"
    8 STALE "stale"
    9 SKIP_MONITOR "skip_monitor"
    10 SKIP_SLOWLOG "skip_slowlog"
    11 ASKING "asking"
    12 FAST "fast"
    13 NO_AUTH "no_auth"
    14 MAY_REPLICATE "may_replicate"
    15 NO_MANDATORY_KEYS "no_mandatory_keys"
    16 ALLOW_BUSY "allow_busy"
    17 NO_ASYNC_LOADING "no_async_loading"
    18 NO_MULTI "no_multi"
    19 MOVABLEKEYS "movablekeys"
    20 TOUCHES_ARBITRARY_KEYS "touches_arbitrary_keys"
    21 MODULE "module"
}

set! { Categories:
    0 KEYSPACE "keyspace"
    1 READ "read"
    2 WRITE "write"
    3 SET "set"
    4 SORTEDSET "sortedset"
    5 LIST "list"
    6 HASH "hash"
    7 STRING "string"
    8 BITMAP "bitmap"
    9 HYPERLOGLOG "hyperloglog"
    10 GEO "geo"
    11 STREAM "stream"
    12 PUBSUB "pubsub"
    13 ADMIN "admin"
    14 FAST "fast"
    15 SLOW "slow"
    16 BLOCKING "blocking"
    17 DANGEROUS "dangerous"
    18 CONNECTION "connection"
    19 TRANSACTION "transaction"
    20 SCRIPTING "scripting"
    21 VECTORSET "vectorset"
}
