use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Option<Head>, Refusal> {
    parse_head(text.as_bytes(), 200, 100)
}

#[test]
fn a_request_is_read() {
    let text = "POST /v1/reload?now=1?2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\nhello";
    let head = parse(text).unwrap().unwrap();
    let request = head.request;
    assert_eq!((request.method, request.path.as_str()), (Method::Post, "/v1/reload"));
    assert_eq!(request.query, "now=1?2");
    assert_eq!((request.host.as_deref(), request.has_origin), (Some("x"), false));
    assert_eq!((&text[head.body_at..], head.body_bytes, head.expects_continue), ("hello", 5, true));
}

#[test]
fn a_cut_request_needs_more() {
    let text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(parse(&text[..end]), Ok(None), "{end}");
    }
    assert!(parse(text).unwrap().is_some());
}

#[test]
fn refusals() {
    let with = |header: &str| format!("GET / HTTP/1.1\r\n{header}\r\n\r\n");
    let cases = [
        ("nonsense\r\n\r\n".to_owned(), Refusal::Malformed, 400),
        ("*2\r\n$3\r\nGET\r\n".to_owned(), Refusal::Malformed, 400),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), Refusal::Malformed, 400),
        ("GET http://x/ HTTP/1.1\r\n\r\n".to_owned(), Refusal::Target, 400),
        ("BREW / HTTP/1.1\r\n\r\n".to_owned(), Refusal::Method, 405),
        (with("Host: a\r\nHost: a"), Refusal::Host, 400),
        (with("Host: \u{e9}\r\nhost: b"), Refusal::Host, 400),
        (with("Authorization: Bearer a\r\nauthorization: Bearer b"), Refusal::Authorization, 400),
        (with("Content-Length: -1"), Refusal::Length, 400),
        (with("Content-Length: +1"), Refusal::Length, 400),
        (with("Content-Length: 1, 1"), Refusal::Length, 400),
        (with("Content-Length: 1\r\nContent-Length: 2"), Refusal::Length, 400),
        (with("Content-Length: 101"), Refusal::BodyTooLarge, 413),
        (with("Content-Length: 99999999999999999999999"), Refusal::BodyTooLarge, 413),
        (with("Content-Length: 1\r\nTransfer-Encoding: chunked"), Refusal::TransferEncoding, 501),
        (format!("GET /{}", "a".repeat(200)), Refusal::HeadTooLarge, 431),
        (with(&format!("X: {}", "a".repeat(200))), Refusal::HeadTooLarge, 431),
        (with(&"a:\r\n".repeat(HEADERS_MAX + 1)), Refusal::HeadTooLarge, 431),
    ];
    for (text, refusal, status) in cases {
        assert_eq!(parse_head(text.as_bytes(), 200, 100), Err(refusal), "{text}");
        assert_eq!(refusal.response().status, status);
    }
}

#[test]
fn host_and_origin_are_read() {
    let head = parse("POST / HTTP/1.1\r\nhost:  [::1]:9 \r\nORIGIN: null\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.request.host.as_deref(), head.request.has_origin), (Some("[::1]:9"), true));
    let head = parse("POST / HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.request.host, head.request.has_origin), (None, false));
}

#[test]
fn a_token_is_read_and_not_shown() {
    let request = parse("PUT /a HTTP/1.1\r\nAuthorization: Bearer abc \r\n\r\n").unwrap().unwrap().request;
    assert_eq!((request.method, request.authorization.as_deref()), (Method::Put, Some("Bearer abc")));
    assert!(!format!("{request:?}").contains("abc"));
}

#[test]
fn a_response_is_written() {
    assert_eq!(
        Response::text(200, "ok\n").to_bytes(),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
    );
    let refused = String::from_utf8(Refusal::Method.response().to_bytes()).unwrap();
    assert!(refused.contains("\r\nAllow: GET, POST, PUT, DELETE\r\n"), "{refused}");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, head_max in 0..300usize, body_max: usize) {
        if let Ok(Some(head)) = parse_head(&bytes, head_max, body_max) {
            prop_assert!(head.body_at <= bytes.len() && head.body_at <= head_max);
            prop_assert!(head.body_bytes <= body_max && head.request.path.starts_with('/'));
        }
    }

    #[test]
    fn a_bent_request_is_answered(at in 0..60usize, byte: u8) {
        let mut bytes = b"POST /path HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".to_vec();
        bytes[at] = byte;
        let _ = parse_head(&bytes, 200, 100);
    }
}
