//! What a node has before Corduroy and after it.

use corduroy_tests::eventually;
use corduroy_tests::kube::{Machine, PATIENCE, corduroy};

use super::TAGS;
use super::workload::Workload;

/// What of a node Corduroy changes. kube-proxy's rules come and go with Services, so of rules only the tables' owners
/// are compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    links: Vec<String>,
    routes: Vec<String>,
    tables: bool,
    plugins: Vec<String>,
    networks: Vec<String>,
    state: Vec<String>,
}

impl Picture {
    #[track_caller]
    pub(super) fn of(node: &Machine) -> Self {
        Self::take(node).unwrap_or_else(|why| panic!("{}: {why}", node.name()))
    }

    fn take(node: &Machine) -> Result<Self, String> {
        let sorted = |line: &str| {
            let mut lines: Vec<_> = node.run(line)?.lines().map(|line| line.trim().to_owned()).collect();
            lines.sort();
            Ok::<_, String>(lines)
        };
        let names = |dir: &str| {
            let path = node.path(dir)?;
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            Ok::<_, String>(names)
        };
        let names_of_links = sorted("ip -oneline link")?;
        // Without the number of the other end, which a node that was switched off and on has changed.
        let name = |line: &str| line.split([':', '@']).nth(1).unwrap_or_default().trim().to_owned();
        Ok(Self {
            links: names_of_links.iter().map(|line| name(line)).collect(),
            routes: [sorted("ip -4 route show")?, sorted("ip -6 route show proto 67")?].concat(),
            tables: node.run("nft list tables")?.contains("corduroy"),
            plugins: names("/opt/cni/bin")?,
            networks: names("/etc/cni/net.d")?,
            state: [names("/run/corduroy")?, names("/var/lib/corduroy")?].concat(),
        })
    }
}

/// Pods go first, as in a drain; then the steps of docs/operations.md.
pub(super) fn nothing_is_left(world: Workload, before: &[Picture]) {
    let Workload { cluster, kubectl } = world;
    kubectl.run("delete daemonset server client native");
    kubectl.run("-n kube-system delete deployment coredns");
    let pods = "get pods -A --no-headers -o name --field-selector metadata.namespace!=corduroy-system";
    eventually(PATIENCE, || match kubectl.try_run(pods)? {
        none if none.trim().is_empty() => Ok(()),
        some => Err(format!("still there: {some}")),
    });
    corduroy::uninstall(&cluster, TAGS[1]);
    for (node, before) in cluster.nodes().iter().zip(before) {
        eventually(PATIENCE, || match Picture::take(node)? {
            now if now == *before => Ok(()),
            now => Err(format!("{}: {now:?}, before {before:?}", node.name())),
        });
    }
}
