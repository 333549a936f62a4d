use proptest::prelude::*;

use super::*;
use crate::parse_frame;

/// Feeds `stream` in pieces that end at `cuts`; what was found: where each frame ends and its kind, and
/// the error if there was one.
fn delimit(stream: &[u8], cuts: &[usize]) -> (Vec<(usize, u8)>, Option<ProtocolError>) {
    let mut delimiter = Delimiter::new();
    let mut frames = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut at = 0;
    for end in ends {
        while at < end {
            match delimiter.feed(&stream[at..end]) {
                Ok(Fed::Frame { len, kind }) => {
                    assert!(len > 0 && at + len <= end && delimiter.is_fresh());
                    at += len;
                    frames.push((at, kind));
                }
                Ok(Fed::Partial) => {
                    assert!(!delimiter.is_fresh() && delimiter.kind() != 0);
                    at = end;
                }
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Any frame, with its kind.
pub(crate) fn frame() -> impl Strategy<Value = (Vec<u8>, u8)> {
    let text = "[ -~]{0,12}";
    let bulk = prop::collection::vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        text.prop_map(|text| format!("+{text}\r\n").into_bytes()),
        text.prop_map(|text| format!("-ERR {text}\r\n").into_bytes()),
        any::<i64>().prop_map(|value| format!(":{value}\r\n").into_bytes()),
        (-1e9..1e9).prop_map(|value: f64| format!(",{value}\r\n").into_bytes()),
        any::<i128>().prop_map(|value| format!("({value}\r\n").into_bytes()),
        prop::sample::select(vec![
            "_\r\n",
            "#t\r\n",
            "#f\r\n",
            "$-1\r\n",
            "*-1\r\n",
            ",inf\r\n",
            "$0\r\n\r\n"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        bulk.clone().prop_map(|body| with_body("$", &body)),
        bulk.clone().prop_map(|body| with_body("!", &body)),
        bulk.clone().prop_map(|body| with_body("=", &[b"txt:", &body[..]].concat())),
        prop::collection::vec(bulk, 0..4).prop_map(|chunks| {
            let full = chunks.iter().filter(|chunk| !chunk.is_empty());
            let chunks: Vec<u8> = full.flat_map(|chunk| with_body(";", chunk)).collect();
            [b"$?\r\n", &chunks[..], b";0\r\n"].concat()
        }),
    ];
    leaf.prop_recursive(5, 40, 5, |element| {
        let elements = prop::collection::vec(element.clone(), 0..5);
        let pairs = prop::collection::vec((element.clone(), element.clone()), 0..3).prop_map(|pairs| {
            pairs.into_iter().map(|(key, value)| [key, value].concat()).collect::<Vec<_>>()
        });
        prop_oneof![
            (prop::sample::select(vec!["*", "~", ">"]), elements.clone())
                .prop_map(|(kind, elements)| with_elements(kind, &elements)),
            pairs.clone().prop_map(|pairs| with_elements("%", &pairs)),
            (prop::sample::select(vec!["*?\r\n", "~?\r\n"]), elements).prop_map(|(head, elements)| [
                head.as_bytes(),
                &elements.concat(),
                b".\r\n"
            ]
            .concat()),
            pairs.clone().prop_map(|pairs| [b"%?\r\n", &pairs.concat()[..], b".\r\n"].concat()),
            (pairs, element).prop_map(|(pairs, element)| [with_elements("|", &pairs), element].concat()),
        ]
    })
    .prop_map(|bytes| {
        let kind = kind_of(&bytes);
        (bytes, kind)
    })
}

fn with_body(kind: &str, body: &[u8]) -> Vec<u8> {
    [format!("{kind}{}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

fn with_elements(kind: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    [format!("{kind}{}\r\n", elements.len()).as_bytes(), &elements.concat()].concat()
}

/// The first byte behind all attributes, marked where there are any, found the slow way.
fn kind_of(bytes: &[u8]) -> u8 {
    match parse_frame(bytes) {
        Ok(Some((crate::Frame::Attributed { .. }, len))) => {
            assert_eq!(len, bytes.len());
            let pairs: usize = std::str::from_utf8(&bytes[1..2]).unwrap().parse().unwrap();
            let mut rest = &bytes[4..];
            for _ in 0..2 * pairs {
                let (_, len) = parse_frame(rest).unwrap().unwrap();
                rest = &rest[len..];
            }
            kind_of(rest) | ATTRIBUTED
        }
        _ => bytes[0],
    }
}

proptest! {
    #[test]
    fn any_cut_of_any_stream_gives_the_same_frames(
        frames in prop::collection::vec(frame(), 1..6),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut end = 0;
        let expected: Vec<(usize, u8)> = frames.iter().map(|(bytes, kind)| {
            end += bytes.len();
            (end, *kind)
        }).collect();
        let each: Vec<usize> = (0..stream.len()).collect();
        for cuts in [&[][..], &cuts, &each] {
            prop_assert_eq!(delimit(&stream, cuts), (expected.clone(), None));
        }
    }

    #[test]
    fn the_parser_finds_the_same_end((bytes, _) in frame(), behind in prop::collection::vec(any::<u8>(), 0..4)) {
        let stream = [&bytes[..], &behind].concat();
        let (_, len) = parse_frame(&stream).unwrap().unwrap();
        prop_assert_eq!(len, bytes.len());
        for cut in 0..bytes.len() {
            prop_assert!(parse_frame(&bytes[..cut]).unwrap().is_none());
        }
    }

    #[test]
    fn hostile_bytes_get_the_same_answer_in_any_pieces(
        stream in "([-+:_#,($=!*%~>|;.?x]|[0-9]|-1|\r\n|\r|\n){0,60}",
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let stream = stream.as_bytes();
        let each: Vec<usize> = (0..stream.len()).collect();
        let whole = delimit(stream, &[]);
        prop_assert_eq!(&delimit(stream, &cuts), &whole);
        prop_assert_eq!(&delimit(stream, &each), &whole);
        // Both wait for more at the same bytes; what the parser refuses may be refused for its sense.
        match parse_frame(stream) {
            Ok(Some((_, len))) => prop_assert_eq!(whole.0[0].0, len),
            Ok(None) => prop_assert_eq!(whole, (vec![], None)),
            Err(_) => {}
        }
    }

    #[test]
    fn any_bytes_do_not_panic(stream in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = delimit(&stream, &[]);
        let _ = parse_frame(&stream);
        let _ = crate::elements(&stream).map(Iterator::count);
    }

    #[test]
    fn elements_put_together_are_the_aggregate((bytes, kind) in frame()) {
        if let Ok(elements) = crate::elements(&bytes) {
            let declared = elements.declared();
            let parts: Vec<&[u8]> = elements.map(Result::unwrap).collect();
            prop_assert_eq!(parts.len(), declared);
            let body = parts.concat();
            prop_assert!(bytes.ends_with(&body) || bytes.ends_with(&[&body[..], b".\r\n"].concat()));
        } else {
            prop_assert!(!b"*~>%".contains(&kind));
        }
    }
}

#[test]
fn names_the_trouble() {
    for (stream, expected) in [
        ("x", ProtocolError::UnexpectedType { got: b'x' }),
        (";1\r\n", ProtocolError::UnexpectedType { got: b';' }),
        (".\r\n", ProtocolError::UnexpectedType { got: b'.' }),
        ("*1\r\n.\r\n", ProtocolError::UnexpectedType { got: b'.' }),
        ("$?\r\n+a\r\n", ProtocolError::UnexpectedType { got: b'+' }),
        ("*?\r\n.x\r\n", ProtocolError::LineTooLong),
        ("$x\r\n", ProtocolError::InvalidLength),
        ("$-2\r\n", ProtocolError::InvalidLength),
        ("=-1\r\n", ProtocolError::InvalidLength),
        ("%-1\r\n", ProtocolError::InvalidLength),
        (">?\r\n", ProtocolError::InvalidLength),
        ("$1\r\nab\r\n", ProtocolError::ExpectedCrlf),
        ("$1\r\na\rb", ProtocolError::ExpectedCrlf),
        ("$536870913\r\n", ProtocolError::BulkTooLong),
        ("*4294967296\r\n", ProtocolError::TooManyElements),
    ] {
        assert_eq!(delimit(stream.as_bytes(), &[]), (vec![], Some(expected)), "{stream:?}");
        let each: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(delimit(stream.as_bytes(), &each), (vec![], Some(expected)), "{stream:?}");
    }
}

#[test]
fn limits_are_what_they_say() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    let deepest = nested(MAX_DEPTH);
    assert_eq!(delimit(&deepest, &[]), (vec![(deepest.len(), b'*')], None));
    assert!(parse_frame(&deepest).unwrap().is_some());
    assert_eq!(delimit(&nested(MAX_DEPTH + 1), &[]).1, Some(ProtocolError::TooDeep));
    assert_eq!(parse_frame(&nested(MAX_DEPTH + 1)), Err(ProtocolError::TooDeep));

    let line = |length: usize| [b"+", &b"x".repeat(length)[..], b"\r\n"].concat();
    let longest = line(MAX_LINE);
    assert_eq!(delimit(&longest, &[MAX_LINE, MAX_LINE + 2]), (vec![(longest.len(), b'+')], None));
    assert!(parse_frame(&longest).unwrap().is_some());
    for cuts in [&[][..], &[MAX_LINE], &[MAX_LINE + 2], &[MAX_LINE + 3]] {
        assert_eq!(delimit(&line(MAX_LINE + 1), cuts).1, Some(ProtocolError::LineTooLong), "{cuts:?}");
    }
    assert_eq!(delimit(&b"+".repeat(MAX_LINE + 2), &[]).1, Some(ProtocolError::LineTooLong));
    // Without its end it is too long as soon as one byte is too many, unless that may be the end's CR.
    for (cut, partial) in [(&longest[..MAX_LINE + 2], true), (&line(MAX_LINE + 1)[..MAX_LINE + 2], false)] {
        assert_eq!(delimit(cut, &[]).1, (!partial).then_some(ProtocolError::LineTooLong));
        assert_eq!(parse_frame(cut), if partial { Ok(None) } else { Err(ProtocolError::LineTooLong) });
    }
    assert_eq!(parse_frame(&line(MAX_LINE + 1)), Err(ProtocolError::LineTooLong));
    // What is announced costs nothing until it is there.
    assert_eq!(parse_frame(b"*4294967295\r\n"), Ok(None));
}

#[test]
fn an_attribute_and_its_reply_are_one_frame() {
    let stream = b"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n>1\r\n+x\r\n";
    assert_eq!(delimit(stream, &[]), (vec![(21, b'$' | ATTRIBUTED), (29, b'>')], None));
    let mut delimiter = Delimiter::new();
    assert_eq!(delimiter.feed(&stream[..14]), Ok(Fed::Partial));
    assert_eq!((delimiter.kind(), delimiter.is_fresh()), (b'|', false));
    assert_eq!(delimiter.feed(&stream[14..16]), Ok(Fed::Partial));
    assert_eq!(delimiter.kind(), b'$' | ATTRIBUTED);
}

#[test]
fn a_bulk_string_tells_what_is_left_and_can_be_skipped() {
    let mut delimiter = Delimiter::new();
    assert_eq!(delimiter.feed(b"*2\r\n$10"), Ok(Fed::Partial));
    assert_eq!(delimiter.bulk_remaining(), 0);
    assert_eq!(delimiter.feed(b"0\r\nabc"), Ok(Fed::Partial));
    assert_eq!(delimiter.bulk_remaining(), 99);
    assert_eq!(delimiter.skip_body(90), 90);
    assert_eq!(delimiter.skip_body(90), 7);
    assert_eq!(delimiter.bulk_remaining(), 2);
    assert_eq!(delimiter.feed(b"\r"), Ok(Fed::Partial));
    assert_eq!((delimiter.bulk_remaining(), delimiter.skip_body(9)), (1, 0));
    assert_eq!(delimiter.feed(b"\n:1\r\n+next"), Ok(Fed::Frame { len: 5, kind: b'*' }));
    assert_eq!(delimiter.bulk_remaining(), 0);
}

#[test]
fn a_line_ends_at_crlf_alone() {
    assert_eq!(delimit(b"+a\rb\nc\r\n", &[3, 5, 7]), (vec![(8, b'+')], None));
    assert_eq!(delimit(b"+\n\r\r\n", &[1, 2, 3, 4]), (vec![(5, b'+')], None));
}
