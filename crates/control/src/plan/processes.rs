//! What should run and does not is started, after a pause where it ended by itself.

use super::leadership::Leadership;
use super::{Plan, Step, starting};
use crate::back_off;
use crate::quantity::Timestamp;
use crate::runtime::Phase;
use crate::service::Service;
use crate::world::{Seen, World};

/// Plans the starts of a service's instances.
pub(super) fn plan(world: &World, service: &Service, leadership: &Leadership, plan: &mut Plan) {
    for seen in world.instances_of(&service.owner()) {
        let object = seen.object;
        let Some(node) = object.spec.node.as_deref().and_then(|node| world.node(node)) else { continue };
        let is_possible = world.node_down(node.name()).is_none() && world.name_taken_by(object).is_none();
        if object.metadata.is_deleted()
            || object.spec.adopted.is_some()
            || !is_possible
            || !is_due(world, seen)
        {
            continue;
        }
        if let Some(start) = starting::start(service, leadership, object, node) {
            let why = match seen.process.map(|process| &process.phase) {
                Some(Phase::Ended(exit)) => {
                    format!("start {} again on {}: {}", seen.name(), node.name(), exit.reason)
                }
                _ => format!("start {} on {}", seen.name(), node.name()),
            };
            plan.push(seen.reference(), Step::Start(Box::new(start)), why);
        }
    }
}

/// Whether it does not run, and has waited long enough.
fn is_due(world: &World, seen: Seen<'_>) -> bool {
    match seen.process.map(|process| &process.phase) {
        None => true,
        Some(Phase::Ended(exit)) => Timestamp::from(back_off::not_before(exit)) <= world.now,
        Some(_) => false,
    }
}
