//! `cordctl status` of a cluster: a row a node.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::instant;
use corduroy_api::node_status::NodeReport;
use serde::Serialize;
use serde_json::Value;

use super::{Cluster, name, now};
use crate::client::NoAnswer;
use crate::table::{age, or_dash, table};

/// The agents' pods, wherever they run.
const AGENTS: &str = "/api/v1/pods?labelSelector=app.kubernetes.io%2Fname%3Dcorduroy-agent";
/// The most lines below the table.
const LINES: usize = 40;

/// A node.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    node: String,
    /// How its agent's pod is; none where that may not be asked.
    agent: Option<String>,
    /// What the agent reports; none where there is no report.
    report: Option<NodeReport>,
}

/// All nodes: those that the cluster has, and those that are reported of.
pub(crate) fn nodes(cluster: &Cluster) -> Result<Vec<Row>, NoAnswer> {
    let mut reports: BTreeMap<String, NodeReport> = cluster.reports()?.into_iter().collect();
    // Whoever may not see Nodes or Pods sees the reports.
    let known = cluster.objects("/api/v1/nodes").unwrap_or_default();
    let agents = cluster.objects(AGENTS).ok().map(|pods| agents(&pods));
    let names: BTreeSet<String> = known.iter().map(name).chain(reports.keys().cloned()).collect();
    let row = |node: String| Row {
        agent: agents.as_ref().map(|all| all.get(&node).cloned().unwrap_or_else(|| "none".to_owned())),
        report: reports.remove(&node),
        node,
    };
    Ok(names.into_iter().map(row).collect())
}

/// How the agent of each node is.
fn agents(pods: &[Value]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for pod in pods {
        let conditions = pod["status"]["conditions"].as_array();
        let is_ready =
            conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
        let how = match phase {
            "Running" if is_ready => "Running",
            "Running" => "NotReady",
            other => other,
        };
        let Some(node) = pod["spec"]["nodeName"].as_str() else { continue };
        // During an update there are two for a moment, of which the one that works counts.
        let before = out.get(node).map(String::as_str);
        if before != Some("Running") {
            out.insert(node.to_owned(), how.to_owned());
        }
    }
    out
}

/// As text.
pub(crate) fn show(rows: &[Row], wide: bool) -> String {
    if rows.is_empty() {
        return "the cluster has no nodes, and nothing is reported\n".to_owned();
    }
    let mut text = if wide { wide_table(rows) } else { narrow_table(rows) };
    let remarks: Vec<String> = rows.iter().flat_map(remarks).collect();
    if !remarks.is_empty() {
        text.push('\n');
        remarks.iter().take(LINES).for_each(|remark| text += &format!("{remark}\n"));
    }
    if remarks.len() > LINES {
        text += &format!("and {} more: -o json has all\n", remarks.len() - LINES);
    }
    text
}

fn narrow_table(rows: &[Row]) -> String {
    let headers = ["NODE", "READY", "AGENT", "SESSIONS", "ADVERTISED", "BLOCKS", "PROBLEMS", "VERSION"];
    table(headers, rows.iter().map(cells).collect())
}

fn wide_table(rows: &[Row]) -> String {
    let headers = [
        "NODE",
        "READY",
        "AGENT",
        "SESSIONS",
        "ADVERTISED",
        "BLOCKS",
        "PROBLEMS",
        "VERSION",
        "SINCE",
        "ADDRESSES",
    ];
    let wide = |row: &Row| {
        let [node, ready, agent, sessions, advertised, blocks, problems, version] = cells(row);
        let since = row.report.as_ref().and_then(|report| report.condition("Ready")).and_then(|ready| {
            Some(now().saturating_sub(instant::read(ready.last_transition_time.as_deref()?)?))
        });
        let addresses = row.report.iter().flat_map(|report| report.addresses.iter().flatten());
        let addresses: Vec<&str> = addresses.filter_map(|address| address.address.as_deref()).collect();
        let since = or_dash(since.map(age));
        [node, ready, agent, sessions, advertised, blocks, problems, version, since, addresses.join(",")]
    };
    table(headers, rows.iter().map(wide).collect())
}

fn cells(row: &Row) -> [String; 8] {
    let report = row.report.as_ref();
    let ready = report.and_then(|report| report.condition("Ready")).and_then(|ready| ready.status.clone());
    // What an agent that does not run has said is not how things are.
    let ready = match (ready, row.agent.as_deref()) {
        (Some(_), Some(agent)) if agent != "Running" => Some("Unknown".to_owned()),
        (ready, _) => ready,
    };
    [
        row.node.clone(),
        or_dash(ready),
        or_dash(row.agent.clone()),
        or_dash(report.and_then(|r| r.bgp.as_ref()?.summary.clone())),
        or_dash(report.and_then(|r| r.advertised.as_ref()?.count)),
        or_dash(report.and_then(|r| r.blocks.as_ref()?.count)),
        or_dash(report.and_then(|r| r.problems.as_ref()?.count)),
        or_dash(report.and_then(|r| r.version.clone())),
    ]
}

/// What somebody should look at, a line each.
fn remarks(row: &Row) -> Vec<String> {
    let node = &row.node;
    let Some(report) = &row.report else {
        return vec![format!("{node}: no agent has reported of it")];
    };
    let mut out = Vec::new();
    if let Some(agent) = row.agent.as_deref().filter(|agent| *agent != "Running") {
        out.push(format!("{node}: its agent is {agent}; what is shown of it was said before"));
    }
    let failed = report.conditions.iter().flatten().filter(|c| c.status.as_deref() == Some("False"));
    out.extend(failed.map(|condition| {
        let kind = condition.kind.as_deref().unwrap_or_default();
        format!("{node}: {kind} is False: {}", condition.message.as_deref().unwrap_or_default())
    }));
    let problems = report.problems.iter().flat_map(|problems| problems.items.iter().flatten());
    out.extend(problems.filter(|problem| problem.about.as_deref() != Some("agent")).map(|problem| {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "{node}: {}: {}: {}",
            of(&problem.severity).to_lowercase(),
            of(&problem.about),
            of(&problem.message)
        )
    }));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::reports;

    fn rows() -> Vec<Row> {
        let mut rows: Vec<Row> = reports()
            .into_iter()
            .map(|(node, report)| Row { node, agent: Some("Running".into()), report: Some(report) })
            .collect();
        rows.push(Row { node: "n3".into(), agent: Some("none".into()), report: None });
        rows
    }

    #[test]
    fn a_cluster_is_a_row_a_node_and_a_line_for_all_that_is_wrong() {
        let expected = "\
NODE  READY  AGENT    SESSIONS  ADVERTISED  BLOCKS  PROBLEMS  VERSION
n1    True   Running  1/1       1           1       0         0.1.0
n2    False  Running  0/1       -           -       1         0.1.0
n3    -      none     -         -           -       -         -

n2: Ready is False: the kernel has not been read yet
n2: error: vxlan-cord: the kernel can't make it
n3: no agent has reported of it
";
        assert_eq!(show(&rows(), false), expected);
        assert!(show(&rows(), true).contains("192.0.2.11/24"));
    }

    #[test]
    fn what_an_agent_that_does_not_run_has_said_is_not_believed() {
        let mut rows = rows();
        rows.truncate(1);
        rows[0].agent = Some("Pending".into());
        let shown = show(&rows, false);
        assert!(shown.contains("Unknown") && shown.contains("its agent is Pending"), "{shown}");
    }

    #[test]
    fn during_an_update_the_agent_that_works_counts() {
        let pod = |phase: &str, ready: &str| {
            json!({ "spec": { "nodeName": "n1" }, "status": { "phase": phase,
                    "conditions": [{ "type": "Ready", "status": ready }] } })
        };
        for pods in [
            [pod("Running", "True"), pod("Failed", "False")],
            [pod("Pending", "False"), pod("Running", "True")],
        ] {
            assert_eq!(agents(&pods)["n1"], "Running");
        }
        assert_eq!(agents(&[pod("Running", "False")])["n1"], "NotReady");
    }
}
