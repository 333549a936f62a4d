use super::*;

fn joined(kind: JoinKind, part_of_key: &[u16], replies: &[&str]) -> String {
    let mut joins = Joins::default();
    let mut buffers = BufferPool::default();
    let owner = Key { index: 1, generation: 2 };
    let id = joins.open(kind, owner);
    joins.get_mut(id).part_of_key.extend_from_slice(part_of_key);
    for _ in replies {
        joins.get_mut(id).add_part();
    }
    let mut out = Vec::new();
    for (part, reply) in replies.iter().enumerate().rev() {
        let (first, second) = reply.as_bytes().split_at(reply.len() / 2);
        assert!(!joins.deliver(&mut buffers, id, part as u16, first, false));
        assert_eq!(joins.deliver(&mut buffers, id, part as u16, second, true), part == 0);
    }
    assert_eq!(joins.close(&mut buffers, id, &mut out), (owner, 0));
    assert_eq!(joins.open_count(), 0);
    String::from_utf8(out).unwrap()
}

#[test]
fn elements_go_to_the_places_of_their_keys() {
    let replies = ["*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$3\r\nb\r\n\r\n"];
    let expected = "*3\r\n$1\r\na\r\n$3\r\nb\r\n\r\n$-1\r\n";
    assert_eq!(joined(JoinKind::ByPosition, &[0, 1, 0], &replies), expected);
}

#[test]
fn integers_are_summed_and_oks_agree() {
    assert_eq!(joined(JoinKind::Sum, &[0, 1, 1], &[":1\r\n", ":2\r\n"]), ":3\r\n");
    assert_eq!(joined(JoinKind::AllOk, &[0, 1], &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
}

#[test]
fn the_first_part_that_fails_is_the_answer() {
    let noreplicas = "-NOREPLICAS Not enough good replicas to write.\r\n";
    assert_eq!(joined(JoinKind::AllOk, &[0, 1], &["+OK\r\n", noreplicas]), noreplicas);
    assert_eq!(joined(JoinKind::ByPosition, &[0, 1], &["*1\r\n$-1\r\n", "-ERR x\r\n"]), "-ERR x\r\n");
}

#[test]
fn a_part_of_the_wrong_form_or_length_is_an_error_and_not_a_guess() {
    let error = format!("-{UNEXPECTED}\r\n");
    assert_eq!(joined(JoinKind::Sum, &[0], &["+OK\r\n"]), error);
    assert_eq!(joined(JoinKind::ByPosition, &[0, 0], &["*1\r\n$-1\r\n"]), error);
    assert_eq!(joined(JoinKind::ByPosition, &[0], &["*2\r\n$-1\r\n$-1\r\n"]), error);
}

fn begun(kind: JoinKind, parts: usize) -> (Joins, JoinId) {
    let mut joins = Joins::default();
    let id = joins.open(kind, Key { index: 1, generation: 2 });
    for _ in 0..parts {
        joins.get_mut(id).add_part();
    }
    (joins, id)
}

#[test]
fn arrays_of_shards_stand_one_behind_another() {
    let replies = ["*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*0\r\n", "*1\r\n$1\r\nc\r\n"];
    let expected = "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
    assert_eq!(joined(JoinKind::Concat, &[], &replies), expected);
    assert_eq!(joined(JoinKind::Concat, &[], &["*1\r\n$1\r\na\r\n", "-ERR x\r\n"]), "-ERR x\r\n");
}

#[test]
fn a_script_exists_where_every_shard_has_it() {
    let replies = ["*3\r\n:1\r\n:1\r\n:0\r\n", "*3\r\n:1\r\n:0\r\n:0\r\n"];
    assert_eq!(joined(JoinKind::Every, &[], &replies), "*3\r\n:1\r\n:0\r\n:0\r\n");
    let error = format!("-{UNEXPECTED}\r\n");
    assert_eq!(joined(JoinKind::Every, &[], &["*1\r\n:1\r\n", "*2\r\n:1\r\n:1\r\n"]), error);
    assert_eq!(joined(JoinKind::Every, &[], &["*1\r\n:2\r\n"]), error);
}

#[test]
fn shards_that_answer_differently_are_an_error() {
    assert_eq!(joined(JoinKind::Same, &[], &["$1\r\na\r\n", "$1\r\na\r\n"]), "$1\r\na\r\n");
    assert_eq!(joined(JoinKind::Same, &[], &["$1\r\na\r\n", "$1\r\nb\r\n"]), format!("-{UNEXPECTED}\r\n"));
}

#[test]
fn any_key_is_one_of_the_first_shard_that_has_one() {
    let replies = ["$1\r\na\r\n", "$-1\r\n", "$1\r\nc\r\n"];
    for (first, expected) in [(0, "$1\r\na\r\n"), (1, "$1\r\nc\r\n"), (2, "$1\r\nc\r\n")] {
        let (mut joins, id) = begun(JoinKind::Any, 3);
        joins.get_mut(id).first = first;
        let (mut buffers, mut out) = (BufferPool::default(), Vec::new());
        for (part, reply) in replies.iter().enumerate() {
            joins.deliver(&mut buffers, id, part as u16, reply.as_bytes(), true);
        }
        joins.close(&mut buffers, id, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    assert_eq!(joined(JoinKind::Any, &[], &["$-1\r\n", "$-1\r\n"]), "$-1\r\n");
    assert_eq!(joined(JoinKind::Any, &[], &["_\r\n"]), "_\r\n");
}

#[test]
fn large_arrays_are_passed_on_in_order_while_they_come_in() {
    let (mut joins, id) = begun(JoinKind::Concat, 2);
    let (mut buffers, mut out) = (BufferPool::default(), Vec::new());
    joins.deliver(&mut buffers, id, 1, b"*1\r\n$1\r\nc\r\n", true);
    joins.begin_passing(id, &mut out);
    assert!(!joins.is_passing(id), "the number of elements is not known");
    assert!(joins.needs(id, 0));
    joins.deliver(&mut buffers, id, 0, b"*2\r\n$1\r\na", false);
    joins.begin_passing(id, &mut out);
    joins.pass_on(&mut buffers, id, &mut out).unwrap();
    assert_eq!(String::from_utf8_lossy(&out), "*3\r\n$1\r\na");
    assert!(joins.needs(id, 0) && !joins.needs(id, 1));
    joins.deliver(&mut buffers, id, 0, b"\r\n$1\r\nb\r\n", true);
    joins.pass_on(&mut buffers, id, &mut out).unwrap();
    assert_eq!(String::from_utf8_lossy(&out), "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    assert_eq!(joins.held(id), 0);
    assert!(joins.end_passed(id));
    assert_eq!(joins.open_count(), 0);
}

#[test]
fn a_shard_that_fails_while_its_array_is_passed_on_is_malformed() {
    let (mut joins, id) = begun(JoinKind::Concat, 2);
    let (mut buffers, mut out) = (BufferPool::default(), Vec::new());
    joins.deliver(&mut buffers, id, 0, b"*1\r\n$1\r\na", false);
    joins.deliver(&mut buffers, id, 1, b"*1\r\n", false);
    joins.begin_passing(id, &mut out);
    joins.replace(&mut buffers, id, 1, b"-ERR gone\r\n");
    joins.deliver(&mut buffers, id, 0, b"\r\n", true);
    assert_eq!(joins.pass_on(&mut buffers, id, &mut out), Err(Malformed));
}

#[test]
fn a_part_that_fails_before_a_large_reply_is_passed_on_is_the_reply() {
    for kind in [JoinKind::Concat, JoinKind::ByPosition] {
        let (mut joins, id) = begun(kind, 3);
        joins.get_mut(id).part_of_key.extend_from_slice(&[0, 1, 2]);
        let (mut buffers, mut out) = (BufferPool::default(), Vec::new());
        joins.deliver(&mut buffers, id, 0, b"*1\r\n$5\r\na", false);
        joins.replace(&mut buffers, id, 1, b"-LOADING x\r\n");
        joins.begin_passing(id, &mut out);
        joins.pass_on(&mut buffers, id, &mut out).unwrap();
        assert!(joins.needs(id, 0));
        joins.deliver(&mut buffers, id, 0, b"bcde\r\n", true);
        joins.pass_on(&mut buffers, id, &mut out).unwrap();
        assert!(!joins.end_passed(id));
        joins.deliver(&mut buffers, id, 2, b"*1\r\n$-1\r\n", true);
        joins.pass_on(&mut buffers, id, &mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), "-LOADING x\r\n");
        assert!(joins.end_passed(id) && joins.held(id) == 0);
    }
}
