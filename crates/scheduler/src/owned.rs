//! Where the instances of one owner stand, counted in each way that placement asks for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::fleet::Place;
use crate::index::NodeId;
use crate::{Instance, Role, Sites};

const ROLES: usize = 5;

/// What of one owner stands where.
#[derive(Debug, Default)]
pub struct Owned<'a> {
    /// All of it.
    pub all: u32,
    /// By role.
    pub of_role: [u32; ROLES],
    /// On each node where something of it is.
    pub on_node: BTreeMap<NodeId, Tally>,
    /// In each rack where something of it is, by role.
    pub in_rack: BTreeMap<u32, [u32; ROLES]>,
    /// How many replicas on the second node follow primaries on the first: so many does the second take over when the first
    /// dies.
    behind: BTreeMap<(NodeId, NodeId), u32>,
    on_site: BTreeMap<u32, Weight>,
    kin: BTreeMap<Kin, Vec<Standing<'a>>>,
}

/// An instance and the number of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// Its node.
    pub node: NodeId,
}

/// How many of an owner's instances are on a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// All.
    pub all: u32,
    /// By role.
    pub of_role: [u32; ROLES],
}

/// What must not die together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kin {
    /// The copies of a shard.
    Shard(u32),
    /// The sentinels of a group.
    Sentinels,
    /// The proxies of a pool: apart where there is room, no more.
    Proxies,
}

/// How much speaks for a site: the instances there that had the choice, and then all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Weight {
    free: u32,
    all: u32,
}

impl Weight {
    fn of(instance: &Instance) -> Self {
        let bound = &instance.constraints;
        Self { free: u32::from(bound.site.is_none() && bound.sites == Sites::One), all: 1 }
    }
}

impl Kin {
    /// Whose kin an instance is.
    pub fn of(instance: &Instance) -> Self {
        match instance.role {
            Role::Primary | Role::Replica | Role::Cache => Self::Shard(instance.shard),
            Role::Sentinel => Self::Sentinels,
            Role::Proxy => Self::Proxies,
        }
    }

    /// Whether they may never share a node.
    pub fn is_strict(self) -> bool {
        self != Self::Proxies
    }
}

impl<'a> Owned<'a> {
    /// All kin that there are.
    pub fn families(&self) -> impl Iterator<Item = (Kin, &[Standing<'a>])> {
        self.kin.iter().map(|(kin, standing)| (*kin, standing.as_slice()))
    }

    /// The kin of an instance, in the order in which they came.
    pub fn kin(&self, kin: Kin) -> &[Standing<'a>] {
        self.kin.get(&kin).map_or(&[], Vec::as_slice)
    }

    /// What of the owner is on a node.
    pub fn on(&self, node: NodeId) -> Tally {
        self.on_node.get(&node).copied().unwrap_or_default()
    }

    /// How many of the owner's primaries a node is to take over when another one dies.
    pub fn behind(&self, primary: NodeId, replica: NodeId) -> u32 {
        self.behind.get(&(primary, replica)).copied().unwrap_or(0)
    }

    /// The pairs of primary and replica that an instance on its node makes with its kin.
    fn pairs(&self, standing: Standing<'a>) -> Vec<(NodeId, NodeId)> {
        let kin = self.kin(Kin::of(standing.instance)).iter();
        match standing.instance.role {
            Role::Primary => {
                let replicas = kin.filter(|kin| kin.instance.role == Role::Replica);
                replicas.map(|replica| (standing.node, replica.node)).collect()
            }
            Role::Replica => {
                let primaries = kin.filter(|kin| kin.instance.role == Role::Primary);
                primaries.map(|primary| (primary.node, standing.node)).collect()
            }
            Role::Cache | Role::Proxy | Role::Sentinel => Vec::new(),
        }
    }

    /// The site where an instance's own shard is for the most part, or else the rest of its owner.
    pub fn home(&self, instance: &Instance, places: &[Place]) -> Option<u32> {
        let mut of_shard: BTreeMap<u32, Weight> = BTreeMap::new();
        if instance.role.is_copy() {
            for standing in self.kin(Kin::of(instance)) {
                let weight = of_shard.entry(places[standing.node as usize].site).or_default();
                let one = Weight::of(standing.instance);
                (weight.free, weight.all) = (weight.free + one.free, weight.all + one.all);
            }
        }
        let sites = if of_shard.is_empty() { &self.on_site } else { &of_shard };
        let most = sites.iter().max_by_key(|(site, weight)| (**weight, std::cmp::Reverse(**site)));
        most.map(|(site, _)| *site)
    }

    pub(crate) fn put(&mut self, standing: Standing<'a>, place: &Place) {
        let role = standing.instance.role as usize;
        let one = Weight::of(standing.instance);
        for pair in self.pairs(standing) {
            *self.behind.entry(pair).or_default() += 1;
        }
        self.all += 1;
        self.of_role[role] += 1;
        let tally = self.on_node.entry(standing.node).or_default();
        tally.all += 1;
        tally.of_role[role] += 1;
        self.in_rack.entry(place.rack).or_default()[role] += 1;
        let weight = self.on_site.entry(place.site).or_default();
        (weight.free, weight.all) = (weight.free + one.free, weight.all + one.all);
        self.kin.entry(Kin::of(standing.instance)).or_default().push(standing);
    }

    pub(crate) fn lift(&mut self, standing: Standing<'a>, place: &Place) {
        let role = standing.instance.role as usize;
        let one = Weight::of(standing.instance);
        let kin = self.kin.entry(Kin::of(standing.instance)).or_default();
        let Some(at) = kin.iter().position(|other| *other == standing) else { return };
        kin.remove(at);
        for pair in self.pairs(standing) {
            if let Entry::Occupied(mut count) = self.behind.entry(pair) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        self.all -= 1;
        self.of_role[role] -= 1;
        if let Entry::Occupied(mut tally) = self.on_node.entry(standing.node) {
            tally.get_mut().all -= 1;
            tally.get_mut().of_role[role] -= 1;
            if tally.get().all == 0 {
                tally.remove();
            }
        }
        if let Entry::Occupied(mut roles) = self.in_rack.entry(place.rack) {
            roles.get_mut()[role] -= 1;
            if roles.get().iter().all(|count| *count == 0) {
                roles.remove();
            }
        }
        if let Entry::Occupied(mut weight) = self.on_site.entry(place.site) {
            weight.get_mut().free -= one.free;
            weight.get_mut().all -= one.all;
            if weight.get().all == 0 {
                weight.remove();
            }
        }
    }
}
