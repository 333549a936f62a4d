//! Open nodes, ordered so that the tightest fit is found without looking at those that are full.
//!
//! ```text
//!   class: same site, node group, labels and cost          what constraints ask is asked once a class
//!     └── bucket: free cores from 2^k to 2^(k+1)           where cores are short, nodes without are not walked over
//!           └── nodes by free memory                       the first with enough is the tightest
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::{Cores, Memory, Node};

/// One for each power of two that thousandths of a core may be, and one for none.
const BUCKETS: usize = u32::BITS as usize + 1;

/// Nodes by number; a lesser number is a lesser name.
pub type NodeId = u32;

/// The open nodes.
#[derive(Debug, Default)]
pub struct Index<'a> {
    classes: Vec<Class<'a>>,
}

/// Nodes that differ in nothing but their place and what is free on them.
#[derive(Debug)]
pub struct Class<'a> {
    /// Their site.
    pub site: u32,
    /// Any of them: all have its node group, its labels and its cost.
    pub like: &'a Node,
    buckets: Vec<BTreeSet<(Memory, NodeId)>>,
}

impl<'a> Index<'a> {
    /// An index of no nodes yet; they are given with their sites. Says for each of them which class it is in.
    pub fn new(nodes: impl Iterator<Item = (u32, &'a Node)>) -> (Self, Vec<u32>) {
        let nodes: Vec<_> = nodes.collect();
        let mut like = BTreeMap::new();
        for (site, node) in &nodes {
            like.entry((node.cost, *site, &node.group, &node.labels)).or_insert(*node);
        }
        let number: BTreeMap<_, u32> = like.keys().copied().zip(0..).collect();
        let class_of =
            nodes.iter().map(|(site, node)| number[&(node.cost, *site, &node.group, &node.labels)]);
        let classes = like.iter().map(|((_, site, ..), like)| Class {
            site: *site,
            like,
            buckets: vec![BTreeSet::new(); BUCKETS],
        });
        (Self { classes: classes.collect() }, class_of.collect())
    }

    /// The classes, the cheapest first.
    pub fn classes(&self) -> &[Class<'a>] {
        &self.classes
    }

    /// A node has so much free, and may be found from now on.
    pub fn insert(&mut self, class: u32, node: NodeId, memory: Memory, cores: Cores) {
        self.classes[class as usize].buckets[bucket(cores)].insert((memory, node));
    }

    /// A node that had so much free is found no more.
    pub fn remove(&mut self, class: u32, node: NodeId, memory: Memory, cores: Cores) {
        self.classes[class as usize].buckets[bucket(cores)].remove(&(memory, node));
    }
}

impl Class<'_> {
    /// The buckets in which nodes may have so many cores free; in the first of them not all do.
    /// In each, the nodes that have so much memory free, the tightest first.
    pub fn with(
        &self,
        memory: Memory,
        cores: Cores,
    ) -> impl Iterator<Item = impl Iterator<Item = (Memory, NodeId)>> {
        let buckets = self.buckets[bucket(cores)..].iter().filter(|bucket| !bucket.is_empty());
        buckets.map(move |bucket| bucket.range((memory, 0)..).copied())
    }
}

fn bucket(cores: Cores) -> usize {
    (u32::BITS - cores.0.leading_zeros()) as usize
}
