//! Walks `testdata/nutcracker/config/test-conf.yaml`: what the flag `-t` takes and refuses.

use std::path::Path;

use shoal_e2e::cases::{TestConf, load};
use shoal_e2e::{Nutcracker, Process, ShoalProxy, Workplace, wait};

#[test]
fn the_cases_are_true_of_the_real_nutcracker() {
    let workplace = Workplace::new();
    let failures = walk(&workplace, &Nutcracker::program(), |case| (case.taken, &[]));
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn ours_takes_and_refuses_as_the_cases_say() {
    let workplace = Workplace::new();
    let program = ShoalProxy::as_nutcracker(&workplace);
    let failures = walk(&workplace, &program, |case| {
        (case.ours.as_ref().map_or(case.taken, |ours| ours.taken), &case.names)
    });
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

/// Asks the program about every case; what did not hold.
fn walk(
    workplace: &Workplace,
    program: &Path,
    expected: impl Fn(&TestConf) -> (bool, &[String]),
) -> Vec<String> {
    let mut failures = Vec::new();
    for case in load::<Vec<TestConf>>("config/test-conf.yaml") {
        let file = workplace.write("nutcracker.yml", &case.text());
        let args = ["-t", "-c", &file.to_string_lossy()];
        let mut process = Process::start(program, &args, &file.with_file_name("log"));
        let ended = wait::until("the end of a configuration test", || process.ended());
        let said = process.log();
        let (taken, names) = expected(&case);
        let status = i32::from(!taken);
        let code = ended.code();
        if code != Some(status) {
            failures.push(format!("{}: exit status {code:?}, not {status}: {said}", case.case));
        } else if let Some(name) = names.iter().find(|name| !taken && !said.contains(name.as_str())) {
            failures.push(format!("{}: the refusal does not name {name}: {said}", case.case));
        }
    }
    failures
}
