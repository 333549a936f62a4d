//! What was decided, and why.

use std::fmt;

use crate::{Cores, Memory, Refusal, Role};

/// Where what was wanted goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By instances' names. They hold together: each was made with those before it in mind.
    pub decisions: Vec<Decision>,
    /// By instances' names. What of an owner is refused does not take back what is decided for the rest of it: whether a
    /// part is of use is the caller's question.
    pub refusals: Vec<Refusal>,
}

/// Where what stands on leaving nodes goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// By instances' names.
    pub moves: Vec<Move>,
    /// What has no other place, by instances' names.
    pub refusals: Vec<Refusal>,
}

/// One instance goes elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The node that it leaves.
    pub from: String,
    /// Where it goes.
    pub to: Decision,
}

/// One instance goes to a node. [`Display`](fmt::Display) says it in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The instance's name.
    pub instance: String,
    /// The node's name.
    pub node: String,
    /// Why this node, the weightiest first.
    pub reasons: Vec<Reason>,
    /// What could not be had, and should be told to whom it concerns.
    pub told: Vec<Shared>,
}

/// Why a node was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The constraints name the site.
    SiteAsked {
        /// The site.
        site: String,
    },
    /// The rest of the shard or of the owner is on the site.
    SiteOfOwner {
        /// The site.
        site: String,
    },
    /// The owner was nowhere yet: this is the site that takes most of it, and of such the roomiest.
    SiteChosen {
        /// The site.
        site: String,
    },
    /// No copy of the shard (no sentinel of the group) is in its zone.
    OtherZone {
        /// The zone.
        zone: String,
        /// The nearest relation: the shard's primary where there is one.
        than: String,
    },
    /// No copy of the shard (no sentinel of the group) is in its rack.
    OtherRack {
        /// The rack.
        rack: String,
        /// The nearest relation: the shard's primary where there is one.
        than: String,
    },
    /// Of the nodes that what was said before leaves, and that have room, none has fewer of the owner's instances of this role.
    FewestOfRole {
        /// The role.
        role: Role,
        /// How many stood there before.
        count: u32,
    },
    /// Of those, none has fewer of the owner's instances.
    FewestOfOwner {
        /// How many stood there before.
        count: u32,
    },
    /// Of those, none has fewer replicas of the owner whose primaries are where this one's is: when that node dies, its
    /// primaries are taken over by several.
    FewestBehind {
        /// The primary's node.
        node: String,
        /// How many stood there before.
        count: u32,
    },
    /// Of those, none is in a rack with fewer of the owner's instances of this role.
    FewestInRack {
        /// The role.
        role: Role,
        /// The rack.
        rack: String,
        /// How many stood there before.
        count: u32,
    },
    /// Of those, none costs less.
    Cheapest {
        /// The node's cost.
        cost: u64,
    },
    /// Of those, none is left with less: what is whole stays whole.
    LeastLeft {
        /// Memory that is left on the node.
        memory: Memory,
        /// Cores that are left on the node.
        cores: Cores,
    },
}

/// What two instances share that they should not, as there was no other place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Copies of one shard, or sentinels of one group, in one rack.
    Rack {
        /// The rack.
        rack: String,
        /// The other instance.
        with: String,
        /// Another rack could hold it, and has no room now ([`Racks::Prefer`](crate::Racks)); if not, there is none.
        full: bool,
    },
    /// Proxies of one pool on one node.
    Node {
        /// The other instance.
        with: String,
    },
}

impl Plan {
    /// The decision for an instance.
    #[must_use]
    pub fn decision(&self, instance: &str) -> Option<&Decision> {
        let at = self.decisions.binary_search_by(|decision| decision.instance.as_str().cmp(instance));
        at.ok().map(|at| &self.decisions[at])
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} goes to {}", self.instance, self.node)?;
        for (at, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if at == 0 { ":" } else { "," })?;
        }
        self.told.iter().try_for_each(|shared| write!(f, "; but it {shared}"))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SiteAsked { site } => write!(f, "site {site} as asked"),
            Self::SiteOfOwner { site } => write!(f, "site {site} where the rest is"),
            Self::SiteChosen { site } => write!(f, "site {site}, which has room for all of it"),
            Self::OtherZone { zone, than } => write!(f, "zone {zone}, another than {than}'s"),
            Self::OtherRack { rack, than } => write!(f, "rack {rack}, another than {than}'s"),
            Self::FewestOfRole { role, count } => {
                write!(f, "fewest {} of its owner ({count})", role.plural())
            }
            Self::FewestOfOwner { count } => write!(f, "fewest instances of its owner ({count})"),
            Self::FewestBehind { node, count } => {
                write!(f, "fewest replicas of primaries on {node} ({count})")
            }
            Self::FewestInRack { role, rack, count } => {
                write!(f, "rack {rack} has the fewest {} of its owner ({count})", role.plural())
            }
            Self::Cheapest { cost } => write!(f, "cheapest ({cost})"),
            Self::LeastLeft { memory, cores } => write!(f, "tightest fit, which leaves {memory} and {cores}"),
        }
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rack { rack, with, full: true } => {
                write!(f, "shares rack {rack} with {with}, as no other rack has room")
            }
            Self::Rack { rack, with, full: false } => {
                write!(f, "shares rack {rack} with {with}, as there is no other rack for it")
            }
            Self::Node { with } => write!(f, "shares the node with {with}, as no other has room"),
        }
    }
}
