//! What would help an instance that has no place. Nothing is said that would not.

use std::collections::BTreeMap;

use crate::explain::order;
use crate::index::NodeId;
use crate::rank::Search;
use crate::{Cores, Instance, Memory, Obstacle, Policy, Racks, WouldFit};

/// Collects the nodes against which one thing alone stands.
#[derive(Debug)]
pub struct Ways<'f, 'a> {
    racks: Racks,
    search: Search<'f, 'a>,
    memory: Option<(Memory, NodeId)>,
    cores: Option<(Cores, NodeId)>,
    /// By [`order`], the first node by name.
    others: BTreeMap<usize, (NodeId, Obstacle)>,
}

impl<'f, 'a> Ways<'f, 'a> {
    /// None yet, for an instance that searched and found nothing.
    pub fn new(policy: &Policy, search: Search<'f, 'a>) -> Self {
        Self { racks: policy.racks, search, memory: None, cores: None, others: BTreeMap::new() }
    }

    /// Looks at a node and all that stands against it. Nodes come by name.
    pub fn look(&mut self, id: NodeId, against: &[Obstacle]) {
        match against {
            [Obstacle::Relation { .. } | Obstacle::Leaving] => {}
            [Obstacle::Memory { free }] => {
                let most = self.memory.map_or(Memory(0), |(most, _)| most);
                if *free > most && self.racks_let(id, |asks| asks.memory = *free) {
                    self.memory = Some((*free, id));
                }
            }
            [Obstacle::Cores { free }] => {
                let most = self.cores.map_or(Cores(0), |(most, _)| most);
                if *free > most && self.racks_let(id, |asks| asks.cores = *free) {
                    self.cores = Some((*free, id));
                }
            }
            [one] if !self.others.contains_key(&order(one)) && self.helps(id, one) => {
                self.others.insert(order(one), (id, one.clone()));
            }
            _ => {}
        }
    }

    /// The least first.
    pub fn told(self) -> Vec<WouldFit> {
        let nodes = &self.search.fleet.nodes;
        let name = |id: NodeId| nodes[id as usize].name.clone();
        let memory = self.memory.map(|(memory, id)| WouldFit::Smaller { node: name(id), memory });
        let cores = self.cores.map(|(cores, id)| WouldFit::FewerCores { node: name(id), cores });
        let others = self.others.into_values().map(|(id, but)| WouldFit::Otherwise {
            node: name(id),
            site: nodes[id as usize].site.clone(),
            but,
        });
        memory.into_iter().chain(cores).chain(others).collect()
    }

    /// Whether the node would be taken without the one thing. Who asks for less may have more racks to choose from.
    fn helps(&self, id: NodeId, one: &Obstacle) -> bool {
        let node = self.search.fleet.nodes[id as usize];
        match one {
            Obstacle::OtherGroup => {
                self.racks_let(id, |asks| asks.constraints.group = Some(node.group.clone()))
            }
            Obstacle::Label => self.racks_let(id, |asks| asks.constraints.labels.clear()),
            Obstacle::OtherSite => self.racks_let(id, |asks| asks.constraints.site = Some(node.site.clone())),
            _ => true,
        }
    }

    /// Whether the racks of its kin let an instance that asks for something else onto a node.
    fn racks_let(&self, id: NodeId, change: impl FnOnce(&mut Instance)) -> bool {
        let Search { fleet, kin, .. } = self.search;
        let rack = |node: NodeId| fleet.places[node as usize].rack;
        if self.racks == Racks::Prefer || kin.iter().all(|kin| rack(kin.node) != rack(id)) {
            return true;
        }
        let mut other = self.search.instance.clone();
        change(&mut other);
        let site = other.constraints.site.as_deref().map_or(self.search.site, |site| fleet.site(site));
        !Search { instance: &other, site, ..self.search }.has_other_rack()
    }
}
