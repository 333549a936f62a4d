//! INFO, ROLE and ACL LIST, as what they mean.

use shoal_topology::Endpoint;

use super::Reply;
use crate::runtime::{Gate, Life, Link, RedisSays, Replica, Role, SentinelSays, Silence, User, Watched};

/// What a Redis says by INFO and ROLE. `gate` is what its users say, or its password.
///
/// # Errors
/// [`Silence::Strange`], with what is missing.
pub fn redis_says(info: &Reply, role: &Reply, gate: Gate) -> Result<RedisSays, Silence> {
    let info = Info::of(info)?;
    Ok(RedisSays {
        life: Life(info.text("run_id")?.to_owned()),
        version: info.text("redis_version")?.to_owned(),
        gate,
        role: role_of(role)?,
        loading: info.number("loading")? != 0,
        replication_id: info.text("master_replid").or_else(|_| info.text("run_id"))?.to_owned(),
        offset: offset(&info, role)?,
        keys: info.keys(),
        used_memory: info.number("used_memory")?,
        maxmemory: info.number("maxmemory").unwrap_or(0),
    })
}

/// What a Sentinel says by INFO.
///
/// # Errors
/// [`Silence::Strange`], with what is missing.
pub fn sentinel_says(info: &Reply) -> Result<SentinelSays, Silence> {
    let info = Info::of(info)?;
    let lines = info.0.lines().filter(|line| line.starts_with("master") && line.contains(":name="));
    Ok(SentinelSays {
        life: Life(info.text("run_id")?.to_owned()),
        version: info.text("redis_version")?.to_owned(),
        tilt: info.number("sentinel_tilt")? != 0,
        watches: lines.map(watched).collect::<Result<_, _>>()?,
    })
}

/// Whether the gate is open, by what ACL LIST says of those whom it holds out: open when all of them are on.
#[must_use]
pub fn gate_of(acl_list: &Reply, users: &[User]) -> Gate {
    let lines = acl_list.elements().unwrap_or_default();
    let on = |user: &&User| {
        let begin = format!("user {} on ", user.name);
        lines.iter().any(|line| line.text().is_some_and(|text| text.starts_with(&begin)))
    };
    let mut gated = users.iter().filter(|user| user.access.gated()).peekable();
    if gated.peek().is_some() && gated.all(|user| on(&user)) { Gate::Open } else { Gate::Closed }
}

/// The text of INFO.
struct Info<'a>(&'a str);

impl<'a> Info<'a> {
    fn of(reply: &'a Reply) -> Result<Self, Silence> {
        match reply {
            Reply::Text(text) => Ok(Self(text)),
            Reply::Error(words) => Err(Silence::Strange(format!("it answers INFO by: {words}"))),
            _ => Err(Silence::Strange("it answers INFO by something else than a text".to_owned())),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str, Silence> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| *key == name);
        found.map(|(_, value)| value).ok_or_else(|| Silence::Strange(format!("its INFO has no {name}")))
    }

    fn number(&self, name: &str) -> Result<u64, Silence> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Silence::Strange(format!("its INFO has {name}:{text}, which is no number")))
    }

    /// Of all databases: `db0:keys=3,expires=0,avg_ttl=0`.
    fn keys(&self) -> u64 {
        let databases = self
            .0
            .lines()
            .filter(|line| line.starts_with("db"))
            .filter_map(|line| line.split_once(":keys=")?.1.split(',').next()?.parse::<u64>().ok());
        databases.sum()
    }
}

/// ROLE: `master offset [[host port offset]…]`, `slave host port state offset`.
fn role_of(role: &Reply) -> Result<Role, Silence> {
    let strange = || Silence::Strange(format!("it answers ROLE by {role:?}"));
    let elements = role.elements().ok_or_else(strange)?;
    match (elements.first().and_then(Reply::text), elements) {
        (Some("master"), [_, _, replicas]) => {
            let replicas = replicas.elements().ok_or_else(strange)?;
            let replica = |entry: &Reply| {
                let words = entry.elements()?;
                let [host, port, offset] = words else { return None };
                Some(Replica {
                    address: endpoint(host.text()?, port.text()?.parse().ok()?),
                    offset: offset.text()?.parse().ok()?,
                })
            };
            let replicas = replicas.iter().map(replica).collect::<Option<Vec<_>>>().ok_or_else(strange)?;
            Ok(Role::Primary { replicas })
        }
        (Some("slave"), [_, host, Reply::Integer(port), state, ..]) => {
            let port = u16::try_from(*port).map_err(|_| strange())?;
            let link = match state.text() {
                Some("connected") => Link::Up,
                Some("sync") => Link::Syncing,
                _ => Link::Down,
            };
            Ok(Role::Replica { of: endpoint(host.text().ok_or_else(strange)?, port), link })
        }
        _ => Err(strange()),
    }
}

/// A primary's own, a replica's as far as it got; one whose link is down still knows what it has.
fn offset(info: &Info<'_>, role: &Reply) -> Result<u64, Silence> {
    let replica =
        role.elements().and_then(|elements| elements.first()).and_then(Reply::text) == Some("slave");
    let name = if replica { "slave_repl_offset" } else { "master_repl_offset" };
    Ok(info.text(name)?.parse().unwrap_or(0))
}

/// `master0:name=demo,status=ok,address=127.0.0.1:6390,slaves=0,sentinels=1`.
fn watched(line: &str) -> Result<Watched, Silence> {
    let strange = || Silence::Strange(format!("its INFO has {line}"));
    let (_, fields) = line.split_once(':').ok_or_else(strange)?;
    let field = |name: &str| {
        let mut pairs = fields.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value).ok_or_else(strange)
    };
    Ok(Watched {
        name: field("name")?.to_owned(),
        primary: field("address")?.parse().map_err(|_| strange())?,
        up: field("status")? == "ok",
        replicas: field("slaves")?.parse().map_err(|_| strange())?,
        sentinels: field("sentinels")?.parse().map_err(|_| strange())?,
    })
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp { host: host.to_owned(), port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Access;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\nused_memory:1000\r\nmaxmemory:0\r\n\
        # Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\nmaster_replid:r1\r\nmaster_repl_offset:42\r\n\
        # Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb7:keys=2,expires=1,avg_ttl=9\r\n";

    fn text(text: &str) -> Reply {
        Reply::Text(text.to_owned())
    }

    fn read(bytes: &str) -> Reply {
        Reply::read(bytes.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_primary_with_a_replica() {
        let role =
            read("*3\r\n$6\r\nmaster\r\n:42\r\n*1\r\n*3\r\n$9\r\n127.0.1.2\r\n$4\r\n7001\r\n$2\r\n40\r\n");
        let says = redis_says(&text(INFO), &role, Gate::Open).unwrap();
        let replica = Replica { address: "127.0.1.2:7001".parse().unwrap(), offset: 40 };
        assert_eq!(says.role, Role::Primary { replicas: vec![replica] });
        assert_eq!((says.offset, says.keys, says.loading), (42, 5, false));
        assert_eq!((says.replication_id.as_str(), says.life.0.as_str()), ("r1", "abc"));
    }

    #[test]
    fn a_replica_in_each_state() {
        for (state, link) in [
            ("connect", Link::Down),
            ("connecting", Link::Down),
            ("sync", Link::Syncing),
            ("connected", Link::Up),
        ] {
            let role = Reply::Array(vec![
                text("slave"),
                text("127.0.1.1"),
                Reply::Integer(7000),
                text(state),
                Reply::Integer(-1),
            ]);
            let info = INFO.replace("role:master", "role:slave\r\nslave_repl_offset:17");
            let says = redis_says(&text(&info), &role, Gate::Closed).unwrap();
            assert_eq!(says.role, Role::Replica { of: "127.0.1.1:7000".parse().unwrap(), link });
            assert_eq!(says.offset, 17);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let role = read("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
        let silence = redis_says(&text("redis_version:7\r\n"), &role, Gate::Open).unwrap_err();
        assert_eq!(silence, Silence::Strange("its INFO has no run_id".to_owned()));
        let loading = Reply::Error("LOADING Redis is loading".to_owned());
        let silence = redis_says(&loading, &role, Gate::Open).unwrap_err();
        assert!(matches!(silence, Silence::Strange(why) if why.contains("LOADING")));
    }

    #[test]
    fn the_gate_is_open_when_all_whom_it_holds_out_are_on() {
        let user = |name: &str, access| User { name: name.to_owned(), credential: String::new(), access };
        let users = [user("p", Access::Platform), user("t", Access::Tenant), user("r", Access::Replica)];
        let list = |t: &str, r: &str| {
            let lines = ["user p on #1 +@all".to_owned(), format!("user t {t} #2"), format!("user r {r} #3")];
            Reply::Array(lines.iter().map(|line| text(line)).collect())
        };
        assert_eq!(gate_of(&list("on", "on"), &users), Gate::Open);
        assert_eq!(gate_of(&list("on", "off"), &users), Gate::Closed);
        assert_eq!(gate_of(&list("off", "off"), &users), Gate::Closed);
        assert_eq!(gate_of(&list("on", "on"), &users[..1]), Gate::Closed, "nobody is held out");
    }

    #[test]
    fn what_a_sentinel_watches() {
        let info = "redis_version:7.0.15\r\nrun_id:s1\r\n# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:0\r\n\
            master0:name=demo-s0,status=sdown,address=127.0.1.1:7000,slaves=2,sentinels=3\r\n";
        let says = sentinel_says(&text(info)).unwrap();
        let primary = "127.0.1.1:7000".parse().unwrap();
        let watched = Watched { name: "demo-s0".to_owned(), primary, up: false, replicas: 2, sentinels: 3 };
        assert_eq!(says.watches, [watched]);
        assert!(!says.tilt);
    }
}
