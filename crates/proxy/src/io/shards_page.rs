//! The admin port's word on shards: `GET /shards` says which are in, `POST /return/<pool>/<shard>` lets one in by hand.

use shoal_telemetry::http::Response;

use super::observed::Observed;
use crate::following::shard::Primary;

/// One line for each shard: pool, name, address, and whether it is in.
pub fn list(observed: &Observed) -> Response {
    let mut text = String::new();
    for pool in &observed.pools {
        let live = pool.health.live();
        for &server in &pool.order {
            let shard = &pool.settings.pool.shards[server];
            let state = match (live[server], pool.health.is_held_back(server)) {
                (true, _) => "in",
                (false, false) => "out",
                (false, true) => "held back: see the log for what it refuses, and what to do",
            };
            let (pool_name, name, address) = (&pool.settings.pool.name, &shard.name, &shard.primary);
            text.push_str(&match pool.settings.followed(server) {
                Some(followed) if followed.primary != Primary::Known => {
                    format!(
                        "{pool_name} {name} none {}: {}\n",
                        followed.primary.name(),
                        followed.status.remark()
                    )
                }
                _ => format!("{pool_name} {name} {address} {state}\n"),
            });
        }
    }
    Response::text(200, text)
}

/// Lets the shard named by `<pool>/<shard>` in with what it holds, as soon as it answers.
pub fn let_in(observed: &Observed, named: &str) -> Response {
    let found = observed.pools.iter().find_map(|pool| {
        let shard = named.strip_prefix(pool.settings.pool.name.as_str())?.strip_prefix('/')?;
        let server = pool.settings.pool.shards.iter().position(|known| known.name == shard)?;
        Some((pool, server))
    });
    match found {
        None => Response::text(404, "no such shard; GET /shards lists them\n"),
        Some((pool, server)) if pool.health.let_in_by_hand(server) => {
            Response::text(202, "it returns with what it holds, as soon as it answers\n")
        }
        Some(_) => Response::text(409, "it is in\n"),
    }
}
