//! Today's clients, unchanged and with default settings, through the proxy: each under both kinds of
//! configuration, and against Redis itself, which shows that what a session demands is true.
//!
//! ```text
//!   clients/python/session.py, clients/node/*.mjs  ─┐             ┌ shoal proxy --nutcracker nutcracker.yml ┐
//!   redis_rs.rs                                     ├─▶ Way ────▶ ┼ shoal proxy --config proxy.yml          ┼─▶ 4 redis-server
//!   redis-benchmark, redis-cli (redis_tools.rs)    ─┘             └ (nothing between)                       ┘
//! ```
//!
//! `tools/setup-clients` installs what the scripts need; without it these tests fail and say so.
//! What a client sends on connecting stands in `clients/README.md`.

#[path = "clients/idioms_redis_rs.rs"]
mod idioms_redis_rs;
#[path = "clients/redis_rs.rs"]
mod redis_rs;
#[path = "clients/redis_tools.rs"]
mod redis_tools;
#[path = "clients/scripts.rs"]
mod scripts;
#[path = "clients/way.rs"]
mod way;

use way::Way;

/// A module for each client, a test in it for each way to Redis.
macro_rules! each_way {
    ($($client:ident => $module:ident::$session:ident;)*) => {$(
        mod $client {
            use super::{Way, $module};

            #[test]
            fn under_nutcracker_yml() {
                $module::$session(&Way::nutcracker_yml());
            }

            #[test]
            fn under_proxy_yml() {
                $module::$session(&Way::proxy_yml());
            }

            #[test]
            fn on_redis_itself() {
                $module::$session(&Way::redis_itself());
            }
        }
    )*};
}

each_way! {
    redis_py_5 => scripts::redis_py_5;
    redis_py_newest => scripts::redis_py_newest;
    ioredis => scripts::ioredis;
    node_redis => scripts::node_redis;
    redis_rs_resp2 => redis_rs::resp2;
    redis_rs_resp3 => redis_rs::resp3;
    redis_benchmark => redis_tools::benchmark;
    redis_cli => redis_tools::cli;
}

/// Idioms whose keys have one hash tag, and job queues: over shards where they can be told to keep to one tag, on one shard
/// where they cannot.
macro_rules! own_ways {
    ($($client:ident => $module:ident::$session:ident on $way:ident;)*) => {$(
        mod $client {
            use super::{Way, $module};

            #[test]
            fn through_the_proxy() {
                $module::$session(&Way::$way());
            }

            #[test]
            fn on_redis_itself() {
                $module::$session(&Way::redis_itself());
            }
        }
    )*};
}

own_ways! {
    redis_py_5_idioms => scripts::redis_py_5_idioms on tagged;
    redis_py_newest_idioms => scripts::redis_py_newest_idioms on tagged;
    redis_py_newest_cache => scripts::redis_py_newest_cache on tagged;
    ioredis_idioms => scripts::ioredis_idioms on tagged;
    node_redis_idioms => scripts::node_redis_idioms on tagged;
    redis_rs_idioms => idioms_redis_rs::session on tagged;
    rq => scripts::rq on one_shard;
    celery => scripts::celery on tagged;
    bullmq => scripts::bullmq on tagged;
}
