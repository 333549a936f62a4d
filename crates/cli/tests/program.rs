//! The binary as somebody meets it who knows nothing of it yet.
//!
//! That these tests ask for the binary is also why `cargo test --workspace` builds it, with the same features of the same
//! dependencies as everything else: `tools/test` takes it from there for the tests against real servers.

use std::process::{Command, Output};

fn shoal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shoal")).args(arguments).output().expect("run shoal")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_tells_its_version() {
    let output = shoal(&["--version"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(text(&output.stdout), concat!("shoal ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn its_help_names_what_it_can_do_and_each_of_those_has_its_own() {
    let help = text(&shoal(&["--help"]).stdout);
    for command in ["proxy", "up"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} in {help}");
        let output = shoal(&[command, "--help"]);
        let usage = format!("Usage: shoal {command}");
        assert!(output.status.success() && text(&output.stdout).contains(&usage), "{output:?}");
    }
}

#[test]
fn without_words_or_with_unknown_ones_it_fails_and_says_how_to_go_on() {
    for arguments in [&[][..], &["prxy"], &["--no-such-flag"], &["proxy", "--no-such-flag"]] {
        let output = shoal(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(
            output.stdout.is_empty() && text(&output.stderr).contains("--help"),
            "{arguments:?}: {output:?}"
        );
    }
}
