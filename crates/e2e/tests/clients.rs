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
