//! A primary and its replica, which gets the stream by a link that can be cut: then it lags.

use shoal_e2e::{Link, OwnPool, OwnProxy, Proxy, RawClient, RedisServer, Workplace, wait};

pub const POOL: &str = "demo";

/// In the order in which they are to end.
pub struct Pair {
    pub proxy: OwnProxy,
    pub link: Link,
    pub primary: RedisServer,
    pub replica: RedisServer,
    _workplace: Workplace,
}

impl Pair {
    /// A proxy of two workers with a pool of this `durability`, and a replica that has all that its primary has.
    pub fn start(durability: &str) -> Self {
        let workplace = Workplace::new();
        // A pop that waited must not look acknowledged for the reason that PINGs to the replica have moved the offset.
        let options = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600"];
        let primary = RedisServer::start(&workplace, &options);
        let link = Link::to(primary.addr());
        let port = link.addr().port().to_string();
        let replica = RedisServer::start(&workplace, &["--replicaof", "127.0.0.1", &port]);
        let mut asked = replica.client();
        wait::until("the replica's first sync", || {
            asked.info("master_link_status").filter(|status| status == "up").map(drop)
        });
        let mut asked = primary.client();
        wait::until("the primary to know its replica", || {
            asked.info("slave0").filter(|replica| replica.contains("state=online")).map(drop)
        });
        let pool = OwnPool::storage(POOL, &[primary.addr()]).key("durability", durability);
        let proxy = OwnProxy::start(&workplace, 2, &[pool]);
        Self { proxy, link, primary, replica, _workplace: workplace }
    }

    /// A client of the pool.
    #[track_caller]
    pub fn client(&self) -> RawClient {
        self.proxy.client(POOL)
    }

    /// The sum of a counter over shards and workers.
    pub fn counter(&self, name: &str) -> u64 {
        let (_, metrics) = self.proxy.get("/metrics");
        let samples = metrics.lines().filter(|line| line.starts_with(name));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    /// Bytes of the stream that the primary has written and the replica has not confirmed.
    pub fn lag(&self, primary: &mut RawClient) -> u64 {
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        let written = number(primary.info("master_repl_offset"));
        let replica = primary.info("slave0").unwrap_or_default();
        let confirmed =
            number(replica.split(',').find_map(|part| part.strip_prefix("offset=")).map(str::to_owned));
        written.zip(confirmed).map_or(0, |(written, confirmed)| written.saturating_sub(confirmed))
    }
}

/// How many keys there are.
pub fn size(client: &mut RawClient) -> usize {
    let reply = String::from_utf8(client.call(&["DBSIZE"])).expect("a number");
    reply.trim_start_matches(':').trim_end().parse().expect("a number")
}
