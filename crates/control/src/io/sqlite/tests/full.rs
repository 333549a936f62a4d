//! A disk that is full: a small file system of memory, in a mount namespace of a child's own.

use super::*;
use std::process::Command;

/// By which the child knows that it is one, and where the small file system is.
const SMALL: &str = "SHOAL_TEST_SMALL_FILE_SYSTEM";

#[test]
fn refuses_and_goes_on_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let own_mounts: &[&[&str]] = &[&["--mount"], &["--mount", "--map-root-user"]];
    let works = |flags: &&&[&str]| {
        let tried = Command::new("unshare")
            .args(**flags)
            .args(["mount", "-t", "tmpfs", "none"])
            .arg(folder.path())
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(flags) = own_mounts.iter().find(works) else {
        println!("skipped: this machine lets nobody have mounts of their own (unshare --mount)");
        return;
    };
    let script = "mount -t tmpfs -o size=600k none \"$1\" && exec \"$2\" --exact \
                  io::sqlite::tests::full::child_fills_the_disk --nocapture";
    let child = Command::new("unshare")
        .args(*flags)
        .args(["sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .env(SMALL, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("! filled"),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

/// Not a test by itself: what `refuses_and_goes_on_when_there_is_room_again` starts.
#[test]
fn child_fills_the_disk() {
    let Some(folder) = std::env::var_os(SMALL).map(PathBuf::from) else { return };
    let (path, ballast) = (folder.join("store.db"), folder.join("ballast"));
    fs::write(&ballast, vec![0; 100_000]).unwrap();
    let store = Sqlite::create(&path).unwrap();
    let mut written = Marks::new();
    let error = loop {
        let mark = written.len() as u64 + 1;
        let name = format!("n{mark}");
        match put(&store, &name, mark) {
            Ok(_) => written.insert(name, mark),
            Err(error) => break error,
        };
        assert!(mark < 100_000, "the disk is never full");
    };
    assert!(matches!(error, Error::StoreFull { .. }), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(marks(&store), written, "what was refused is not there, all else is");
    assert!(matches!(put(&store, "another", 1), Err(Error::StoreFull { .. })));
    assert!(matches!(store.backup(&folder.join("bak")), Err(Error::StoreFull { .. })));

    fs::remove_file(&ballast).unwrap();
    let _ = fs::remove_file(folder.join("bak-unfinished"));
    put(&store, "another", 1).unwrap();
    written.insert("another".to_owned(), 1);
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(marks(&store), written);
    println!("\n! filled with {}", written.len());
}
