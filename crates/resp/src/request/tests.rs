use proptest::prelude::*;

use super::*;
use crate::{Delimiter, Fed, encode};

fn limits() -> RequestLimits {
    RequestLimits::default()
}

fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..8)
}

fn encoded(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
    out
}

fn texts<'b>(bytes: &'b [u8], args: &[Span]) -> Vec<&'b [u8]> {
    args.iter().map(|span| span.of(bytes)).collect()
}

proptest! {
    #[test]
    fn a_pipeline_gives_its_requests(requests in prop::collection::vec(request(), 1..20)) {
        let stream: Vec<u8> = requests.iter().flat_map(|request| encoded(request)).collect();
        let (mut rest, mut args) = (&stream[..], Vec::new());
        for request in &requests {
            let Parsed::Request { len, inline: false } = parse_request(rest, &limits(), &mut args).unwrap() else {
                panic!("not a request")
            };
            prop_assert_eq!(texts(rest, &args), request.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(Delimiter::new().feed(rest), Ok(Fed::Frame { len, kind: b'*' }));
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(parse_request(rest, &limits(), &mut args), Ok(Parsed::Partial { declared: 0 }));
    }

    #[test]
    fn every_prefix_is_partial_and_going_on_is_as_good_as_starting_again(request in request()) {
        let bytes = encoded(&request);
        let (mut args, mut progress, mut resumed) = (Vec::new(), Progress::default(), Vec::new());
        for cut in 0..bytes.len() {
            let parsed = parse_request(&bytes[..cut], &limits(), &mut args).unwrap();
            let Parsed::Partial { declared } = parsed else { panic!("whole at {cut}") };
            prop_assert!(declared == 0 || declared as usize == request.len());
            for (span, arg) in args.iter().zip(&request) {
                prop_assert_eq!(span.of(&bytes), &arg[..]);
            }
            let again = resume_request(&bytes[..cut], &limits(), &mut progress, &mut resumed);
            prop_assert_eq!(again, Ok(Parsed::Partial { declared }));
            prop_assert_eq!(&resumed, &args);
        }
        let whole = Ok(Parsed::Request { len: bytes.len(), inline: false });
        prop_assert_eq!(resume_request(&bytes, &limits(), &mut progress, &mut resumed), whole);
        prop_assert_eq!(resumed.len(), request.len());
        prop_assert_eq!(progress, Progress::default());
    }

    #[test]
    fn hostile_bytes_do_not_panic_and_pieces_do_not_matter(text in "([*$]|[0-9]|-1|\r\n|\r|\n|x| |\"|'|\\\\){0,40}") {
        let bytes = text.as_bytes();
        let mut args = Vec::new();
        let whole = parse_request(bytes, &limits(), &mut args);
        // The first answer that isn't Partial is the same, however the bytes come.
        let (mut progress, mut resumed) = (Progress::default(), Vec::new());
        let pieces = (0..=bytes.len())
            .map(|cut| resume_request(&bytes[..cut], &limits(), &mut progress, &mut resumed))
            .find(|answer| !matches!(answer, Ok(Parsed::Partial { .. })));
        match pieces {
            Some(answer) => prop_assert_eq!(answer, whole),
            None => prop_assert!(matches!(whole, Ok(Parsed::Partial { .. })), "{whole:?}"),
        }
    }

    #[test]
    fn any_line_is_rewritten_into_a_request_or_refused(line in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut out = Vec::new();
        let mut args = Vec::new();
        match inline_to_multibulk(&line, &mut out) {
            Ok(()) if out.is_empty() => prop_assert!(line.iter().all(|byte| b" \t\n\x0b\x0c\r".contains(byte))),
            Ok(()) => prop_assert_eq!(
                parse_request(&out, &limits(), &mut args),
                Ok(Parsed::Request { len: out.len(), inline: false })
            ),
            Err(error) => {
                prop_assert_eq!(error, ProtocolError::UnbalancedQuotes);
                prop_assert!(out.is_empty());
            }
        }
    }

    #[test]
    fn quoted_words_come_back(words in request()) {
        let quoted = |word: &Vec<u8>| {
            let escaped: String = word.iter().map(|byte| format!("\\x{byte:02X}")).collect();
            format!("\"{escaped}\"")
        };
        let line = words.iter().map(quoted).collect::<Vec<_>>().join(" ");
        let mut out = Vec::new();
        inline_to_multibulk(line.as_bytes(), &mut out).unwrap();
        prop_assert_eq!(out, encoded(&words));
    }
}

#[test]
fn blank_lines_and_empty_arrays_ask_for_nothing() {
    let mut args = Vec::new();
    for bytes in ["\r\n", "\n", "  \t\r\n", "*0\r\n", "*-1\r\n", "*-7\r\n"] {
        let nothing = Ok(Parsed::Nothing { len: bytes.len() });
        let stream = format!("{bytes}*1\r\n");
        assert_eq!(parse_request(stream.as_bytes(), &limits(), &mut args), nothing, "{bytes:?}");
    }
}

#[test]
fn an_inline_request_is_its_line() {
    let mut args = Vec::new();
    let inline = |len| Ok(Parsed::Request { len, inline: true });
    assert_eq!(parse_request(b"GET k\r\nGET", &limits(), &mut args), inline(7));
    assert_eq!(parse_request(b"GET k\nGET", &limits(), &mut args), inline(6));
    assert_eq!(parse_request(b"GET k\r", &limits(), &mut args), Ok(Parsed::Partial { declared: 0 }));
    let refused = RequestLimits { inline_allowed: false, ..limits() };
    assert_eq!(parse_request(b"GET k\r\n", &refused, &mut args), Err(ProtocolError::InlineRefused));
    let long = [&b"x".repeat(MAX_LINE)[..], b"\r\n"].concat();
    assert_eq!(parse_request(&long, &limits(), &mut args), inline(long.len()));
    let longer = [b"x", &long[..]].concat();
    assert_eq!(parse_request(&longer, &limits(), &mut args), Err(ProtocolError::InlineTooLong));
    assert_eq!(
        parse_request(&longer[..MAX_LINE + 2], &limits(), &mut args),
        Err(ProtocolError::InlineTooLong)
    );
}

#[test]
fn limits_are_what_they_say() {
    let limits = RequestLimits { args: 2, bulk: 3, ..limits() };
    let mut args = Vec::new();
    let partial = |declared| Ok(Parsed::Partial { declared });
    assert_eq!(parse_request(b"*2\r\n$3\r\n", &limits, &mut args), partial(2));
    assert_eq!(parse_request(b"*3\r\n", &limits, &mut args), Err(ProtocolError::InvalidMultibulkLength));
    assert_eq!(parse_request(b"*2\r\n$4\r\n", &limits, &mut args), Err(ProtocolError::InvalidBulkLength));
    let huge = RequestLimits { bulk: u64::MAX, ..limits };
    assert_eq!(parse_request(b"*1\r\n$4294967295\r\n", &huge, &mut args), Err(ProtocolError::RequestTooLong));
    let largest = format!("*1\r\n${}\r\n", i64::MAX);
    assert_eq!(parse_request(largest.as_bytes(), &huge, &mut args), Err(ProtocolError::RequestTooLong));
}

#[test]
fn both_bytes_of_a_crlf_must_be_there() {
    let mut args = Vec::new();
    for bytes in ["*1\rx", "*1\r\n$1\rx", "*1\r\n$1\r\nabc", "*1\r\n$1\r\na\rx"] {
        assert_eq!(
            parse_request(bytes.as_bytes(), &limits(), &mut args),
            Err(ProtocolError::ExpectedCrlf),
            "{bytes:?}"
        );
    }
}
