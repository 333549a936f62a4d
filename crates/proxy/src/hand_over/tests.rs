use proptest::prelude::*;

use super::giver::Wants;
use super::message::{HEADER, LENGTH_MAX, MAGIC, TEXT_MAX};
use super::taker::Did;
use super::*;

fn who(pid: u32) -> Who {
    Who { pid, program: "0.1.0".to_owned() }
}

fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..40).prop_map(|chars| chars.into_iter().collect())
}

fn any_offered() -> impl Strategy<Value = Offered> {
    let uses = prop::sample::select(vec![Use::Pool, Use::Admin, Use::Statistics, Use::HandOver]);
    (uses, any_text(), any_text()).prop_map(|(used_for, name, listen)| Offered { used_for, name, listen })
}

fn any_who() -> impl Strategy<Value = Who> {
    (any::<u32>(), any_text()).prop_map(|(pid, program)| Who { pid, program })
}

fn any_message() -> impl Strategy<Value = Message> {
    let kept = prop::collection::btree_set(any::<u16>(), 0..50);
    prop_oneof![
        any_who().prop_map(Message::Ask),
        (any_who(), 0..=SOCKETS_MAX as u16).prop_map(|(from, sockets)| Message::Offer { from, sockets }),
        any_offered().prop_map(Message::Socket),
        kept.prop_map(|kept| Message::Ready { kept: kept.into_iter().collect() }),
        Just(Message::Yielded),
        any_text().prop_map(Message::Refused),
    ]
}

fn read_all(bytes: &[u8], piece: usize) -> Result<Vec<Message>, Fault> {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        decoder.handle_bytes(piece);
        while let Some(message) = decoder.poll()? {
            messages.push(message);
        }
    }
    Ok(messages)
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        messages in prop::collection::vec(any_message(), 0..8),
        piece in 1usize..200,
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
        prop_assert_eq!(read_all(&bytes, piece), Ok(messages));
    }

    #[test]
    fn a_message_without_its_end_is_waited_for(message in any_message(), cut in any::<prop::sample::Index>()) {
        let bytes = message.encode();
        let mut decoder = Decoder::default();
        decoder.handle_bytes(&bytes[..cut.index(bytes.len())]);
        prop_assert_eq!(decoder.poll(), Ok(None));
    }

    #[test]
    fn a_changed_byte_is_refused_or_is_another_message_and_never_breaks_anything(
        message in any_message(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = read_all(&bytes, 7) {
            // All that can be read is written as it came, whatever it is, but for the version of a refusal.
            let again: Vec<u8> = read.iter().flat_map(Message::encode).collect();
            let same = |(place, (was, is)): (usize, (&u8, &u8))| was == is || (8..10).contains(&place);
            prop_assert!(bytes.iter().zip(&again).enumerate().all(same));
        }
    }

    #[test]
    fn a_hand_over_comes_to_its_end_however_it_is_cut(
        sockets in prop::collection::vec(any_offered(), 0..12),
        piece in 1usize..60,
        keep in any::<u16>(),
    ) {
        let (mut giver, mut taker) = (Giver::default(), Taker::default());
        let feed = |giver: &mut Giver, bytes: &[u8]| -> Result<Option<Wants>, Fault> {
            let mut wants = None;
            for piece in bytes.chunks(piece) {
                giver.handle_bytes(piece);
                wants = wants.or(giver.poll()?);
            }
            Ok(wants)
        };
        prop_assert_eq!(feed(&mut giver, &Taker::ask(who(2))), Ok(Some(Wants::Sockets(who(2)))));
        let mut descriptors = 0;
        let mut did = None;
        for (nth, message) in giver.offer(who(1), sockets.clone()).into_iter().enumerate() {
            // The kernel gives a descriptor with its message's first byte.
            descriptors += usize::from(nth > 0);
            for piece in message.chunks(piece) {
                prop_assert!(did.is_none());
                taker.handle_bytes(piece);
                did = taker.poll(descriptors).unwrap();
            }
        }
        prop_assert_eq!(did, Some(Did::Offered { from: who(1), sockets: sockets.clone() }));
        let kept: Vec<u16> = (0..sockets.len() as u16).filter(|place| keep >> (place % 16) & 1 == 1).collect();
        prop_assert_eq!(feed(&mut giver, &Taker::ready(kept.clone())), Ok(Some(Wants::Yield(kept))));
        taker.handle_bytes(&Giver::yielded());
        prop_assert_eq!(taker.poll(descriptors), Ok(Some(Did::Yielded)));
    }
}

/// A header with this version, kind and length, and so many bytes inside.
fn raw(version: u16, kind: u16, length: u32, inside: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(version.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(inside);
    bytes
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        (b"*1\r\n$4\r\nPING\r\n".to_vec(), Fault::NotShoal),
        (b"SHOALHNX".to_vec(), Fault::NotShoal),
        (raw(2, 1, 0, b""), Fault::Version { theirs: 2 }),
        (raw(VERSION, 7, 0, b""), Fault::Kind(7)),
        (raw(VERSION, 1, LENGTH_MAX as u32 + 1, b""), Fault::TooLong { length: LENGTH_MAX as u32 + 1 }),
        (raw(VERSION, 1, u32::MAX, b""), Fault::TooLong { length: u32::MAX }),
        (raw(VERSION, 1, 3, b"abc"), Fault::Malformed("ask")),
        (raw(VERSION, 5, 1, b"x"), Fault::Malformed("yielded")),
        (raw(VERSION, 3, 5, b"\x09\0\0\0\0"), Fault::Malformed("socket")),
        (raw(VERSION, 4, 6, b"\0\x02\0\x05\0\x05"), Fault::Malformed("ready")),
        (raw(VERSION, 6, 4, b"\0\x02\xff\xff"), Fault::Malformed("refused")),
        (raw(VERSION, 2, 8, b"\0\0\0\x01\0\0\xff\xff"), Fault::Malformed("offer")),
    ];
    for (bytes, fault) in cases {
        assert_eq!(read_all(&bytes, usize::MAX), Err(fault.clone()), "{bytes:?}");
        assert_eq!(read_all(&bytes, 1), Err(fault), "{bytes:?} in single bytes");
    }
}

#[test]
fn a_refusal_is_read_whatever_its_version() {
    let mut bytes = Giver::refusal("you are too new");
    bytes[8..10].copy_from_slice(&9u16.to_be_bytes());
    let mut taker = Taker::default();
    taker.handle_bytes(&bytes);
    assert_eq!(taker.poll(0), Err(Fault::Refused("you are too new".to_owned())));
}

#[test]
fn a_text_that_is_too_long_is_cut_between_characters() {
    let long = "ä".repeat(TEXT_MAX);
    let bytes = Message::Refused(long.clone()).encode();
    assert_eq!(bytes.len(), HEADER + 2 + TEXT_MAX);
    let whole = long[..TEXT_MAX].to_owned();
    assert_eq!(read_all(&bytes, 100), Ok(vec![Message::Refused(whole)]));
    assert_eq!(Message::Refused(format!("x{long}")).encode().len(), HEADER + 2 + TEXT_MAX - 1);
}

#[test]
fn a_wrong_number_of_sockets_is_refused() {
    let sockets =
        vec![Offered { used_for: Use::Pool, name: "alpha".into(), listen: "127.0.0.1:1".into() }; 2];
    for descriptors in [0, 1, 3] {
        let (mut giver, mut taker) = (Giver::default(), Taker::default());
        taker.handle_bytes(&giver.offer(who(1), sockets.clone()).concat());
        assert_eq!(taker.poll(descriptors), Err(Fault::Sockets { promised: 2, came: descriptors }));
    }
}

#[test]
fn a_message_out_of_turn_and_an_early_end_are_told() {
    let mut giver = Giver::default();
    giver.handle_bytes(&Taker::ready(Vec::new()));
    assert_eq!(giver.poll(), Err(Fault::Unexpected { came: "ready", waiting_for: "`ask`" }));
    let mut giver = Giver::default();
    assert_eq!(giver.handle_end(), Fault::Closed { waiting_for: "`ask`" });
    giver.handle_bytes(&Taker::ask(who(1))[..9]);
    assert_eq!((giver.poll(), giver.handle_end()), (Ok(None), Fault::Truncated));
    let mut giver = Giver::default();
    giver.offer(who(1), Vec::new());
    giver.handle_bytes(&Taker::ready(vec![0]));
    assert_eq!(giver.poll(), Err(Fault::Malformed("ready")), "a socket that was not offered");
    let mut taker = Taker::default();
    taker.handle_bytes(&Giver::yielded());
    assert_eq!(taker.poll(0), Err(Fault::Unexpected { came: "yielded", waiting_for: "`offer`" }));
}
