//! How a row of the generated table is written: short enough to stand in one line.

use super::Keys;

macro_rules! row {
    (
        $name:literal $id:ident, $arity:literal, [$($flag:ident)*], [$($category:ident)*], $keys:expr,
        $group:ident $since:literal, $spread:ident $join:ident, [$($sub:expr),* $(,)?]
    ) => {
        $crate::command::Command {
            name: $name,
            id: $crate::command::CommandId::$id,
            arity: $arity,
            flags: $crate::command::Flags::EMPTY$(.with($crate::command::Flags::$flag))*,
            categories: $crate::command::Categories::EMPTY$(.with($crate::command::Categories::$category))*,
            keys: $keys,
            group: $crate::command::Group::$group,
            since: $since,
            spread: $crate::command::Spread::$spread,
            join: $crate::command::Join::$join,
            subs: &[$($sub),*],
        }
    };
}
pub(super) use row;

pub(super) const fn none() -> Keys {
    Keys::None
}

pub(super) const fn range(first: u16, last: i16, step: u16) -> Keys {
    Keys::Range { first, last, step }
}

pub(super) const fn numkeys(at: u16, first: u16, step: u16, dest: u16) -> Keys {
    Keys::NumKeys { at, first, step, dest: if dest == 0 { None } else { Some(dest) } }
}

pub(super) const fn streams() -> Keys {
    Keys::Streams
}

pub(super) const fn store(key: u16, from: u16) -> Keys {
    Keys::StoreOption { key, from }
}

pub(super) const fn migrate() -> Keys {
    Keys::Migrate
}

pub(super) const fn channels(first: u16, last: i16) -> Keys {
    Keys::ShardChannels { first, last }
}
