//! Makes docs/kernels.md: what works on the kernels of which distribution. `kernels [--write] [SUITE]…` boots each
//! kernel in a virtual machine (`tests/tools/vm.sh`) and runs live tests there, the same binaries as everywhere.
//!
//! The processor of that machine is emulated, so only tests whose patience suffices for that are asked.
#![allow(clippy::panic, reason = "a tool of the tests says in one sentence what is wrong and ends")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use corduroy_tests::{process, vm};

/// Debian's releases: the suite and its number.
const SUITES: [(&str, &str); 3] = [("bullseye", "11"), ("bookworm", "12"), ("trixie", "13")];

const SERVICES: (&str, &[&str]) = (
    "addresses of services are announced; what nobody translated goes nowhere",
    &[
        "fabric::services::what_is_translated_reaches_its_pod_from_everywhere_and_the_rest_neither_loops_nor_leaves",
    ],
);

const POLICIES: (&str, &[&str]) = (
    "policies of pods and hosts, and what they denied is told",
    &[
        "policy::changes::what_is_denied_by_now_is_cut_even_where_only_answers_flow_and_the_rest_goes_on",
        "policy::hosts::a_host_endpoint_is_closed_but_for_failsafe_ports_until_policies_open_it",
        "policy::hosts::a_policy_before_translation_decides_by_the_untranslated_port_and_for_all_of_the_hosts_policies",
        "policy::told::each_denied_packet_is_told_with_pods_and_policy",
    ],
);

/// A row of the page and the live tests that stand for it.
const ROWS: [(&str, &[&str]); 10] = [
    (
        "pods get addresses of both families and reach each other and their node",
        &[
            "cni::a_pod_gets_an_address_of_each_family_and_a_gateway_that_nobody_has_to_look_for",
            "cni::pods_and_their_node_reach_each_other_without_a_single_arp_or_neighbour_solicitation",
        ],
    ),
    (
        "routes within a rack, and a dead node's go",
        &["fabric::a_mesh_routes_pods_of_one_rack_plainly_and_a_dead_node_leaves_no_route"],
    ),
    (
        "VXLAN between racks",
        &["fabric::racks_reach_each_other_by_vxlan_and_the_node_itself_speaks_from_its_tunnel_address"],
    ),
    ("IPIP between racks", &["ipip::ipip_carries_pods_between_racks_and_nothing_within_one"]),
    (
        "a pod can't forge its source, open BGP, or be heard before it is wired",
        &[
            "cni::pool::a_pod_that_forges_its_source_is_heard_by_nobody",
            "cni::pool::a_pod_can_not_open_a_bgp_session_with_its_node",
            "cni::pool::what_the_agent_has_not_wired_passes_nothing_even_with_everything_set_by_hand",
        ],
    ),
    SERVICES,
    POLICIES,
    (
        "an agent that is killed loses no packet",
        &["fabric::restart::a_killed_agent_and_its_successor_lose_no_packet_in_a_tunnel"],
    ),
    (
        "what somebody removes of ours comes back",
        &["fabric::repair::whatever_somebody_else_removes_of_ours_comes_back_as_it_was"],
    ),
    ("an uninstalled node is as before", &["install::an_uninstalled_node_is_as_it_was_before"]),
];

const HEAD: &str = "\
# Kernels

What the live tests found on the kernels of these distributions, each booted in a virtual machine with the binaries of
this build. A row says yes when its tests passed there. [kernel.md](kernel.md) says what a kernel must have.
";

fn main() {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let write = wanted.iter().any(|word| word == "--write");
    wanted.retain(|word| word != "--write");
    let live = live();
    let columns: Vec<_> = SUITES
        .iter()
        .filter(|(suite, _)| wanted.is_empty() || wanted.iter().any(|word| word == suite))
        .map(|(suite, number)| (*number, run(suite, &live)))
        .collect();
    let page = page(&columns);
    if write {
        let path = process::workspace().join("docs/kernels.md");
        std::fs::write(&path, page).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    } else {
        println!("{page}");
    }
}

/// The live tests' binary, built.
fn live() -> String {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--quiet", "--workspace", "--test", "live", "--no-run"]);
    cargo.args(["--message-format", "json"]).current_dir(process::workspace());
    let said = process::output(cargo);
    let path = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(
        |message| {
            let is_it = message["target"]["name"] == "live";
            is_it.then(|| message["executable"].as_str().map(str::to_owned)).flatten()
        },
    );
    path.unwrap_or_else(|| panic!("cargo does not say where the live tests are"))
}

/// What one kernel did.
struct Found {
    release: String,
    /// Test and whether it passed.
    tests: BTreeMap<String, bool>,
}

fn run(suite: &str, live: &str) -> Found {
    let tests: Vec<_> = ROWS.iter().flat_map(|(_, tests)| tests.iter()).collect();
    let mut command = vm::command();
    command.env("CORDUROY_VM_SUITE", suite).env("CORDUROY_VM_TIMEOUT", "3600").env("CORDUROY_VM_CPUS", "2");
    // The agent is started once before: the first time it is read from a disk that is emulated, too.
    let warm = "uname -r; \"$CORDUROY_BIN_DIR/corduroy-agent\" --help >/dev/null; exec \"$@\"";
    command.args(["bash", "-c", warm, "bash", live, "--exact", "--test-threads=1"]);
    let output = command.args(tests).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|e| panic!("the virtual machine of {suite}: {e}"));
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}");
    let release = said.lines().next().unwrap_or_default().to_owned();
    let result = |line: &str| {
        let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
        Some((name.to_owned(), verdict == "ok"))
    };
    Found { release, tests: said.lines().filter_map(result).collect() }
}

fn page(columns: &[(&str, Found)]) -> String {
    let mut page = format!("{HEAD}\n{}\n\n| |", dated());
    for (number, found) in columns {
        let _ = write!(page, " Debian {number}, {} |", found.release);
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(columns.len()));
    for (label, tests) in ROWS {
        let _ = write!(page, "\n| {label} |");
        for (number, found) in columns {
            let passed = |test: &&str| {
                let result = found.tests.get(*test);
                *result.unwrap_or_else(|| panic!("Debian {number}: no test {test} was run"))
            };
            page.push_str(if tests.iter().all(passed) { " yes |" } else { " no |" });
        }
    }
    page.push('\n');
    page
}

fn dated() -> String {
    let mut day = Command::new("date");
    day.args(["-u", "+%F"]);
    let mut commit = Command::new("git");
    commit.arg("-C").arg(process::workspace()).args(["describe", "--always", "--dirty= with changes"]);
    let (day, commit) = (process::output(day), process::output(commit));
    format!("Written by `make kernels` on {} at {}.", day.trim(), commit.trim())
}
