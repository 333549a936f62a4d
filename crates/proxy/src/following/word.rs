//! What is asked of sentinels and instances, and what their answers say.

use shoal_resp::encode;
use shoal_topology::Endpoint;

use crate::returning::reply::Reply;

/// What a sentinel says of the shard, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The configuration epoch: each failover has a greater one.
    pub epoch: u64,
    /// The primary under that epoch.
    pub address: Endpoint,
    /// The replica that the sentinel is making the primary at this moment.
    pub promoted: Option<Endpoint>,
    /// Whether the sentinel is about to make another one the primary, or believes that it is gone.
    pub unsettled: bool,
}

/// Replies to [`ask_sentinel`].
pub const SENTINEL_REPLIES: usize = 4;

/// What a sentinel is asked. The epoch is asked for twice: only if it is the same before and after the address, the two
/// belong together.
pub fn ask_sentinel(watched_as: &str) -> Vec<u8> {
    let mut requests = Vec::new();
    let name = watched_as.as_bytes();
    encode::command(&mut requests, &[b"SENTINEL", b"MASTER", name]);
    encode::command(&mut requests, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name]);
    encode::command(&mut requests, &[b"SENTINEL", b"REPLICAS", name]);
    encode::command(&mut requests, &[b"SENTINEL", b"MASTER", name]);
    requests
}

/// What an instance is asked; one reply.
pub fn ask_instance() -> Vec<u8> {
    let mut request = Vec::new();
    encode::command(&mut request, &[b"ROLE"]);
    request
}

impl Report {
    /// Reads the replies to [`ask_sentinel`].
    ///
    /// # Errors
    /// A sentence; the sentinel's own words if it refuses.
    pub fn read(replies: &[Reply]) -> Result<Report, String> {
        if let Some(Reply::Error(words)) = replies.iter().find(|reply| matches!(reply, Reply::Error(_))) {
            return Err(words.clone());
        }
        let [before, address, replicas, after] = replies else {
            return Err("it answers too little".to_owned());
        };
        let epoch = |of: &Reply| field(of, "config-epoch")?.parse::<u64>().ok();
        let Some(known) = epoch(before) else { return Err("it tells no config-epoch".to_owned()) };
        if epoch(after) != Some(known) {
            return Err("its configuration changed while it was asked".to_owned());
        }
        let Reply::List(address) = address else { return Err("it knows no address".to_owned()) };
        let [host, port] = &address[..] else { return Err("it tells no address".to_owned()) };
        let address = endpoint(host.text(), port.text()).ok_or("it tells an address that is none")?;
        let flags = field(after, "flags").unwrap_or_default();
        let has = |flag: &str| flags.split(',').any(|own| own == flag);
        let Reply::List(replicas) = replicas else { return Err("it tells no replicas".to_owned()) };
        let promoted = replicas.iter().find(|replica| {
            field(replica, "flags").is_some_and(|flags| flags.split(',').any(|flag| flag == "promoted"))
        });
        let promoted = promoted
            .filter(|_| has("failover_in_progress"))
            .and_then(|replica| endpoint(field(replica, "ip"), field(replica, "port")));
        let unsettled = ["failover_in_progress", "s_down", "o_down"].into_iter().any(has);
        Ok(Report { epoch: known, address, promoted, unsettled })
    }
}

/// Whether the reply to [`ask_instance`] is a primary's.
///
/// # Errors
/// A sentence; the instance's own words if it refuses.
pub fn is_primary(reply: &Reply) -> Result<bool, String> {
    match reply {
        Reply::Error(words) => Err(words.clone()),
        // The wire's own word for a primary.
        Reply::List(words) => match words.first().and_then(Reply::text) {
            Some("master") => Ok(true),
            Some(_) => Ok(false),
            None => Err("it tells no role".to_owned()),
        },
        _ => Err("it tells no role".to_owned()),
    }
}

fn field<'r>(of: &'r Reply, name: &str) -> Option<&'r str> {
    let Reply::List(words) = of else { return None };
    words.chunks_exact(2).find(|pair| pair[0].text() == Some(name)).and_then(|pair| pair[1].text())
}

fn endpoint(host: Option<&str>, port: Option<&str>) -> Option<Endpoint> {
    let (host, port) = (host?, port?);
    // What came from a stranger is no address before it was read as one.
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().ok().filter(|endpoint| matches!(endpoint, Endpoint::Tcp { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.to_owned())
    }

    fn fields(pairs: &[(&str, &str)]) -> Reply {
        Reply::List(pairs.iter().flat_map(|(name, value)| [text(name), text(value)]).collect())
    }

    fn replies(epochs: [&str; 2], flags: &str, replica_flags: &str) -> Vec<Reply> {
        let primary = |epoch| fields(&[("name", "m"), ("flags", flags), ("config-epoch", epoch)]);
        let replica = fields(&[("ip", "10.0.0.2"), ("port", "2"), ("flags", replica_flags)]);
        let address = Reply::List(vec![text("10.0.0.1"), text("1")]);
        vec![primary(epochs[0]), address, Reply::List(vec![replica]), primary(epochs[1])]
    }

    #[test]
    fn a_report_is_one_moment_s() {
        let report = Report::read(&replies(["7", "7"], "master", "slave")).unwrap();
        let address = "10.0.0.1:1".parse().unwrap();
        assert_eq!(report, Report { epoch: 7, address, promoted: None, unsettled: false });
        assert!(Report::read(&replies(["7", "8"], "master", "slave")).unwrap_err().contains("changed"));
    }

    #[test]
    fn a_replica_is_promoted_only_while_a_failover_is_under_way() {
        let promoted = |flags| Report::read(&replies(["7", "7"], flags, "slave,promoted")).unwrap().promoted;
        assert_eq!(promoted("master,failover_in_progress"), "10.0.0.2:2".parse().ok());
        assert_eq!(promoted("master"), None);
        let down = Report::read(&replies(["7", "7"], "s_down,o_down,master", "slave")).unwrap();
        assert!(down.unsettled && down.promoted.is_none());
    }

    #[test]
    fn what_is_no_report_is_refused_in_words() {
        let unknown = Reply::Error("ERR No such master with that name".to_owned());
        assert_eq!(Report::read(&vec![unknown; 4]).unwrap_err(), "ERR No such master with that name");
        let mut odd = replies(["7", "7"], "master", "slave");
        odd[1] = Reply::List(vec![text("a b"), text("99999")]);
        assert!(Report::read(&odd).unwrap_err().contains("address that is none"));
        for hostile in [vec![], vec![Reply::Null; 4], vec![Reply::List(vec![]); 4], vec![text(""); 9]] {
            assert!(Report::read(&hostile).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_report_or_refused(
            bytes in proptest::collection::vec(
                proptest::sample::select(b"*:$+-_\r\n0123456789config-epochflags".to_vec()), 0..200),
        ) {
            if let Ok(Some((reply, _))) = Reply::read(&bytes) {
                let _ = (is_primary(&reply), Report::read(&vec![reply; SENTINEL_REPLIES]));
            }
        }
    }

    #[test]
    fn a_role_is_the_first_word() {
        assert_eq!(is_primary(&Reply::List(vec![text("master"), Reply::Integer(5)])), Ok(true));
        assert_eq!(is_primary(&Reply::List(vec![text("slave")])), Ok(false));
        assert!(is_primary(&Reply::Null).is_err() && is_primary(&Reply::Error("NOAUTH".into())).is_err());
    }
}
