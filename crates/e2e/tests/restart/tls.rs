//! A port that speaks TLS is handed over as any: the next process shows its own certificate there.

use std::io::Write as _;

use shoal_e2e::raw_client::encode;
use shoal_e2e::tls::{Authority, TlsClient, Trust};
use shoal_e2e::{RedisServer, wait};

use crate::place::{Place, end_of, free, pool};

#[test]
fn a_tls_port_is_handed_over_and_its_sessions_end_by_tls() {
    let place = Place::new();
    let server = RedisServer::start(&place.workplace, &[]);
    let (plain, secured) = (free(), free());
    let authority = Authority::new(&place.folder, "ours");
    let old = authority.issue(&place.folder, "own");
    let tls = format!("    tls: {{listen: '{secured}', {}}}\n", old.yaml());
    place.configure(0, &(pool("first", &plain.to_string(), &[server.addr()]) + &tls));
    let mut first = place.start();
    let connect = || TlsClient::connect(secured, &Trust::in_authority(&authority)).expect("a handshake");
    let (mut idle, mut half, mut torn) = (connect(), connect(), connect());
    let shown = idle.shown();
    assert_eq!(idle.call(&["SET", "key", "value"]), "+OK\r\n");
    assert_eq!(half.call(&["PING"]), "+PONG\r\n");
    // One has sent half a request, another one half a record, which is no request yet to anybody but TLS.
    let request = encode(&["SET", "other", "a value that comes in two pieces"]);
    half.send(&request[..20]).unwrap();
    assert_eq!(torn.call(&["PING"]), "+PONG\r\n");
    let record = torn.seal(&encode(&["GET", "key"]));
    torn.socket().write_all(&record[..record.len() / 2]).unwrap();
    wait::until("half a request to be there", || {
        place.get("/sessions").contains("\"input_bytes\":20").then_some(())
    });
    let new = authority.issue(&place.folder, "own");
    let _second = place.take_over();
    assert_eq!(idle.read_to_end().expect("an end that TLS says"), b"");
    assert_eq!(first.ended(), None);
    let mut next = connect();
    assert!(next.shown() == new.der() && next.shown() != shown);
    assert_eq!(next.call(&["GET", "key"]), "$5\r\nvalue\r\n");
    half.send(&request[20..]).unwrap();
    assert_eq!(half.read_to_end().expect("an end that TLS says"), b"+OK\r\n");
    torn.socket().write_all(&record[record.len() / 2..]).unwrap();
    assert_eq!(torn.read_to_end().expect("an end that TLS says"), b"$5\r\nvalue\r\n");
    assert_eq!(end_of(&mut first).code(), Some(0));
    assert!(!first.log().contains("were cut"), "{}", first.log());
    assert_eq!(next.call(&["GET", "other"])[..5], *"$32\r\n");
}
