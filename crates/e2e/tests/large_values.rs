//! Large values through a proxy of ours, with real servers: they pass through, and hurt nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use shoal_e2e::raw_client::encode;
use shoal_e2e::sharded::value;
use shoal_e2e::{OwnPool, Proxy, Sharded};

const MIB: usize = 1024 * 1024;

/// What the proxy may keep of a value on its way.
const EXTRA_MAX: usize = 16 * MIB;

fn demo(keys: usize, stall: &str) -> Sharded {
    let demo = Sharded::start(2, 1, keys, |addrs| {
        OwnPool::storage("demo", addrs).key("client_stall_timeout", stall)
    });
    for server in &demo.servers {
        let said = server.client().call(&["CONFIG", "SET", "proto-max-bulk-len", "1gb"]);
        assert_eq!(said, b"+OK\r\n");
    }
    demo
}

/// A value of which every part differs from every other.
fn pattern(size: usize) -> Vec<u8> {
    (0..size / 8).flat_map(|number| (number as u64).to_le_bytes()).collect()
}

/// Memory of the proxy, in bytes.
struct Memory(std::path::PathBuf);

impl Memory {
    fn of(demo: &mut Sharded) -> Self {
        Self(format!("/proc/{}", demo.proxy.process().pid()).into())
    }

    fn resident(&self) -> usize {
        self.line("VmRSS:")
    }

    /// The most that was resident since the last [`Memory::forget_peak`].
    fn peak(&self) -> usize {
        self.line("VmHWM:")
    }

    /// What is resident now.
    fn forget_peak(&self) -> usize {
        std::fs::write(self.0.join("clear_refs"), "5").expect("one's own process");
        self.resident()
    }

    fn line(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(self.0.join("status")).expect("the proxy runs");
        let line = status.lines().find_map(|text| text.strip_prefix(name)).expect("a line of memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }
}

#[test]
fn half_a_gigabyte_passes_through_each_way() {
    let mut demo = demo(1, "1000");
    let value = pattern(512 * MIB);
    let header = format!("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n${}\r\n", value.len());
    let addr = demo.proxy.addr("demo");
    let memory = Memory::of(&mut demo);
    let before = memory.forget_peak();

    let mut socket = TcpStream::connect(addr).unwrap();
    socket.write_all(header.as_bytes()).unwrap();
    socket.write_all(&value).unwrap();
    socket.write_all(b"\r\n").unwrap();
    let mut reply = [0; 5];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+OK\r\n");
    let set = memory.peak() - before;

    socket.write_all(&encode(&["GET", "large"])).unwrap();
    let mut begin = vec![0; format!("${}\r\n", value.len()).len()];
    socket.read_exact(&mut begin).unwrap();
    let mut chunk = vec![0; MIB];
    for expected in value.chunks(MIB) {
        socket.read_exact(&mut chunk).unwrap();
        assert!(chunk == expected, "the value comes as it went");
    }
    let get = memory.peak() - before;
    assert!(set <= EXTRA_MAX && get <= EXTRA_MAX, "{set} and {get} bytes more were resident");
}

#[test]
fn a_large_value_goes_to_its_shard_among_small_ones() {
    let demo = demo(200, "1000");
    let keys = demo.keys(0, true);
    let mut client = demo.client();
    for (turn, size) in [64 * 1024, 100_000, 3 * MIB, 65_537].into_iter().enumerate() {
        let key = format!("large{turn}");
        let text = pattern(size);
        let words: [&[u8]; 3] = [b"SET", key.as_bytes(), &text];
        let mut pipeline = encode(&["GET", &keys[0]]);
        pipeline.extend(encode(&words));
        pipeline.extend(encode(&["STRLEN", &key]));
        pipeline.extend(encode(&["GET", &key]));
        pipeline.extend(encode(&["APPEND", &key, "x"]));
        pipeline.extend(encode(&["DEL", &key]));
        client.send(&pipeline);
        let stored = text.len();
        client.expect(&value(&keys[0]));
        client.expect(b"+OK\r\n");
        client.expect(format!(":{stored}\r\n").as_bytes());
        client.expect(&[format!("${stored}\r\n").as_bytes(), &text, b"\r\n"].concat());
        client.expect(format!(":{}\r\n:1\r\n", stored + 1).as_bytes());
    }
}

#[test]
fn a_client_that_never_reads_hurts_itself_alone() {
    let mut demo = demo(200, "300");
    let mut writer = demo.client();
    let text = "v".repeat(4 * MIB);
    for number in 0..16 {
        assert_eq!(writer.call(&["SET", &format!("large{number}"), &text]), b"+OK\r\n");
    }
    let keys: Vec<String> = demo.homes.keys().cloned().collect();
    let memory = Memory::of(&mut demo);
    let before = memory.forget_peak();

    // 512 MiB are asked for, and nothing of it is read.
    let mut idle: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(demo.proxy.addr("demo")).unwrap()).collect();
    for socket in &mut idle {
        let gets: Vec<u8> = (0..16).flat_map(|turn| encode(&["GET", &format!("large{turn}")])).collect();
        socket.write_all(&gets).unwrap();
    }
    let mut client = demo.client();
    for _ in 0..200 {
        demo.expect(&mut client, &keys);
    }
    let extra = memory.peak().saturating_sub(before);
    // Each may be owed what session::OWED_MAX says, and a little more that was on its way.
    assert!(extra <= 8 * 12 * MIB, "{extra} bytes are held for clients that do not read");

    // Its own shard's upstreams serve others throughout.
    drop(idle);
    demo.expect(&mut client, &keys);
    assert_eq!(client.call(&["STRLEN", "large0"]), format!(":{}\r\n", text.len()).as_bytes());
}

#[test]
fn an_mget_of_large_values_is_joined_as_it_comes() {
    let mut demo = demo(1, "1000");
    let mut client = demo.client();
    client.set_deadline(Duration::from_secs(120));
    let values: Vec<Vec<u8>> = (0..12).map(|number| pattern((number + 1) * MIB)).collect();
    for (number, text) in values.iter().enumerate() {
        let key = format!("large{number}");
        let words: [&[u8]; 3] = [b"SET", key.as_bytes(), text];
        assert_eq!(client.call(&words), b"+OK\r\n");
    }
    let memory = Memory::of(&mut demo);
    let before = memory.forget_peak();
    let mut words = vec!["MGET".to_owned()];
    words.extend((0..12).map(|number| format!("large{number}")));
    words.push("missing".to_owned());
    client.send_command(&words);
    client.expect(b"*13\r\n");
    for text in &values {
        client.expect(&[format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat());
    }
    client.expect(b"$-1\r\n");
    let extra = memory.peak().saturating_sub(before);
    // Each of the twelve parts may hold 1 MiB, in memory that grows by doubling, and the allocator keeps some of what it
    // grew out of: 25 to 34 MiB were seen.
    assert!(extra <= 48 * MIB, "{extra} bytes more were resident for 78 MiB");
    demo.expect(&mut client, &demo.keys(0, true));
}
