//! Instances without a node get one.

use std::collections::BTreeMap;

use super::{Plan, Step};
use crate::quantity::Cores;
use crate::resource::{Instance, Kind, Program, Resource, Sites};
use crate::world::World;

/// What has no place, and what is missing where: a sentence by the instance's name.
pub(super) type Unplaced = BTreeMap<String, String>;

/// Plans the places of all that have none.
pub(super) fn plan(world: &World, plan: &mut Plan) -> Unplaced {
    let wants = |instance: &Instance| {
        instance.spec.node.is_none() && instance.spec.adopted.is_none() && !instance.metadata.is_deleted()
    };
    if !world.instances().any(|seen| wants(seen.object)) {
        return Unplaced::new();
    }
    let services: BTreeMap<_, _> =
        world.services().iter().map(|service| (service.owner(), service)).collect();
    let mut inventory = shoal_scheduler::Inventory {
        nodes: world.nodes().map(|node| machine(world, node)).collect(),
        ..Default::default()
    };
    for seen in world.instances() {
        let Some(service) = services.get(&seen.object.spec.owner) else { continue };
        let instance = instance(seen.object, service);
        match &seen.object.spec.node {
            Some(node) => inventory.placed.push(shoal_scheduler::Placed { instance, node: node.clone() }),
            None if wants(seen.object) => inventory.wanted.push(instance),
            None => {}
        }
    }
    let placed = shoal_scheduler::plan(&shoal_scheduler::Policy::default(), &inventory);
    for seen in world.instances().filter(|seen| wants(seen.object)) {
        if let Some(decision) = placed.decision(seen.name()) {
            let mut object = seen.object.clone();
            object.spec.node = Some(decision.node.clone());
            let why = format!("place {decision}");
            plan.push(seen.reference(), Step::Write(Box::new(Resource::Instance(object))), why);
        }
    }
    placed.refusals.iter().map(|refusal| (refusal.instance.clone(), refusal.to_string())).collect()
}

fn machine(world: &World, node: &crate::resource::Node) -> shoal_scheduler::Node {
    let spec = &node.spec;
    shoal_scheduler::Node {
        name: node.name().to_owned(),
        site: spec.site.clone(),
        zone: spec.zone.clone().unwrap_or_default(),
        rack: spec.rack.clone().unwrap_or_default(),
        group: spec.node_group.clone().unwrap_or_default(),
        memory: shoal_scheduler::Memory(spec.memory.0),
        cores: cores(spec.cores),
        cost: u64::from(spec.cost),
        labels: node.metadata.labels.clone(),
        cordoned: spec.unschedulable || node.metadata.is_deleted(),
        alive: world.node_down(node.name()).is_none(),
    }
}

fn instance(instance: &Instance, service: &crate::service::Service) -> shoal_scheduler::Instance {
    let (spec, placement) = (&instance.spec, service.placement());
    let status = spec.shard.and_then(|shard| service.status().shards.get(usize::from(shard)));
    let is_primary = match status.and_then(|shard| shard.primary.as_ref()) {
        Some(primary) => primary.name == instance.name(),
        None => spec.ordinal == 0,
    };
    shoal_scheduler::Instance {
        name: instance.name().to_owned(),
        tenant: spec.tenant.clone(),
        owner: match spec.owner.kind {
            Kind::Standalone => shoal_scheduler::Owner::Standalone(spec.owner.name.clone()),
            _ => shoal_scheduler::Owner::Pool(spec.owner.name.clone()),
        },
        role: match spec.program {
            Program::Proxy => shoal_scheduler::Role::Proxy,
            Program::Sentinel => shoal_scheduler::Role::Sentinel,
            Program::Redis if service.copies() == 1 => shoal_scheduler::Role::Cache,
            Program::Redis if is_primary => shoal_scheduler::Role::Primary,
            Program::Redis => shoal_scheduler::Role::Replica,
        },
        shard: u32::from(spec.shard.unwrap_or_default()),
        memory: shoal_scheduler::Memory(spec.memory.0 + spec.reserve.0),
        cores: cores(spec.cores),
        constraints: shoal_scheduler::Constraints {
            site: placement.site.clone(),
            sites: match placement.sites {
                Sites::One => shoal_scheduler::Sites::One,
                Sites::Spread => shoal_scheduler::Sites::Any,
            },
            group: None,
            labels: placement.node_selector.clone(),
        },
    }
}

/// More than the scheduler counts to is as good as what it counts to.
fn cores(cores: Cores) -> shoal_scheduler::Cores {
    shoal_scheduler::Cores(u32::try_from(cores.0).unwrap_or(u32::MAX))
}
