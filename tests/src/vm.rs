//! A kernel with everything: Debian's own, in a virtual machine that sees this machine's files (`tests/tools/vm.sh`).

use std::process::Command;

use crate::process;

/// Set inside the machine.
const INSIDE: &str = "CORDUROY_IN_VM";

/// A command line to run in the machine, in the current directory. What follows is the command itself.
///
/// Programs lie where they lie here; `CORDUROY_BIN_DIR` tells [`process::binary`] where ours are, since there is
/// nothing to build with inside.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(process::workspace().join("tests/tools/vm.sh"));
    command.args(["--env", INSIDE, "--env", "CORDUROY_BIN_DIR", "--env", "RUST_BACKTRACE"]).arg("--");
    command.env(INSIDE, "1");
    command
}

/// Whether this process runs inside the machine.
#[must_use]
pub fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs one test of this test binary, named as `cargo test` names it, inside the machine, unless this is that run:
/// then it answers `true` and the test goes on with its body. Ours of `binaries` are built first.
///
/// ```no_run
/// if corduroy_tests::vm::here("tunnels::ipip_carries_pods_across_racks", &["corduroy-agent"]) {
///     // … needs ipip …
/// }
/// ```
#[track_caller]
pub fn here(test: &str, binaries: &[&str]) -> bool {
    if inside() {
        return true;
    }
    let folders: Vec<_> = binaries.iter().map(|name| process::binary(name)).collect();
    let me = std::env::current_exe().unwrap_or_else(|e| panic!("the test does not know where it lies: {e}"));
    let mut machine = command();
    if let Some(folder) = folders.first().and_then(|path| path.parent()) {
        machine.env("CORDUROY_BIN_DIR", folder);
    }
    machine.arg(me).args(["--exact", test, "--nocapture"]);
    let said = process::output(machine);
    assert!(said.contains("1 passed"), "no test is called {test}:\n{said}");
    false
}
