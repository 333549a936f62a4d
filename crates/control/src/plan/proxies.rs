//! What a pool's proxies serve: when another primary was named, they are told.

use super::leadership::Leadership;
use super::{Plan, Step, starting};
use crate::runtime::{Change, Observed, Phase, Says, Target};
use crate::service::Service;
use crate::world::World;

/// Plans what proxies are told.
pub(super) fn plan(world: &World, service: &Service, leadership: &Leadership, plan: &mut Plan) {
    let Some((epoch, pool)) = starting::served(service, leadership) else { return };
    for seen in world.instances_of(&service.owner()) {
        let Some(Observed { phase: Phase::Running, says: Says::Proxy(says), .. }) = seen.process else {
            continue;
        };
        if says.epoch < epoch {
            let (name, uid) = (seen.name().to_owned(), seen.object.metadata.uid.0.clone());
            let why = format!("have {name} serve layout {epoch} in place of {}", says.epoch);
            let target = Target { name, uid, life: says.life.clone() };
            let upstream = Some(starting::proxy(service));
            let change = Change::Pool { epoch, pool: Box::new(pool.clone()), upstream };
            plan.push(seen.reference(), Step::Tell { target, change }, why);
        }
    }
}
