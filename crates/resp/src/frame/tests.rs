use super::*;

fn parsed(bytes: &str) -> Frame<'_> {
    let (frame, len) = parse_frame(bytes.as_bytes()).unwrap().unwrap();
    assert_eq!(len, bytes.len(), "{bytes:?}");
    frame
}

#[test]
fn parses_every_type() {
    for (bytes, expected) in [
        ("+OK\r\n", Frame::Simple(b"OK")),
        ("-ERR no\r\n", Frame::Error(b"ERR no")),
        (":-7\r\n", Frame::Integer(-7)),
        (":+7\r\n", Frame::Integer(7)),
        ("$2\r\n\r\n\r\n", Frame::Bulk(b"\r\n")),
        ("$-1\r\n", Frame::Null),
        ("*-1\r\n", Frame::Null),
        ("_\r\n", Frame::Null),
        (",1.5e3\r\n", Frame::Double(1500.0)),
        (",-inf\r\n", Frame::Double(f64::NEG_INFINITY)),
        ("#t\r\n", Frame::Boolean(true)),
        ("!5\r\nERR a\r\n", Frame::BulkError(b"ERR a")),
        ("=6\r\ntxt:hi\r\n", Frame::Verbatim { format: b"txt", text: b"hi" }),
        ("(-12345678901234567890\r\n", Frame::BigNumber(b"-12345678901234567890")),
        ("*0\r\n", Frame::Array(vec![])),
        ("*2\r\n:1\r\n$-1\r\n", Frame::Array(vec![Frame::Integer(1), Frame::Null])),
        ("~1\r\n:1\r\n", Frame::Set(vec![Frame::Integer(1)])),
        (">1\r\n+x\r\n", Frame::Push(vec![Frame::Simple(b"x")])),
        ("%1\r\n+a\r\n:1\r\n", Frame::Map(vec![(Frame::Simple(b"a"), Frame::Integer(1))])),
        ("*?\r\n:1\r\n.\r\n", Frame::Array(vec![Frame::Integer(1)])),
        ("%?\r\n+a\r\n:1\r\n.\r\n", Frame::Map(vec![(Frame::Simple(b"a"), Frame::Integer(1))])),
        ("$?\r\n;1\r\na\r\n;2\r\nbc\r\n;0\r\n", Frame::Chunks(vec![b"a", b"bc"])),
    ] {
        assert_eq!(parsed(bytes), expected, "{bytes:?}");
    }
    assert!(matches!(parsed(",nan\r\n"), Frame::Double(value) if value.is_nan()));
    // Attributes in a row are one.
    let Frame::Attributed { attributes, frame } = parsed("|1\r\n+a\r\n:1\r\n|1\r\n+b\r\n:2\r\n+OK\r\n")
    else {
        panic!("attributes vanished")
    };
    assert_eq!((attributes.len(), *frame), (2, Frame::Simple(b"OK")));
}

#[test]
fn checks_the_sense() {
    for bytes in [
        ":\r\n",
        ":1x\r\n",
        ":9223372036854775808\r\n",
        "_x\r\n",
        "#x\r\n",
        ",x\r\n",
        "(\r\n",
        "(1.5\r\n",
        "=3\r\ntxt\r\n",
        "=4\r\ntext\r\n",
        "%?\r\n+a\r\n.\r\n",
        "*1\r\nx",
        "$1\r\nabc",
    ] {
        assert!(parse_frame(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
}

#[test]
fn refuses_text_behind_the_end_of_a_stream_at_once() {
    for (bytes, expected) in [
        ("*?\r\n.", Ok(None)),
        ("*?\r\n.\r", Ok(None)),
        ("*?\r\n.1", Err(ProtocolError::LineTooLong)),
        ("*?\r\n.\r1", Err(ProtocolError::LineTooLong)),
    ] {
        assert_eq!(parse_frame(bytes.as_bytes()), expected, "{bytes:?}");
    }
}
