//! What goes: processes first, their objects after them, the service last.

use std::time::Duration;

use super::{Plan, Step};
use crate::resource::Resource;
use crate::runtime::{Data, Stop};
use crate::service::Service;
use crate::world::{Seen, World};

/// Who holds an object until its processes are gone.
pub const FINALIZER: &str = "shoal.dev/processes";

/// How long a process may take to end by itself: a Redis that persists writes its data down.
const GRACE: Duration = Duration::from_secs(10);

/// Plans the end of a service whose deletion was asked for; returns whether it was.
pub(super) fn plan(world: &World, service: &Service, plan: &mut Plan) -> bool {
    if !service.metadata().is_deleted() {
        return false;
    }
    let mut left = 0;
    for seen in world.instances_of(&service.owner()) {
        left += 1;
        retire(world, seen, &format!("the {} {} is deleted", service.kind(), service.name()), plan);
    }
    if left == 0 {
        let mut released = service.clone();
        released.metadata_mut().finalizers.retain(|finalizer| finalizer != FINALIZER);
        let why = format!("let {} {} go: nothing of it runs any more", service.kind(), service.name());
        plan.push(service.reference(), Step::Write(Box::new(released.into_resource())), why);
    }
    true
}

/// One step more towards an instance's end.
pub(super) fn retire(world: &World, seen: Seen<'_>, because: &str, plan: &mut Plan) {
    let (object, name) = (seen.object, seen.name());
    let about = seen.reference();
    if !object.metadata.is_deleted() {
        let why = format!("mark {name} to go: {because}");
        return plan.push(about, Step::Delete(Box::new(Resource::Instance(object.clone()))), why);
    }
    if seen.process.is_some() {
        let (name, uid) = (name.to_owned(), object.metadata.uid.0.clone());
        let why = format!("end {name} and remove its data: {because}");
        return plan.push(
            about,
            Step::Stop { name, uid, stop: Stop { grace: GRACE, data: Data::Remove } },
            why,
        );
    }
    // A node that is down cannot say what it has: the object stays until it can, or until the node itself is deleted.
    let is_out_of_sight = object.spec.node.as_deref().is_some_and(|node| world.node_down(node).is_some());
    if !is_out_of_sight {
        let mut released = object.clone();
        released.metadata.finalizers.retain(|finalizer| finalizer != FINALIZER);
        let why = format!("let {name} go: its process is gone");
        plan.push(about, Step::Write(Box::new(Resource::Instance(released))), why);
    }
}
