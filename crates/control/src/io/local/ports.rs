//! Ports of a node's address: chosen once, kept for ever.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use super::process;
use crate::runtime::Refused;

/// The first port of a node that no instance has and nobody listens on.
pub(super) fn choose(
    name: &str,
    node: IpAddr,
    range: RangeInclusive<u16>,
    taken: &BTreeSet<SocketAddr>,
) -> Result<SocketAddr, Refused> {
    let free = |address: &SocketAddr| !taken.contains(address) && TcpListener::bind(address).is_ok();
    let mut all = range.clone().map(|port| SocketAddr::new(node, port));
    if let Some(address) = all.find(free) {
        return Ok(address);
    }
    // Is it the ports, or the address itself?
    if let Err(error) = TcpListener::bind((node, 0)) {
        return Err(Refused::Invalid {
            name: name.to_owned(),
            field: "node.address".to_owned(),
            why: format!(
                "nobody can listen on {node} here ({error}): it must be an address of this machine, such as 127.0.1.1"
            ),
        });
    }
    let why = format!("all of {} to {} of {node} are taken", range.start(), range.end());
    Err(Refused::Invalid { name: name.to_owned(), field: "port".to_owned(), why })
}

/// Refuses a port that somebody else listens on, and says who.
pub(super) fn check(name: &str, address: SocketAddr) -> Result<(), Refused> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(Refused::PortTaken { name: name.to_owned(), address, by: holder(address) })
        }
        Err(error) => Err(Refused::Invalid {
            name: name.to_owned(),
            field: "node.address".to_owned(),
            why: format!("nobody can listen on {address} here: {error}"),
        }),
    }
}

/// Who listens on a port, as far as /proc tells.
fn holder(address: SocketAddr) -> String {
    match listener_inode(address).and_then(owner_of_socket) {
        Some(pid) => process::shown(pid),
        None => "a process that this user may not look at (`ss -ltnp` as root names it)".to_owned(),
    }
}

/// The number of the socket that listens at the address, or at its port on all addresses.
fn listener_inode(address: SocketAddr) -> Option<u64> {
    let listening = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let mut found = None;
    for text in texts {
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) = (columns.get(1), columns.get(3), columns.get(9))
            else {
                continue;
            };
            let Some((host, port)) = local.split_once(':') else { continue };
            if *state != listening || u16::from_str_radix(port, 16) != Ok(address.port()) {
                continue;
            }
            let all = host.bytes().all(|byte| byte == b'0');
            if host == hex_host(address.ip()) || all {
                found = inode.parse().ok().or(found);
            }
        }
    }
    found
}

/// As the kernel prints addresses there: each four bytes as one number in the machine's own order.
fn hex_host(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]));
    words.map(|word| format!("{word:08X}")).collect()
}

fn owner_of_socket(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let mut links = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        if links.any(|link| link.as_os_str() == wanted.as_str()) {
            return Some(pid);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_port_is_named() {
        let listener = TcpListener::bind("127.0.1.77:0").unwrap();
        let refused = check("demo-s0-r0", listener.local_addr().unwrap()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} (", std::process::id())), "{refused}");
        assert!(refused.contains("choose another port for demo-s0-r0"), "{refused}");
    }

    #[test]
    fn chosen_ports_are_free_and_nobody_else_s() {
        let listener = TcpListener::bind("127.0.1.77:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let node: IpAddr = "127.0.1.77".parse().unwrap();
        let (Some(next), Some(last)) = (port.checked_add(1), port.checked_add(40)) else { return };
        let taken = BTreeSet::from([SocketAddr::new(node, next)]);
        let chosen = choose("x", node, port..=last, &taken).unwrap();
        assert!(chosen.port() > next, "{chosen}");
        let refused = choose("x", node, port..=port, &taken).unwrap_err().to_string();
        assert!(refused.contains("are taken"), "{refused}");
        let elsewhere =
            choose("x", "192.0.2.1".parse().unwrap(), port..=port, &taken).unwrap_err().to_string();
        assert!(elsewhere.contains("such as 127.0.1.1"), "{elsewhere}");
    }
}
