//! `make bench`: how fast we are, against whom, on the same machine in the same run.
//!
//! ```text
//! bench [--runs N] [--write] [SCENARIO]…     all scenarios, 5 runs each, medians to stdout
//! ```
//! `--write` puts the tables into docs/benchmarks.md, between the markers of each scenario; what others have written
//! there stays. A scenario is a row of [`SCENARIOS`]: what is measured, of whom, and one function that does one run.
#![allow(clippy::panic, reason = "a benchmark that can't run says so and ends")]
#![allow(unreachable_pub, reason = "the modules of a program see each other only")]

mod bgp;
mod cni;
mod fabric;
mod load;
mod pods;
mod policy;
mod report;
mod routes;
mod scale;
mod usage;

use std::process::ExitCode;

/// One thing to measure.
struct Scenario {
    name: &'static str,
    /// What is done, in a sentence; the table's caption.
    what: &'static str,
    /// Who is measured, ours first.
    contenders: &'static [&'static str],
    /// The Debian packages of the others.
    packages: &'static [&'static str],
    /// One run of one of them.
    run: fn(&str) -> Vec<report::Figure>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one",
        what: "200,000 IPv4 prefixes in 20,000 shuffled attribute sets from one eBGP peer to one other",
        contenders: &["corduroy", "bird", "frr"],
        packages: &["bird2", "frr"],
        run: bgp::one,
    },
    Scenario {
        name: "rr150",
        what: "50,000 IPv4 prefixes in 5,000 attribute sets among 150 clients of a route reflector",
        contenders: &["corduroy", "bird", "frr"],
        packages: &["bird2", "frr"],
        run: bgp::rr150,
    },
    Scenario {
        name: "routes",
        what: "100,000 shuffled IPv4 routes by way of one gateway into an empty kernel",
        contenders: &["corduroy", "bird", "ip -batch"],
        packages: &["bird2", "iproute2"],
        run: routes::routes,
    },
    Scenario {
        name: "cni",
        what: "500 pods on one node, IPv4, one CNI call at a time and 50 at a time, from start to end of the plugin",
        contenders: &["corduroy", "ptp"],
        packages: &["containernetworking-plugins"],
        run: cni::pods,
    },
    Scenario {
        name: "pods",
        what: "110 pods on one node of a real cluster, started at once and removed at once",
        contenders: &["corduroy", "hostNetwork", "bridge"],
        packages: &["containernetworking-plugins", "containerd"],
        run: pods::crowd,
    },
    Scenario {
        name: "join",
        what: "a fourth node of a cluster, from the start of its agent",
        contenders: &["corduroy"],
        packages: &[],
        run: fabric::join,
    },
    Scenario {
        name: "idle",
        what: "three nodes in two racks with two pods each, 30 s in which nothing happens",
        contenders: &["corduroy"],
        packages: &[],
        run: fabric::idle,
    },
    Scenario {
        name: "forward",
        what: "11 TCP streams of 1 s, one after the other, from a pod to a pod on another node of the rack",
        contenders: &["corduroy", "by hand"],
        packages: &["iperf3"],
        run: fabric::forward,
    },
    Scenario {
        name: "scale",
        what: "one agent, an API server with 5,000 FabricNodes, 5,000 blocks for 100,000 pods and 1,000 namespaces",
        contenders: &["corduroy"],
        packages: &[],
        run: scale::scale,
    },
    Scenario {
        name: "policy",
        what: "one node of a cluster of 100,000 pods and 2,000 policies, 1,000 changes a second for 20 s",
        contenders: &["corduroy", "nft -f", "nft -j"],
        packages: &["nftables"],
        run: policy::beside,
    },
    Scenario {
        name: "policy-endpoints",
        what: "the same node with 2,000 policies in clusters of more and more pods",
        contenders: &["1,000 pods", "10,000 pods", "100,000 pods"],
        packages: &[],
        run: policy::by_endpoints,
    },
    Scenario {
        name: "policy-count",
        what: "the same node in a cluster of 100,000 pods with more and more policies",
        contenders: &["100 policies", "500 policies", "2,000 policies"],
        packages: &[],
        run: policy::by_policies,
    },
    Scenario {
        name: "policy-path",
        what: "streams of 0.3 s and connections one after the other, from a pod that all policies select",
        contenders: &["no policy", "10 policies", "100 policies", "1,000 policies"],
        packages: &[],
        run: policy::path::path,
    },
    Scenario {
        name: "policy-cni",
        what: "500 pods on one node, each selected by all policies, one CNI call at a time and 50 at a time",
        contenders: &["no policy", "1,000 policies"],
        packages: &[],
        run: cni::under_policies,
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().map(String::as_str) == Some(routes::WRITER) {
        return ended(routes::write(&arguments.nth(1).unwrap_or_default()));
    }
    if arguments.peek().map(String::as_str) == Some(policy::NODE) {
        return ended(policy::node(&arguments.nth(1).unwrap_or_default()));
    }
    let (mut runs, mut write, mut wanted) = (5, false, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--write" => write = true,
            "--runs" => match arguments.next().and_then(|n| n.parse().ok()) {
                Some(n) if n > 0 => runs = n,
                _ => return usage("--runs wants a number of at least 1"),
            },
            name if SCENARIOS.iter().any(|scenario| scenario.name == name) => wanted.push(name.to_owned()),
            other => return usage(&format!("there is no scenario {other}")),
        }
    }
    for scenario in SCENARIOS {
        if wanted.is_empty() || wanted.iter().any(|name| name == scenario.name) {
            measure(scenario, runs, write);
        }
    }
    ExitCode::SUCCESS
}

fn usage(wrong: &str) -> ExitCode {
    let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    eprintln!("bench: {wrong}\nusage: bench [--runs N] [--write] [{}]…", names.join(" | "));
    ExitCode::FAILURE
}

/// Runs the contenders in turn, so that what else the machine does meets all of them alike.
fn measure(scenario: &Scenario, runs: usize, write: bool) {
    let mut table = report::Table::new(scenario, runs);
    for run in 1..=runs {
        for contender in scenario.contenders {
            let figures = (scenario.run)(contender);
            eprintln!("{} {contender} {run}/{runs}: {}", scenario.name, report::line(&figures));
            table.add(contender, figures);
        }
    }
    println!("{}", table.text());
    if write {
        table.write();
    }
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}
