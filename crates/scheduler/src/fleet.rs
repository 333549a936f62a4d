//! The inventory while a plan is made: what is free on each node, and where each owner's instances stand.

use std::collections::BTreeMap;

use crate::index::{Index, NodeId};
use crate::owned::{Owned, Standing};
use crate::{Cores, Instance, Inventory, Memory, Node, Owner};

/// An owner by number.
pub type OwnerId = u32;

/// Nodes and owners, numbered by name, and what stands where.
#[derive(Debug)]
pub struct Fleet<'a> {
    /// By name.
    pub nodes: Vec<&'a Node>,
    /// Of each node.
    pub places: Vec<Place>,
    /// By name.
    pub sites: Vec<Site<'a>>,
    /// Numbered over all sites and zones.
    pub racks: Vec<Domain>,
    /// Numbered over all sites.
    pub zones: Vec<Domain>,
    /// What of an owner stands where.
    pub owners: Vec<Owned<'a>>,
    /// The open nodes.
    pub index: Index<'a>,
    /// Whether some nodes cost more than others.
    pub costs_differ: bool,
    owner_ids: BTreeMap<(&'a str, &'a Owner), OwnerId>,
}

/// Where a node is, and what is taken of it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its site.
    pub site: u32,
    /// Its zone.
    pub zone: u32,
    /// Its rack.
    pub rack: u32,
    /// It takes new instances.
    pub open: bool,
    /// It is to be emptied.
    pub leaving: bool,
    /// Memory that its instances ask for, in bytes. Wider than a node's: they may ask for more than there is.
    pub memory_asked: u128,
    /// Cores that its instances ask for, in thousandths.
    pub cores_asked: u64,
    class: u32,
}

/// A site, and how much of it is open.
#[derive(Debug)]
pub struct Site<'a> {
    /// Its name.
    pub name: &'a str,
    /// Zones with an open node.
    pub open_zones: usize,
    /// Racks with an open node.
    pub open_racks: usize,
    /// Open nodes.
    pub open_nodes: usize,
}

/// A rack or a zone: what fails as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// Its site.
    pub site: u32,
    /// Whether it has an open node.
    pub open: bool,
}

impl<'a> Fleet<'a> {
    /// The inventory with all that is placed in it. What is called in `leaving` takes nothing new.
    pub fn new(inventory: &'a Inventory, leaving: &[&str]) -> Self {
        let mut nodes: Vec<&Node> = inventory.nodes.iter().collect();
        nodes.sort_unstable();
        nodes.dedup_by(|a, b| a.name == b.name);

        let site_ids = numbered(nodes.iter().map(|node| node.site.as_str()));
        let zone_ids = numbered(nodes.iter().map(|node| zone(node)));
        let rack_ids = numbered(nodes.iter().map(|node| rack(node)));
        let (index, class_of) = Index::new(nodes.iter().map(|node| (site_ids[node.site.as_str()], *node)));
        let places: Vec<Place> = nodes
            .iter()
            .zip(class_of)
            .map(|(node, class)| {
                let leaving = leaving.contains(&node.name.as_str());
                Place {
                    site: site_ids[node.site.as_str()],
                    zone: zone_ids[&zone(node)],
                    rack: rack_ids[&rack(node)],
                    open: node.is_open() && !leaving,
                    leaving,
                    memory_asked: 0,
                    cores_asked: 0,
                    class,
                }
            })
            .collect();

        let new_site = |name: &&'a str| Site { name, open_zones: 0, open_racks: 0, open_nodes: 0 };
        let mut fleet = Self {
            sites: site_ids.keys().map(new_site).collect(),
            racks: rack_ids.keys().map(|(site, ..)| Domain { site: site_ids[site], open: false }).collect(),
            zones: zone_ids.keys().map(|(site, _)| Domain { site: site_ids[site], open: false }).collect(),
            costs_differ: nodes.windows(2).any(|pair| pair[0].cost != pair[1].cost),
            nodes,
            places,
            owners: Vec::new(),
            index,
            owner_ids: BTreeMap::new(),
        };
        fleet.open();
        let mut placed: Vec<_> = inventory.placed.iter().collect();
        placed.sort_unstable();
        for placed in placed {
            if let Some(node) = fleet.node(&placed.node) {
                let owner = fleet.owner(&placed.instance);
                fleet.put(owner, &placed.instance, node);
            }
        }
        fleet
    }

    /// Counts the open nodes, and enters them into the index.
    fn open(&mut self) {
        for (id, place) in (0..).zip(&self.places).filter(|(_, place)| place.open) {
            let (site, node) = (&mut self.sites[place.site as usize], self.nodes[id as usize]);
            site.open_nodes += 1;
            site.open_racks += usize::from(!self.racks[place.rack as usize].open);
            site.open_zones += usize::from(!self.zones[place.zone as usize].open);
            self.racks[place.rack as usize].open = true;
            self.zones[place.zone as usize].open = true;
            self.index.insert(place.class, id, node.memory, node.cores);
        }
    }

    /// The number of a node of this name.
    pub fn node(&self, name: &str) -> Option<NodeId> {
        let at = self.nodes.binary_search_by(|node| node.name.as_str().cmp(name)).ok()?;
        NodeId::try_from(at).ok()
    }

    /// The number of a site of this name.
    pub fn site(&self, name: &str) -> Option<u32> {
        let at = self.sites.binary_search_by(|site| site.name.cmp(name)).ok()?;
        u32::try_from(at).ok()
    }

    /// The number of an instance's owner.
    pub fn owner(&mut self, instance: &'a Instance) -> OwnerId {
        let owners = &mut self.owners;
        *self.owner_ids.entry((&instance.tenant, &instance.owner)).or_insert_with(|| {
            owners.push(Owned::default());
            OwnerId::try_from(owners.len() - 1).unwrap_or(OwnerId::MAX)
        })
    }

    /// What is free on a node.
    pub fn free(&self, node: NodeId) -> (Memory, Cores) {
        let (has, place) = (self.nodes[node as usize], &self.places[node as usize]);
        let memory = u128::from(has.memory.0).saturating_sub(place.memory_asked);
        let cores = u64::from(has.cores.0).saturating_sub(place.cores_asked);
        (Memory(u64::try_from(memory).unwrap_or(u64::MAX)), Cores(u32::try_from(cores).unwrap_or(u32::MAX)))
    }

    /// An instance stands on a node from now on.
    pub fn put(&mut self, owner: OwnerId, instance: &'a Instance, node: NodeId) {
        self.change(node, |place| {
            place.memory_asked += u128::from(instance.memory.0);
            place.cores_asked += u64::from(instance.cores.0);
        });
        self.owners[owner as usize].put(Standing { instance, node }, &self.places[node as usize]);
    }

    /// An instance that stood on a node is there no more.
    pub fn lift(&mut self, owner: OwnerId, instance: &'a Instance, node: NodeId) {
        self.change(node, |place| {
            place.memory_asked -= u128::from(instance.memory.0);
            place.cores_asked -= u64::from(instance.cores.0);
        });
        self.owners[owner as usize].lift(Standing { instance, node }, &self.places[node as usize]);
    }

    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Place)) {
        let place = self.places[node as usize];
        if place.open {
            let (memory, cores) = self.free(node);
            self.index.remove(place.class, node, memory, cores);
        }
        change(&mut self.places[node as usize]);
        if place.open {
            let (memory, cores) = self.free(node);
            self.index.insert(place.class, node, memory, cores);
        }
    }
}

/// A zone is its name in its site.
fn zone(node: &Node) -> (&str, &str) {
    (&node.site, &node.zone)
}

/// A rack is its name in its zone; without one, the node alone.
fn rack(node: &Node) -> (&str, &str, &str, &str) {
    (&node.site, &node.zone, &node.rack, if node.rack.is_empty() { &node.name } else { "" })
}

fn numbered<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, u32> {
    let mut numbered: BTreeMap<K, u32> = keys.map(|key| (key, 0)).collect();
    numbered.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    numbered
}
