//! A file that is not what was written.

use super::*;

/// A store's bytes, and what they hold.
fn sound() -> (TempDir, Vec<u8>, Marks) {
    let (folder, path) = fresh();
    let store = Sqlite::create(&path).unwrap();
    for nth in 1..60 {
        put(&store, &format!("n{nth}"), nth).unwrap();
    }
    for nth in (1..60).step_by(7) {
        delete(&store, &format!("n{nth}")).unwrap();
    }
    let marks = marks(&store);
    drop(store);
    assert!(!beside(&path, "wal").exists(), "all is in the file");
    let bytes = fs::read(&path).unwrap();
    (folder, bytes, marks)
}

/// Whatever byte rots: the store says so and what to do, or holds what it held.
#[test]
fn a_byte_that_rots_is_named_or_does_no_harm() {
    let (folder, bytes, expected) = sound();
    let path = folder.path().join("rotten.db");
    let mut random = Random(11);
    let mut places: Vec<usize> = (0..100).collect();
    places.extend((0..500).map(|_| usize::try_from(random.below(bytes.len() as u64)).unwrap()));
    let mut named = 0;
    for place in places {
        let mut rotten = bytes.clone();
        rotten[place] ^= 1 << random.below(8);
        fs::write(&path, &rotten).unwrap();
        match Sqlite::open(&path) {
            Ok(store) => assert_eq!(marks(&store), expected, "byte {place}"),
            Err(
                error @ (Error::StoreDamaged { .. } | Error::StoreNewer { .. } | Error::StoreFailed { .. }),
            ) => {
                named += 1;
                assert!(error.to_string().contains("rotten.db"), "{error}");
                let header = 100;
                assert!(
                    place < header || matches!(error, Error::StoreDamaged { .. }),
                    "byte {place}: {error}"
                );
            }
            Err(error) => panic!("byte {place}: {error}"),
        }
        let _ = fs::remove_file(beside(&path, "wal"));
    }
    assert!(named > 200, "{named}: most bytes hold something");
}

#[test]
fn a_file_that_ends_early_is_damaged() {
    let (folder, bytes, expected) = sound();
    let path = folder.path().join("torn.db");
    for length in [0, 1, 99, 100, 1000, 4096, 5000, bytes.len() - 4096, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = match Sqlite::open(&path) {
            // The last page may hold nothing.
            Ok(store) if length + 4096 >= bytes.len() => {
                assert_eq!(marks(&store), expected, "{length}");
                continue;
            }
            Ok(_) => panic!("{length} of {} bytes were taken for a store", bytes.len()),
            Err(error) => error,
        };
        assert!(matches!(error, Error::StoreDamaged { .. }), "{length}: {error}");
        assert!(error.to_string().contains("restore the last backup"), "{error}");
        // Nothing is made in its place, and the evidence is left.
        assert!(Sqlite::open_or_create(&path).is_err());
        assert!(fs::read(&path).unwrap() == bytes[..length], "{length}");
    }
}

#[test]
fn an_object_that_is_missing_or_changed_by_hand_is_noticed() {
    let (folder, bytes, _) = sound();
    let path = folder.path().join("edited.db");
    for statement in [
        "DELETE FROM objects WHERE name = 'n5'",
        "UPDATE objects SET body = replace(body, '1GiB', '9GiB') WHERE name = 'n5'",
        "UPDATE objects SET name = 'other' WHERE name = 'n5'",
        "UPDATE summary SET last = last - 1",
        "DELETE FROM summary",
        "DROP TABLE objects",
        "PRAGMA application_id = 0",
    ] {
        fs::write(&path, &bytes).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(statement).unwrap();
        connection.close().unwrap();
        let error = Sqlite::open(&path).unwrap_err();
        assert!(matches!(error, Error::StoreDamaged { .. }), "{statement}: {error}");
    }
}

#[test]
fn a_newer_format_and_a_stranger_s_file_are_told_apart() {
    let (folder, bytes, _) = sound();
    let path = folder.path().join("other.db");
    fs::write(&path, &bytes).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    connection.close().unwrap();
    assert!(matches!(Sqlite::open(&path), Err(Error::StoreNewer { format: 2, known: 1, .. })));

    fs::write(&path, "apiVersion: shoal.dev/v1alpha1\n".repeat(50)).unwrap();
    assert!(matches!(Sqlite::open(&path), Err(Error::StoreDamaged { .. })));
    let backup = folder.path().join("no-backup");
    fs::write(&backup, "nonsense").unwrap();
    let error = restore(&backup, &folder.path().join("new.db")).unwrap_err();
    assert!(error.to_string().contains("no-backup"), "{error}");
    assert!(!folder.path().join("new.db").exists());
}
