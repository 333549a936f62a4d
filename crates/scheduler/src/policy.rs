//! What the operator prefers, for the whole fleet.

/// What the operator prefers. Write `Policy { racks: …, ..Policy::default() }`: it will grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How far a shard's copies, and a Sentinel group's sentinels, keep off one another's racks.
    pub racks: Racks,
}

/// What is done where no other rack has room. (Where one has, it is taken in any case.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Racks {
    /// Refuse, if there are racks enough: if another rack has an open node that the instance's constraints permit and
    /// that could hold it when empty. If there is none, share a rack, and tell.
    #[default]
    Apart,
    /// Share a rack, and tell.
    Prefer,
}
