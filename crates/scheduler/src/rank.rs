//! What makes one node better than another for an instance.

use crate::fleet::{Domain, Fleet, OwnerId};
use crate::index::NodeId;
use crate::owned::{Kin, Owned, Standing};
use crate::{Instance, Memory, Node, Role};

/// How good a node is for an instance; the least is the best, by the fields in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// What dies together.
    pub spread: Spread,
    /// The node's cost.
    pub cost: u64,
    /// What would be left: the tightest fit keeps whole what is whole.
    pub memory_left: Memory,
    /// The lesser name settles it.
    pub node: NodeId,
}

/// How much dies together with an instance; the least is the best, by the fields in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spread {
    /// Kin in the rack. Before the zone's: of three copies the third rather is the second in a zone than in a rack.
    pub kin_in_rack: u32,
    /// Kin in the zone.
    pub kin_in_zone: u32,
    /// The owner's instances of the same role on the node.
    pub role_on_node: u32,
    /// The owner's instances on the node.
    pub owner_on_node: u32,
    /// The owner's replicas on the node whose primaries are where this one's is: the node takes all of them over at once.
    pub behind_primary: u32,
    /// The owner's instances of the same role in the rack.
    pub role_in_rack: u32,
}

/// One instance looks for a node.
#[derive(Clone, Copy, Debug)]
pub struct Search<'f, 'a> {
    /// What stands where.
    pub fleet: &'f Fleet<'a>,
    /// The instance.
    pub instance: &'a Instance,
    /// Where it may be, if not on all sites.
    pub site: Option<u32>,
    /// What of its owner stands where.
    pub owned: &'f Owned<'a>,
    /// What it must not die together with; proxies have no such.
    pub kin: &'f [Standing<'a>],
}

impl<'f, 'a> Search<'f, 'a> {
    /// An instance that looks on one site, or on all.
    pub fn new(fleet: &'f Fleet<'a>, owner: OwnerId, instance: &'a Instance, site: Option<u32>) -> Self {
        let owned = &fleet.owners[owner as usize];
        let kin = Kin::of(instance);
        Self { fleet, instance, site, owned, kin: if kin.is_strict() { owned.kin(kin) } else { &[] } }
    }

    /// The best node that is open, permitted, has room and holds no kin.
    pub fn best(&self) -> Option<Rank> {
        let floor = self.floor();
        let mut best: Option<Rank> = None;
        for class in self
            .fleet
            .index
            .classes()
            .iter()
            .filter(|class| self.in_scope(class.site) && self.permits(class.like))
        {
            if best.is_some_and(|best| best.spread <= floor && best.cost < class.like.cost) {
                break;
            }
            for nodes in class.with(self.instance.memory, self.instance.cores) {
                for (free, node) in nodes {
                    let Some(rank) = self.rank(node, free) else { continue };
                    if best.is_none_or(|best| rank < best) {
                        best = Some(rank);
                    }
                    if rank.spread <= floor {
                        break; // The rest of the bucket has more left.
                    }
                }
            }
        }
        best
    }

    /// Whether another rack than the kin's has an open node that is permitted and could hold the instance when empty.
    pub fn has_other_rack(&self) -> bool {
        let could = |id: NodeId, node: &Node| {
            self.fleet.places[id as usize].open
                && self.in_scope(self.fleet.places[id as usize].site)
                && self.permits(node)
                && node.memory >= self.instance.memory
                && node.cores >= self.instance.cores
                && self.kin.iter().all(|kin| self.rack(kin.node) != self.rack(id))
        };
        self.has_open(&self.fleet.racks, self.open_racks(), |node| self.rack(node))
            && (0..).zip(&self.fleet.nodes).any(|(id, node)| could(id, node))
    }

    /// Whether node group and labels of a node are as asked.
    fn permits(&self, node: &Node) -> bool {
        let asks = &self.instance.constraints;
        asks.group.as_ref().is_none_or(|group| *group == node.group)
            && asks.labels.iter().all(|(name, value)| node.labels.get(name) == Some(value))
    }

    fn in_scope(&self, site: u32) -> bool {
        self.site.is_none_or(|only| only == site)
    }

    /// How good a node with enough memory is; `None` if it lacks cores or holds kin.
    fn rank(&self, node: NodeId, free: Memory) -> Option<Rank> {
        let (_, cores) = self.fleet.free(node);
        cores.0.checked_sub(self.instance.cores.0)?;
        let place = &self.fleet.places[node as usize];
        let role = self.instance.role as usize;
        let mut spread = Spread::default();
        for kin in self.kin {
            if kin.node == node {
                return None;
            }
            let other = &self.fleet.places[kin.node as usize];
            spread.kin_in_zone += u32::from(other.zone == place.zone);
            spread.kin_in_rack += u32::from(other.rack == place.rack);
        }
        let tally = self.owned.on(node);
        spread.role_on_node = tally.of_role[role];
        spread.owner_on_node = tally.all;
        let primary = self.kin.iter().find(|kin| kin.instance.role == Role::Primary);
        if let Some(primary) = primary.filter(|_| self.instance.role == Role::Replica) {
            spread.behind_primary = self.owned.behind(primary.node, node);
        }
        spread.role_in_rack = self.owned.in_rack.get(&place.rack).map_or(0, |roles| roles[role]);
        let memory_left = Memory(free.0.checked_sub(self.instance.memory.0)?);
        Some(Rank { spread, cost: self.fleet.nodes[node as usize].cost, memory_left, node })
    }

    /// No open node is better than this. (Whether such a node has room is not said; where none has, all that have are
    /// looked at.)
    fn floor(&self) -> Spread {
        let role = self.instance.role as usize;
        let zones = self.has_open(&self.fleet.zones, self.open_zones(), |node| self.zone(node));
        let racks = self.has_open(&self.fleet.racks, self.open_racks(), |node| self.rack(node));
        let open = |rack: u32| {
            let rack = self.fleet.racks[rack as usize];
            rack.open && self.in_scope(rack.site)
        };
        let counts = self.owned.in_rack.iter().map(|(rack, roles)| (*rack, roles[role]));
        let mut used = 0;
        let mut least = u32::MAX;
        for (_, count) in counts.filter(|(rack, count)| *count > 0 && open(*rack)) {
            (used, least) = (used + 1, least.min(count));
        }
        Spread {
            kin_in_zone: u32::from(!zones),
            kin_in_rack: u32::from(!racks),
            role_in_rack: if used < self.open_racks() { 0 } else { least },
            ..Spread::default()
        }
    }

    /// Whether of the open racks (or zones) in scope, so many, one holds no kin.
    fn has_open(&self, domains: &[Domain], open: usize, of: impl Fn(NodeId) -> u32) -> bool {
        let counts = |domain: u32| {
            let domain = domains[domain as usize];
            domain.open && self.in_scope(domain.site)
        };
        let mut held: Vec<u32> = self.kin.iter().map(|kin| of(kin.node)).filter(|d| counts(*d)).collect();
        held.sort_unstable();
        held.dedup();
        held.len() < open
    }

    fn open_racks(&self) -> usize {
        let sites = &self.fleet.sites;
        self.site.map_or_else(|| sites.iter().map(|s| s.open_racks).sum(), |s| sites[s as usize].open_racks)
    }

    fn open_zones(&self) -> usize {
        let sites = &self.fleet.sites;
        self.site.map_or_else(|| sites.iter().map(|s| s.open_zones).sum(), |s| sites[s as usize].open_zones)
    }

    fn rack(&self, node: NodeId) -> u32 {
        self.fleet.places[node as usize].rack
    }

    fn zone(&self, node: NodeId) -> u32 {
        self.fleet.places[node as usize].zone
    }
}
