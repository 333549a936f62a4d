use super::*;
use crate::http::Method;
use std::sync::mpsc;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn echo(request: &Request) -> Response {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    match request.path.as_str() {
        "/" => Response::text(200, "ok\n"),
        "/echo" => Response::text(200, format!("{} {} {body}", request.method, request.query)),
        _ => Response::text(404, "no such page\n"),
    }
}

fn start(limits: Limits) -> Server {
    Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), limits, echo).unwrap()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.tcp_address().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn answer(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn ask(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(request).unwrap();
    answer(&stream)
}

fn quick() -> Limits {
    Limits { time: Duration::from_millis(200), ..Limits::default() }
}

#[test]
fn methods_and_bodies() {
    let server = start(Limits::default());
    assert!(ask(&server, GET).ends_with("\r\n\r\nok\n"));
    let post = ask(&server, b"POST /echo?q HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    assert!(post.starts_with("HTTP/1.1 200 OK\r\n") && post.ends_with("POST q hello"), "{post}");
    assert!(ask(&server, b"DELETE /echo HTTP/1.1\r\n\r\n").ends_with("DELETE  "));
    assert!(ask(&server, b"GET /x HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(ask(&server, b"PATCH / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
}

#[test]
fn a_request_in_single_bytes() {
    let server = start(Limits::default());
    let mut stream = connect(&server);
    for byte in b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nab" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert!(answer(&stream).ends_with("POST  ab"));
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let server = start(Limits::default());
    let mut stream = connect(&server);
    stream.write_all(b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ab").unwrap();
    assert!(answer(&stream).ends_with("POST  ab"));
}

#[test]
fn a_unix_socket_serves_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let server = Server::start(UnixListener::bind(&path).unwrap(), Limits::default(), echo).unwrap();
    assert_eq!(server.tcp_address(), None);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(GET).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("ok\n"));
    server.stop();
    assert!(UnixStream::connect(&path).is_err());
}

#[test]
fn hostile_requests_are_refused_and_the_next_is_served() {
    let server = start(quick());
    let long = [b"GET /", vec![b'a'; 20_000].as_slice(), b" HTTP/1.1\r\n\r\n"].concat();
    let cases: [(&[u8], &str); 6] = [
        (b"\0\xff\xfe\r\n\r\n", "400"),
        (b"*1\r\n$4\r\nPING\r\n", "400"),
        (&long, "431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", "413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"),
        (b"GET / HTTP/1.1\r\nHo", "408"),
    ];
    for (request, status) in cases {
        let answer = ask(&server, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        assert!(ask(&server, GET).ends_with("ok\n"));
    }
}

/// The whole request has one deadline: a byte now and then does not prolong it.
#[test]
fn a_trickle_is_cut() {
    let server = start(quick());
    let begun = Instant::now();
    let mut stream = connect(&server);
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut first = [0; 12];
    // The pause between the bytes is the read's timeout.
    while stream.read_exact(&mut first).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        let _ = stream.write_all(b"a");
    }
    assert_eq!(&first, b"HTTP/1.1 408");
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = start(Limits { connections: 2, ..Limits::default() });
    let mut held = [connect(&server), connect(&server)];
    assert!(ask(&server, b"").starts_with("HTTP/1.1 503 "));
    for stream in &mut held {
        stream.write_all(GET).unwrap();
        assert!(answer(stream).ends_with("ok\n"));
    }
    // Their threads end a moment after the answers.
    drop(held);
    let begun = Instant::now();
    while !ask(&server, GET).ends_with("ok\n") {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let (finished, waits) = mpsc::channel();
    let handler = move |_: &Request| {
        let _ = finished.send(());
        Response { status: 200, content_type: "text/plain", body: vec![0; 64 << 20] }
    };
    let limits = Limits { connections: 1, ..quick() };
    let server = Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), limits, handler).unwrap();
    let mut stream = connect(&server);
    stream.write_all(GET).unwrap();
    waits.recv_timeout(Duration::from_secs(20)).unwrap();
    // With one connection allowed, the next is served only when this one was given up.
    let begun = Instant::now();
    loop {
        let mut next = connect(&server);
        next.write_all(GET).unwrap();
        let mut first = [0; 12];
        if next.read_exact(&mut first).is_ok() && &first == b"HTTP/1.1 200" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn stopping_cuts_idle_clients_and_frees_the_port() {
    // Far longer than a read of this test waits, so that nobody's time is what ends them.
    let server = start(Limits { time: Duration::from_secs(600), ..Limits::default() });
    let address = server.tcp_address().unwrap();
    let idle = [connect(&server), connect(&server)];
    assert!(ask(&server, GET).ends_with("ok\n"));
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(60), "somebody's time was waited for");
    for mut stream in &idle {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_server_that_retires_answers_who_is_there_and_leaves_the_socket_to_another() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = listener.try_clone().unwrap();
    let first =
        Server::start(listener, Limits::default(), |_: &Request| Response::text(200, "first")).unwrap();
    let mut there = connect(&first);
    there.write_all(&GET[..5]).unwrap();
    // Its connection is open once somebody who came later is answered.
    assert!(ask(&first, GET).ends_with("first"));
    let retiring = thread::spawn(move || first.retire());
    let address = second.local_addr().unwrap();
    let second =
        Server::start(second, Limits::default(), |_: &Request| Response::text(200, "second")).unwrap();
    let begun = Instant::now();
    let from_second = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(GET).unwrap();
        answer(&stream).ends_with("second")
    };
    while !from_second() {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    there.write_all(&GET[5..]).unwrap();
    assert!(answer(&there).ends_with("first"));
    retiring.join().unwrap();
    assert!((0..20).all(|_| from_second()), "the first accepts no more");
    drop(second);
}

#[test]
fn the_handler_sees_what_was_sent() {
    let (sent, seen) = mpsc::channel();
    let handler = move |request: &Request| {
        sent.send(request.clone()).unwrap();
        Response::json(200, "{}")
    };
    let server =
        Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), Limits::default(), handler).unwrap();
    let body = vec![7; 64 << 10];
    let request = [b"POST /a%20b?c HTTP/1.1\r\ncontent-length: 65536\r\n\r\n", body.as_slice()].concat();
    assert!(ask(&server, &request).contains("Content-Type: application/json\r\n"));
    let expected = Request {
        method: Method::Post,
        path: "/a%20b".into(),
        query: "c".into(),
        host: None,
        has_origin: false,
        authorization: None,
        body,
    };
    assert_eq!(seen.recv_timeout(Duration::from_secs(20)).unwrap(), expected);
}
