//! Rules that do not hold as things stand.

use std::fmt;

use crate::{Cores, Memory, Owner};

/// A rule that does not hold. [`Display`](fmt::Display) says it in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Two nodes have one name.
    TwoNodes {
        /// The name.
        name: String,
    },
    /// Two placed instances have one name.
    TwoInstances {
        /// The name.
        name: String,
    },
    /// An instance stands on a node that is not listed.
    UnknownNode {
        /// The instance.
        instance: String,
        /// The node.
        node: String,
    },
    /// The instances of a node ask for more memory than it has.
    Memory {
        /// The node.
        node: String,
        /// What they ask for.
        asked: Memory,
        /// What it has.
        has: Memory,
    },
    /// The instances of a node ask for more cores than it has.
    Cores {
        /// The node.
        node: String,
        /// What they ask for.
        asked: Cores,
        /// What it has.
        has: Cores,
    },
    /// Copies of a shard, or sentinels of a group, are on one node.
    SharedNode {
        /// Both, by name.
        instances: [String; 2],
        /// The node.
        node: String,
    },
    /// Copies of a shard, or sentinels of a group, are in one rack.
    SharedRack {
        /// Both, by name.
        instances: [String; 2],
        /// The rack.
        rack: String,
        /// A node of another rack where the second of them could stand as things are; if not given, there is none now.
        free: Option<String>,
    },
    /// Copies of a shard that may not be on several sites are.
    SplitSites {
        /// What they belong to.
        owner: Owner,
        /// The shard.
        shard: u32,
        /// The sites.
        sites: Vec<String>,
    },
    /// An instance is not where its constraints allow it.
    Constraint {
        /// The instance.
        instance: String,
        /// The node.
        node: String,
        /// Which constraint: `site`, `node group` or `labels`.
        which: &'static str,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoNodes { name } => write!(f, "two nodes are called {name}"),
            Self::TwoInstances { name } => write!(f, "two instances are called {name}"),
            Self::UnknownNode { instance, node } => {
                write!(f, "{instance} stands on {node}, and there is no such node")
            }
            Self::Memory { node, asked, has } => {
                write!(f, "node {node} has {has} of memory, and its instances ask for {}", asked.rounded_up())
            }
            Self::Cores { node, asked, has } => {
                write!(f, "node {node} has {has}, and its instances ask for {asked}")
            }
            Self::SharedNode { instances: [a, b], node } => {
                write!(f, "{a} and {b} share node {node}, and would die together")
            }
            Self::SharedRack { instances: [a, b], rack, free: None } => {
                write!(f, "{a} and {b} share rack {rack}, and {b} fits nowhere else now")
            }
            Self::SharedRack { instances: [a, b], rack, free: Some(node) } => {
                write!(f, "{a} and {b} share rack {rack}, and {b} could stand on {node}")
            }
            Self::SplitSites { owner, shard, sites } => {
                write!(f, "shard {shard} of {owner} is on several sites: {}", sites.join(", "))
            }
            Self::Constraint { instance, node, which } => {
                write!(f, "{instance} stands on {node} against the {which} that it asks for")
            }
        }
    }
}
