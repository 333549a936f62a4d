//! Large values pass through TLS on both sides, and little of them is kept.

use shoal_e2e::Proxy;
use shoal_e2e::raw_client::encode;

use crate::Ground;
use crate::servers::{TlsServer, server_tls};

const MIB: usize = 1024 * 1024;

/// Bytes of the value.
const SIZE: usize = 64 * MIB;

/// What the proxy may keep of a value on its way.
const EXTRA_MAX: usize = 16 * MIB;

#[test]
fn a_large_value_passes_through_each_way() {
    let ground = Ground::new();
    let server = TlsServer::start(&ground, &ground.own, false);
    let settings = server_tls(&ground, "");
    let (proxy, addr) = ground.proxy(&[server.addr], "", |pool| pool.key("server_tls", &settings));
    let value: Vec<u8> = (0..SIZE / 8).flat_map(|number| (number as u64).to_le_bytes()).collect();
    let folder = format!("/proc/{}", proxy.pid());
    let line = |name: &str| {
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("the proxy runs");
        let line = status.lines().find_map(|text| text.strip_prefix(name)).expect("a line of memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    };
    let mut client = ground.connect(addr);
    assert_eq!(client.call(&["PING"]), "+PONG\r\n");
    std::fs::write(format!("{folder}/clear_refs"), "5").expect("one's own process");
    let before = line("VmRSS:");

    client.send(format!("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n${SIZE}\r\n").as_bytes()).unwrap();
    client.send(&value).unwrap();
    client.send(b"\r\n").unwrap();
    let mut reply = [0; 5];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+OK\r\n");
    let set = line("VmHWM:").saturating_sub(before);

    // Another session asks between, and is answered before the value is read.
    client.send(&encode(&["GET", "large"])).unwrap();
    assert_eq!(ground.connect(addr).call(&["STRLEN", "large"]), format!(":{SIZE}\r\n"));
    let mut begin = vec![0; format!("${SIZE}\r\n").len()];
    client.read_exact(&mut begin).unwrap();
    let mut chunk = vec![0; MIB];
    for expected in value.chunks(MIB) {
        client.read_exact(&mut chunk).unwrap();
        assert!(chunk == expected, "the value comes as it went");
    }
    let get = line("VmHWM:").saturating_sub(before);
    assert!(set <= EXTRA_MAX && get <= EXTRA_MAX, "{set} and {get} bytes more were resident");
}
