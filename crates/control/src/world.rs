//! All that should be and all that is, at one instant: the planner's only input.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::quantity::{Bytes, Cores, Timestamp};
use crate::resource::{EventType, Instance, Kind, Node, ObjectRef, Owner, Resource, Uid};
use crate::runtime::{Observation, Observed, Phase, RedisSays, Says};
use crate::service::Service;
use crate::store::Store;

/// All that should be and all that is, at one instant.
///
/// Processes were looked at first, then objects were listed one kind after the other: what is planned from it may be
/// refused.
#[derive(Clone, Debug)]
pub struct World {
    /// When it was looked at.
    pub now: Timestamp,
    nodes: Vec<Arc<Resource>>,
    services: Vec<Service>,
    instances: Vec<Arc<Resource>>,
    by_owner: BTreeMap<Owner, Vec<usize>>,
    promised: BTreeMap<String, Free>,
    observed: BTreeMap<String, Observed>,
    nodes_down: BTreeMap<String, String>,
    /// By the instance's uid: what was refused last, and when.
    refused: BTreeMap<Uid, (Timestamp, String)>,
}

/// What was refused is tried again each pass, and told now and then ([`REFUSALS_COUNTED_EACH`](crate::events)): what was
/// not told for so long is not refused any more.
const REFUSAL_LASTS: Duration = Duration::from_secs(30);

/// What of a machine nobody was promised, or everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// With what instances keep in reserve.
    pub memory: Bytes,
    /// By request.
    pub cores: Cores,
}

/// An instance that should be, and the process of its name and uid as it was seen, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What should be.
    pub object: &'a Instance,
    /// What is.
    pub process: Option<&'a Observed>,
}

impl World {
    /// What the store holds and a runtime saw.
    ///
    /// # Errors
    /// The store's.
    pub fn look(store: &dyn Store, observation: Observation, now: Timestamp) -> Result<Self, Error> {
        let standalones = store.list(Kind::Standalone)?.objects;
        let pools = store.list(Kind::Pool)?.objects;
        let instances = store.list(Kind::Instance)?.objects;
        let mut by_owner: BTreeMap<Owner, Vec<usize>> = BTreeMap::new();
        let mut promised: BTreeMap<String, Free> = BTreeMap::new();
        for (at, resource) in instances.iter().enumerate() {
            if let Resource::Instance(instance) = &**resource {
                by_owner.entry(instance.spec.owner.clone()).or_default().push(at);
                if let Some(node) = &instance.spec.node {
                    let promised = promised.entry(node.clone()).or_default();
                    promised.memory.0 += instance.spec.memory.0 + instance.spec.reserve.0;
                    promised.cores = promised.cores.plus(instance.spec.cores);
                }
            }
        }
        Ok(World {
            now,
            nodes: store.list(Kind::Node)?.objects,
            services: standalones.iter().chain(&pools).filter_map(|object| Service::of(object)).collect(),
            instances,
            by_owner,
            promised,
            observed: observation.instances.into_iter().map(|seen| (seen.name.clone(), seen)).collect(),
            nodes_down: observation.nodes_down.into_iter().map(|down| (down.node, down.why)).collect(),
            refused: refused(store, now)?,
        })
    }

    /// The machines, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter_map(|resource| match &**resource {
            Resource::Node(node) => Some(node),
            _ => None,
        })
    }

    /// The machine of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|resource| resource.name().cmp(name)).ok()?;
        match &*self.nodes[at] {
            Resource::Node(node) => Some(node),
            _ => None,
        }
    }

    /// What of a machine nobody was promised.
    #[must_use]
    pub fn free(&self, name: &str) -> Option<Free> {
        let node = self.node(name)?;
        let promised = self.promised.get(name).copied().unwrap_or_default();
        Some(Free {
            memory: Bytes(node.spec.memory.0.saturating_sub(promised.memory.0)),
            cores: node.spec.cores.minus(promised.cores),
        })
    }

    /// Why a machine is known to be down.
    #[must_use]
    pub fn node_down(&self, name: &str) -> Option<&str> {
        self.nodes_down.get(name).map(String::as_str)
    }

    /// Standalones and pools, each kind by name.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The standalone or pool that owns instances under that name.
    #[must_use]
    pub fn service(&self, owner: &Owner) -> Option<&Service> {
        self.services.iter().find(|service| service.kind() == owner.kind && service.name() == owner.name)
    }

    /// The instance of that name that should be.
    #[must_use]
    pub fn instance(&self, name: &str) -> Option<Seen<'_>> {
        let at = self.instances.binary_search_by(|resource| resource.name().cmp(name)).ok()?;
        self.seen(&self.instances[at])
    }

    /// All instances that should be, by name.
    pub fn instances(&self) -> impl Iterator<Item = Seen<'_>> {
        self.instances.iter().filter_map(|resource| self.seen(resource))
    }

    /// The instances of a service, by name.
    pub fn instances_of(&self, owner: &Owner) -> impl Iterator<Item = Seen<'_>> {
        let places = self.by_owner.get(owner).map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(|at| self.seen(&self.instances[*at]))
    }

    /// What of an instance was refused since then, in a sentence; for people, who read it in a condition.
    #[must_use]
    pub fn refused_since(&self, object: &Instance, since: Timestamp) -> Option<&str> {
        let (at, why) = self.refused.get(&object.metadata.uid)?;
        (*at >= since).then_some(why)
    }

    fn seen<'a>(&'a self, resource: &'a Resource) -> Option<Seen<'a>> {
        let Resource::Instance(object) = resource else { return None };
        let process = self.observed.get(object.name()).filter(|seen| seen.uid == object.metadata.uid.0);
        Some(Seen { object, process })
    }

    /// The uid of an earlier instance's process that still has that name.
    #[must_use]
    pub fn name_taken_by(&self, object: &Instance) -> Option<&Observed> {
        self.observed.get(object.name()).filter(|seen| seen.uid != object.metadata.uid.0)
    }

    /// Processes of ours that no object asks for. Nothing is done to them: the store may be an older one, restored.
    pub fn unclaimed(&self) -> impl Iterator<Item = &Observed> {
        self.observed.values().filter(|seen| {
            let at = self.instances.binary_search_by(|resource| resource.name().cmp(&seen.name));
            !at.is_ok_and(|at| self.instances[at].metadata().uid.0 == seen.uid)
        })
    }
}

/// What instances were refused lately.
fn refused(store: &dyn Store, now: Timestamp) -> Result<BTreeMap<Uid, (Timestamp, String)>, Error> {
    let mut refused: BTreeMap<Uid, (Timestamp, String)> = BTreeMap::new();
    for object in store.list(Kind::Event)?.objects {
        let Resource::Event(event) = &*object else { continue };
        let spec = &event.spec;
        let is_fresh = now.since(spec.last_timestamp) < REFUSAL_LASTS;
        if spec.kind != EventType::Warning || spec.regarding.kind != Kind::Instance || !is_fresh {
            continue;
        }
        let last = refused.entry(spec.regarding.uid.clone()).or_default();
        if spec.last_timestamp >= last.0 {
            *last = (spec.last_timestamp, spec.message.clone());
        }
    }
    Ok(refused)
}

impl<'a> Seen<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.object.name()
    }

    /// What names it and no later one.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        self.object.reference()
    }

    /// A Redis that runs and answers: its word.
    #[must_use]
    pub fn redis(&self) -> Option<&'a RedisSays> {
        match self.process {
            Some(Observed { phase: Phase::Running, says: Says::Redis(says), .. }) => Some(says),
            _ => None,
        }
    }

    /// Whether its process is known to have ended, or never was. One that does not answer may well run.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.process, None | Some(Observed { phase: Phase::Ended(_), .. }))
    }
}
