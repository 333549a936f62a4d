use super::*;
use crate::quantity::Bytes;
use crate::resource::{Pool, PoolSpec};
use crate::runtime::model::Model;
use crate::runtime::{Data, Life, Stop, Target};
use crate::store::{Memory, Typed as _};
use shoal_topology::Mode;
use std::time::Duration;

#[test]
fn what_is_behind_a_refusal_waits_but_what_is_known_is_written() {
    let (store, model) = (Memory::new(), Model::new(1, 0));
    store.create(Pool::new("demo", PoolSpec::of(Mode::Cache, 1, Bytes::mib(64))).into()).unwrap();
    let mut pool: Pool = store.find("demo").unwrap().unwrap();
    pool.status.epoch = 7;
    let about = pool.reference();
    let target = Target { name: "x".to_owned(), uid: "u".to_owned(), life: Life("l".to_owned()) };
    let tell = Step::Tell { target, change: crate::runtime::Change::Open };
    let stop = Stop { grace: Duration::ZERO, data: Data::Keep };
    let stop = Step::Stop { name: "x".to_owned(), uid: "u".to_owned(), stop };
    let steps = [tell, stop, Step::Write(Box::new(pool.into()))];
    let planned = |step| Planned { about: about.clone(), step, why: String::new() };
    let plan = Plan { steps: steps.into_iter().map(planned).collect() };
    let outcome = execute(&plan, &store, &model, |_| ());
    assert_eq!(outcome.done, 1);
    let refused: Vec<usize> = outcome.refused.iter().map(|(number, _)| *number).collect();
    assert_eq!(refused, [1, 2]);
    assert!(matches!(outcome.refused[1].1, Refusal::Behind));
    assert_eq!(store.find::<PoolSpec>("demo").unwrap().unwrap().status.epoch, 7);
}
