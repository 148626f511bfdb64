//! `cordctl peers` of a cluster: the sessions that agents report.

use corduroy_api::instant;
use corduroy_api::node_status::{NodeReport, SessionReport};
use serde::Serialize;

use super::now;
use crate::table::{age, or_dash, table};

/// A session, as its node reports it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Session {
    node: String,
    #[serde(flatten)]
    session: SessionReport,
}

/// The sessions of all nodes, or of one, or with one neighbour; and how many there are that no report has room for.
pub(crate) fn sessions(
    reports: Vec<(String, NodeReport)>,
    node: Option<&str>,
    address: Option<&str>,
) -> (Vec<Session>, u64) {
    let mut out = Vec::new();
    let mut left_out = 0;
    for (name, report) in reports {
        if node.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let Some(bgp) = report.bgp else { continue };
        let all = bgp.sessions.unwrap_or_default();
        left_out += bgp.total.unwrap_or_default().saturating_sub(all.len() as u64);
        let wanted = all.into_iter().filter(|s| address.is_none() || s.address.as_deref() == address);
        out.extend(wanted.map(|session| Session { node: name.clone(), session }));
    }
    (out, left_out)
}

/// As text.
pub(crate) fn show(sessions: &[Session], left_out: u64) -> String {
    if sessions.is_empty() {
        return "no sessions are reported\n".to_owned();
    }
    let headers = ["NODE", "PEER", "AS", "STATE", "SINCE", "FAMILIES", "ORIGIN"];
    let row = |Session { node, session }: &Session| {
        let since = session.since.as_deref().and_then(instant::read);
        [
            node.clone(),
            or_dash(session.address.clone()),
            or_dash(session.as_number),
            or_dash(session.state.clone()),
            or_dash(since.map(|since| age(now().saturating_sub(since)))),
            session.families.as_deref().map_or_else(|| "-".to_owned(), |families| families.join(",")),
            or_dash(session.peer.clone()),
        ]
    };
    let mut text = table(headers, sessions.iter().map(row).collect());
    for Session { node, session } in sessions {
        if let (Some(why), Some(address)) = (&session.why, &session.address) {
            text += &format!("\n{node}: {address}: {why}\n");
        }
    }
    if left_out > 0 {
        text += &format!("\n{left_out} more, all established, are shown by `cordctl peers` on their nodes\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::reports;

    #[test]
    fn sessions_of_all_nodes_stand_together_and_say_why_they_are_down() {
        let (all, left_out) = sessions(reports(), None, None);
        let shown = show(&all, left_out);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].starts_with("n1    192.0.2.12  64512  Established"), "{shown}");
        assert!(lines[2].starts_with("n2    192.0.2.1   64513  Down"), "{shown}");
        assert!(shown.ends_with("\nn2: 192.0.2.1: connection refused\n"), "{shown}");
        assert_eq!(sessions(reports(), Some("n2"), None).0.len(), 1);
        assert_eq!(sessions(reports(), None, Some("192.0.2.12")).0.len(), 1);
    }

    #[test]
    fn what_a_report_has_no_room_for_is_counted() {
        let mut reports = reports();
        if let Some(bgp) = &mut reports[0].1.bgp {
            bgp.total = Some(500);
        }
        let (all, left_out) = sessions(reports, None, None);
        assert_eq!(left_out, 499);
        assert!(show(&all, left_out).contains("499 more"));
    }
}
