//! What is missing where, when an instance has no place.

use std::fmt;

use crate::{Cores, Memory, Owner, Role};

/// How many nodes of a kind are named; of more, the number is given and the best one named.
pub(crate) const NAMED: usize = 3;

/// An instance has no place. [`Display`](fmt::Display) says it in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The instance's name.
    pub instance: String,
    /// What it belongs to.
    pub owner: Owner,
    /// What it does.
    pub role: Role,
    /// What it needs.
    pub memory: Memory,
    /// What it needs.
    pub cores: Cores,
    /// An instance of its name is there already: where, in words. Nothing else is said then.
    pub taken: Option<String>,
    /// Each site where it might be, and what stands against each node there. Each node is counted once.
    pub sites: Vec<SiteReport>,
    /// What would help, the least first. Empty if the inventory knows of nothing but a new node.
    pub would_fit: Vec<WouldFit>,
}

/// What stands against the nodes of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteReport {
    /// The site.
    pub site: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// What stands against them, by kind; the numbers add up to `nodes`.
    pub obstructed: Vec<Obstructed>,
}

/// Nodes with the same obstacle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstructed {
    /// What stands against them; where it is a lack, that of the first in `named`, which lacks least.
    pub obstacle: Obstacle,
    /// How many nodes.
    pub count: usize,
    /// Three of them at most, by name; of those that lack something, the ones that lack least.
    pub named: Vec<String>,
}

/// What stands against a node, the first that applies in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// The site is not the one asked for, or not the one where the rest of the owner is.
    OtherSite,
    /// It is not of the node group asked for.
    OtherGroup,
    /// It lacks a label asked for.
    Label,
    /// It is to be emptied.
    Leaving,
    /// It is dead.
    Dead,
    /// It is cordoned.
    Cordoned,
    /// It holds a copy of the same shard, or a sentinel of the same group.
    Relation {
        /// The instance there.
        holds: String,
    },
    /// Its rack holds one, and there are other racks.
    RackOfRelation {
        /// The instance there.
        holds: String,
    },
    /// Too little memory is free.
    Memory {
        /// How much is free.
        free: Memory,
    },
    /// Too few cores are free.
    Cores {
        /// How many are free.
        free: Cores,
    },
}

/// What would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WouldFit {
    /// So much memory fits on a node, with the same cores.
    Smaller {
        /// The node.
        node: String,
        /// What is free there.
        memory: Memory,
    },
    /// So many cores fit on a node, with the same memory.
    FewerCores {
        /// The node.
        node: String,
        /// What is free there.
        cores: Cores,
    },
    /// A node has the room, and one thing alone stands against it.
    Otherwise {
        /// The node.
        node: String,
        /// Its site.
        site: String,
        /// The one thing.
        but: Obstacle,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no place: ", self.instance)?;
        if let Some(place) = &self.taken {
            return write!(f, "an instance of this name is there already ({place})");
        }
        write!(f, "it needs {} and {}", self.memory.rounded_up(), self.cores)?;
        if self.sites.is_empty() {
            f.write_str("; there are no nodes")?;
        }
        self.sites.iter().try_for_each(|site| write!(f, "; {site}"))?;
        if self.would_fit.is_empty() {
            f.write_str(". It would fit on another node with so much free")?;
        }
        for (at, way) in self.would_fit.iter().enumerate() {
            write!(f, "{} {way}", if at == 0 { ". It would fit:" } else { ";" })?;
        }
        Ok(())
    }
}

impl fmt::Display for SiteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nodes {
            0 => return write!(f, "site {} has no nodes", self.site),
            1 => write!(f, "of 1 node in site {}:", self.site)?,
            nodes => write!(f, "of {nodes} nodes in site {}:", self.site)?,
        }
        for (at, obstructed) in self.obstructed.iter().enumerate() {
            write!(f, "{} {obstructed}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Obstructed {
    /// `n1 has 2.1 GiB free`, or `512 have too little memory (most: n1, 2.1 GiB free)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { obstacle, count, named } = self;
        let names = named.join(", ");
        if let ([one], 1) = (&named[..], *count) {
            return match obstacle {
                Obstacle::OtherSite => write!(f, "{one} is on another site than it must be"),
                Obstacle::OtherGroup => write!(f, "{one} is of another node group"),
                Obstacle::Label => write!(f, "{one} lacks a label"),
                Obstacle::Leaving => write!(f, "{one} is to be emptied"),
                Obstacle::Dead => write!(f, "{one} is dead"),
                Obstacle::Cordoned => write!(f, "{one} is cordoned"),
                Obstacle::Relation { holds } => write!(f, "{one} holds {holds}"),
                Obstacle::RackOfRelation { holds } => write!(f, "{one} is in the rack of {holds}"),
                Obstacle::Memory { free } => write!(f, "{one} has {free} free"),
                Obstacle::Cores { free } => write!(f, "{one} has {free} free"),
            };
        }
        let most = named.first().map_or("", String::as_str);
        match obstacle {
            Obstacle::Memory { free } => {
                return write!(f, "{count} have too little memory (most: {most}, {free} free)");
            }
            Obstacle::Cores { free } => {
                return write!(f, "{count} have too few cores (most: {most}, {free} free)");
            }
            Obstacle::OtherSite => write!(f, "{count} are on another site than it must be")?,
            Obstacle::OtherGroup => write!(f, "{count} are of other node groups")?,
            Obstacle::Label => write!(f, "{count} lack a label")?,
            Obstacle::Leaving => write!(f, "{count} are to be emptied")?,
            Obstacle::Dead => write!(f, "{count} are dead")?,
            Obstacle::Cordoned => write!(f, "{count} are cordoned")?,
            Obstacle::Relation { .. } => write!(f, "{count} hold relatives that it must not stand beside")?,
            Obstacle::RackOfRelation { .. } => write!(f, "{count} are in the racks of such")?,
        }
        write!(f, " ({names}{})", if *count > named.len() { ", …" } else { "" })
    }
}

impl fmt::Display for WouldFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smaller { node, memory } => write!(f, "with {memory}, on {node}"),
            Self::FewerCores { node, cores } => write!(f, "with {cores}, on {node}"),
            Self::Otherwise { node, site, but } => match but {
                Obstacle::OtherSite => write!(f, "on {node}, if it may be in site {site}"),
                Obstacle::OtherGroup => write!(f, "on {node}, if it may be in its node group"),
                Obstacle::Label => write!(f, "on {node}, if it had the labels"),
                Obstacle::Dead => write!(f, "on {node}, when it is back"),
                Obstacle::Cordoned => write!(f, "on {node}, uncordoned"),
                Obstacle::Relation { holds } => write!(f, "on {node}, without {holds}"),
                Obstacle::RackOfRelation { holds } => {
                    write!(f, "on {node}, if it may share a rack with {holds}")
                }
                Obstacle::Leaving | Obstacle::Memory { .. } | Obstacle::Cores { .. } => {
                    write!(f, "on {node}")
                }
            },
        }
    }
}
