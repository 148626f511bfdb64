//! `cordctl ipam check`: whether pools, blocks, nodes and pods fit together.

use corduroy_fabric::check::{Evidence, Finding, check};
use serde_json::{Value, json};

use super::ipam::{KINDS, PODS, pods};
use super::{Cluster, name};
use crate::client::NoAnswer;

/// Whether all of it fits together, and what could not be looked at.
pub(crate) fn examine(cluster: &Cluster) -> Result<(Vec<Finding>, Vec<String>), NoAnswer> {
    let model = cluster.model(&KINDS)?;
    let mut unseen = Vec::new();
    let mut ask = |path: &str, what: &str| {
        let objects = cluster.objects(path);
        objects.inspect_err(|why| unseen.push(format!("{what} could not be looked at: {why}"))).ok()
    };
    let uid = |node: &Value| node["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let nodes = ask("/api/v1/nodes", "nodes");
    let nodes = nodes.map(|all| all.iter().map(|node| (name(node), uid(node))).collect());
    let pods = ask(PODS, "pods").map(|listed| pods(&listed));
    Ok((check(&model, &Evidence { nodes, pods, allocations: Vec::new() }), unseen))
}

/// For programs.
pub(crate) fn findings(findings: &[Finding], unseen: &[String]) -> Value {
    let all = findings.iter().map(|finding| {
        json!({
            "fault": finding.fault.name(), "hurts": finding.fault.hurts(),
            "subject": finding.subject, "why": finding.why,
        })
    });
    json!({ "findings": all.collect::<Vec<_>>(), "unseen": unseen })
}

/// As text.
pub(crate) fn show_findings(findings: &[Finding], unseen: &[String]) -> String {
    let mut text: String = unseen.iter().map(|why| format!("{why}\n")).collect();
    match findings {
        [] => text += "pools, blocks, nodes and pods fit together\n",
        some => some.iter().for_each(|finding| text += &format!("{finding}\n")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ipam::testing::{listed, model};

    #[test]
    fn a_check_names_what_is_wrong_and_what_it_could_not_see() {
        let evidence = Evidence { nodes: None, pods: Some(pods(&listed())), allocations: Vec::new() };
        let found = check(&model(), &evidence);
        let shown = show_findings(&found, &["nodes could not be looked at: 403".to_owned()]);
        assert!(shown.starts_with("nodes could not"), "{shown}");
        assert!(shown.contains("BlockOfUnknownNode: IPAMBlock/10-244-0-64-26"), "{shown}");
        assert_eq!(findings(&found, &[])["findings"][0]["fault"], "BlockOfUnknownNode");
    }
}
