use super::*;

fn read(line: &str) -> Result<Order, String> {
    Order::read(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

fn on(line: &str) -> Options {
    match read(line) {
        Ok(Order::On(options)) => options,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn options_that_contradict_each_other_are_refused_in_the_words_of_redis() {
    for (line, error) in [
        ("MAYBE", "ERR syntax error"),
        ("ON BCAST PREFIX", "ERR syntax error"),
        ("OFF NOSUCH", "ERR syntax error"),
        ("ON PREFIX a", "ERR PREFIX option requires BCAST mode to be enabled"),
        ("ON BCAST OPTIN", "ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("ON OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("ON REDIRECT 7", NO_REDIRECT),
    ] {
        assert_eq!(read(line), Err(error.to_owned()), "{line}");
    }
    assert_eq!(read("off BCAST"), Ok(Order::Off));
}

#[test]
fn what_is_asked_for_while_tracking_adds_prefixes_and_switches_no_mode() {
    let first = on("ON BCAST PREFIX b PREFIX a").after(None).unwrap();
    assert_eq!(first.prefixes, [b"a", b"b"]);
    let second = on("ON BCAST PREFIX c NOLOOP").after(Some(&first)).unwrap();
    assert_eq!((second.prefixes.len(), second.no_loop), (3, true));
    let mut told = Vec::new();
    second.command(&first.prefixes, &mut told);
    let words: [&[u8]; 7] = [b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", b"c", b"NOLOOP"];
    let mut expected = Vec::new();
    encode::command(&mut expected, &words);
    assert_eq!(told, expected);
    for (line, part) in [
        ("ON BCAST PREFIX abc", "'abc' overlaps with an existing prefix 'a'"),
        ("ON BCAST PREFIX xy PREFIX x", "'xy' overlaps with another provided prefix 'x'"),
        ("ON OPTIN", "switch BCAST mode on/off"),
    ] {
        let error = on(line).after(Some(&first)).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
    let opted = on("ON OPTIN").after(None).unwrap();
    assert!(on("ON OPTOUT").after(Some(&opted)).unwrap_err().contains("switch OPTIN/OPTOUT mode"));
    assert_eq!(on("ON NOLOOP").after(Some(&opted)).unwrap().choice, None);
    assert_eq!(on("ON BCAST").after(None).unwrap().prefixes, [b""], "the empty one, of which all keys begin");
    let many = Options { prefixes: vec![vec![b'x'; PREFIX_BYTES_MAX + 1]], ..on("ON BCAST") };
    assert!(many.after(None).unwrap_err().contains("65536 bytes"));
}

#[test]
fn an_invalidation_waits_for_the_requests_before_it_across_the_turn_of_their_numbers() {
    let mut tracking = Tracking::new(Options::default());
    tracking.wait(u32::MAX, b"a");
    tracking.wait(2, b"b");
    assert_eq!(tracking.next(u32::MAX - 1), None);
    assert_eq!(tracking.next(0), Some(b"a".to_vec()));
    assert_eq!(tracking.next(1), None);
    assert!(tracking.waiting_bytes() > 0);
    assert_eq!(tracking.next(2), Some(b"b".to_vec()));
    assert_eq!((tracking.next(3), tracking.waiting_bytes()), (None, 0));
}

#[test]
fn invalidations_are_told_from_other_pushes() {
    for (frame, is) in [
        (INVALIDATE_ALL, true),
        (b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", true),
        (b">3\r\n$7\r\nmessage\r\n$10\r\ninvalidate\r\n$1\r\nb\r\n", false),
        (b">1\r\n$21\r\ntracking-redir-broken\r\n", false),
    ] {
        assert_eq!(is_invalidation(frame), is, "{}", String::from_utf8_lossy(frame));
    }
}
