//! Clients are spread over the workers by steering, not by luck: whatever connects and goes, the long-lived
//! connections are divided evenly.
//!
//! The answer to CLIENT ID tells a session's worker: ids of one worker have the same rest modulo their number.

use serde_json::Value;
use shoal_e2e::{Answer, FakeServer, OwnPool, OwnProxy, Proxy, RawClient, Workplace, wait};

const ROUNDS: usize = 20;
const CLIENTS: usize = 64;
/// How far a worker may be from its even share.
const GIVE_OR_TAKE: usize = 6;

struct Rig {
    workers: usize,
    proxy: OwnProxy,
    _server: FakeServer,
}

impl Rig {
    fn start(workplace: &Workplace, workers: usize) -> Self {
        let server = FakeServer::start(Answer::index(0));
        let proxy = OwnProxy::start(workplace, workers, &[OwnPool::storage("spread", &[server.addr()])]);
        Self { workers, proxy, _server: server }
    }

    fn connect(&self, count: usize) -> Vec<RawClient> {
        (0..count).map(|_| self.proxy.client("spread")).collect()
    }

    /// The worker of a client.
    fn worker(&self, client: &mut RawClient) -> usize {
        let reply = client.call(&["CLIENT", "ID"]);
        let digits = reply.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n")).expect("a number");
        let id: usize = std::str::from_utf8(digits).expect("digits").parse().expect("a number");
        id % self.workers
    }

    fn demand_even(&self, clients: &mut [RawClient], when: &str) {
        let mut counts = vec![0; self.workers];
        for client in clients.iter_mut() {
            counts[self.worker(client)] += 1;
        }
        let share = clients.len() / self.workers;
        let even = counts.iter().all(|&count: &usize| count.abs_diff(share) <= GIVE_OR_TAKE);
        assert!(even, "{when}: {counts:?} clients on the workers");
    }

    /// Waits until the proxy has noticed who has gone.
    fn wait_for_sessions(&self, count: usize) {
        wait::until("the proxy sees clients go", || {
            let stats: Value = serde_json::from_slice(&self.proxy.stats()).expect("JSON");
            (stats["spread"]["client_connections"] == count).then_some(())
        });
    }
}

fn fresh_connections_are_even(workers: usize) {
    let workplace = Workplace::new();
    let rig = Rig::start(&workplace, workers);
    for round in 0..ROUNDS {
        let mut clients = rig.connect(CLIENTS);
        rig.demand_even(&mut clients, &format!("round {round}"));
        drop(clients);
        rig.wait_for_sessions(0);
    }
}

#[test]
fn two_workers_share_evenly() {
    fresh_connections_are_even(2);
}

#[test]
fn four_workers_share_evenly() {
    fresh_connections_are_even(4);
}

#[test]
fn fresh_processes_share_evenly() {
    let workplace = Workplace::new();
    for round in 0..ROUNDS {
        let rig = Rig::start(&workplace, 2);
        let mut clients = rig.connect(CLIENTS);
        rig.demand_even(&mut clients, &format!("process {round}"));
    }
}

#[test]
fn what_one_worker_loses_it_is_given_again() {
    let workplace = Workplace::new();
    for workers in [2, 4] {
        let rig = Rig::start(&workplace, workers);
        let mut clients = rig.connect(CLIENTS);
        for round in 0..ROUNDS {
            let emptied = round % workers;
            clients.retain_mut(|client| rig.worker(client) != emptied);
            assert!(clients.len() < CLIENTS, "worker {emptied} had nobody");
            rig.wait_for_sessions(clients.len());
            clients.extend(rig.connect(CLIENTS - clients.len()));
            rig.demand_even(&mut clients, &format!("after all of worker {emptied} had gone"));
        }
    }
}

#[test]
fn short_lived_clients_between_do_not_tip_it() {
    let workplace = Workplace::new();
    for workers in [2, 4] {
        let rig = Rig::start(&workplace, workers);
        for round in 0..ROUNDS {
            let mut long_lived = Vec::new();
            for nth in 0..CLIENTS {
                long_lived.push(rig.proxy.client("spread"));
                // Some are gone before the next connects, some at about the same time, some only after.
                let mut passing = rig.connect(nth % 3);
                if nth % 2 == 0 {
                    passing.iter_mut().for_each(|client| drop(client.call(&["PING"])));
                }
                drop(passing);
                // A worker that gets no time sees nobody go, and counts for fuller than it is.
                if nth % 8 == 7 {
                    rig.wait_for_sessions(nth + 1);
                }
            }
            rig.demand_even(&mut long_lived, &format!("round {round} amid passing clients"));
            drop(long_lived);
            rig.wait_for_sessions(0);
        }
    }
}
