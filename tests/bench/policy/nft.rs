//! The table of a node and the changes of its sets by way of `nft`: one process for each change, its commands on
//! standard input.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use corduroy_tests::{Namespace, Topology};
use serde_json::{Value, json};

use super::{A_CHANGE, ALONE, FILLED};
use crate::report::{Figure, Unit, percentile};

/// What a node had, and what changed in it.
pub struct Record {
    /// The table as `nft` lists it.
    pub text: String,
    /// The same as JSON.
    pub json: String,
    /// Changes made one at a time.
    pub changes: Vec<Vec<Elements>>,
}

/// Elements that come or go.
pub struct Elements {
    command: String,
    set: String,
    keys: Vec<String>,
}

/// Of the line that a node writes for a change.
pub fn changes(line: &str) -> Vec<Elements> {
    let all: Vec<(String, String, Vec<String>)> =
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    all.into_iter().map(|(command, set, keys)| Elements { command, set, keys }).collect()
}

/// The table, then the changes, in a namespace of their own; `option` is that of `nft` for the form of its input.
pub fn replay(record: &Record, option: &str) -> Vec<Figure> {
    let net = Topology::new("bench");
    let host = net.namespace("nft");
    let is_json = option == "-j";
    let form = if is_json { as_json } else { as_text };
    let filled = if is_json { nft(&host, true, &record.json) } else { nft(&host, false, &record.text) };
    let filled = filled.unwrap_or_else(|why| {
        // There are versions that don't read the JSON they write: the changes can be measured all the same.
        eprintln!("{why}");
        must(nft(&host, false, &record.text));
        f64::NAN
    });
    let before = children();
    let mut took: Vec<f64> =
        record.changes.iter().map(|change| must(nft(&host, is_json, &form(change)))).collect();
    let cpu = children() - before;
    vec![
        Figure::new(FILLED, Unit::Seconds, filled),
        Figure::new(ALONE[0], Unit::Seconds, percentile(&mut took, 50)),
        Figure::new(ALONE[1], Unit::Seconds, percentile(&mut took, 99)),
        Figure::new(A_CHANGE, Unit::Seconds, cpu / took.len() as f64),
    ]
}

fn must(ran: Result<f64, String>) -> f64 {
    ran.unwrap_or_else(|why| panic!("{why}"))
}

/// One run of `nft`, from its start to its end, in seconds.
fn nft(host: &Namespace, is_json: bool, input: &str) -> Result<f64, String> {
    let mut command = Command::new("nft");
    command.args(is_json.then_some("-j")).args(["-f", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let start = Instant::now();
    let mut process = host.enter(|| command.spawn()).map_err(|e| format!("nft: {e}"))?;
    if let Some(mut to) = process.stdin.take() {
        to.write_all(input.as_bytes()).map_err(|e| format!("nft: {e}"))?;
    }
    let ended = process.wait().map_err(|e| format!("nft: {e}"))?;
    let took = start.elapsed().as_secs_f64();
    let beginning: String = input.chars().take(500).collect();
    if ended.success() { Ok(took) } else { Err(format!("nft: {ended}, of {beginning}")) }
}

fn as_text(change: &[Elements]) -> String {
    change.iter().fold(String::new(), |mut text, Elements { command, set, keys }| {
        let _ = writeln!(text, "{command} element inet corduroy {set} {{ {} }}", keys.join(", "));
        text
    })
}

fn as_json(change: &[Elements]) -> String {
    let commands = change.iter().map(|Elements { command, set, keys }| {
        let element = json!({ "family": "inet", "table": "corduroy", "name": set, "elem": keys });
        Value::Object([(command.clone(), json!({ "element": element }))].into_iter().collect())
    });
    json!({ "nftables": commands.collect::<Vec<_>>() }).to_string()
}

/// Processor time of all children that have ended, in seconds: user and system, in hundredths (proc(5)).
fn children() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have anything in it: state is field 3, cutime and cstime are 16 and 17.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks = behind.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
