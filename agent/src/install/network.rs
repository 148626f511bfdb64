//! The network as a runtime reads it: our plugin, and behind it those that give a pod host ports and limit its rate,
//! where the node has them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What every runtime in use knows.
const COMMON: &str = "1.0.0";
/// Adds STATUS and GC. A runtime that does not know it takes [`COMMON`].
const LATEST: &str = "1.1.0";
/// Plugins chained behind ours where they are there: name and capability.
const CHAINED: [(&str, &str); 2] = [("portmap", "portMappings"), ("bandwidth", "bandwidth")];

/// The content of the network's file.
pub(super) fn network(plugins: &Path, run_dir: &Path) -> String {
    let chained: Vec<_> = CHAINED.into_iter().filter(|(name, _)| plugins.join(name).is_file()).collect();
    let mut list = vec![json!({ "type": super::PLUGIN, "runDir": run_dir })];
    for (name, capability) in &chained {
        let capabilities =
            Value::Object([((*capability).to_owned(), Value::Bool(true))].into_iter().collect());
        list.push(json!({ "type": name, "capabilities": capabilities }));
    }
    let mut versions = vec![COMMON];
    if chained.iter().all(|(name, _)| speaks(&plugins.join(name), LATEST)) {
        versions.push(LATEST);
    }
    let network =
        json!({ "cniVersion": COMMON, "cniVersions": versions, "name": "corduroy", "plugins": list });
    format!("{network:#}\n")
}

/// Whether a plugin speaks this version of CNI, by its own word. One that can't be run here, for example because its
/// libraries are not in our image, counts as one that does not.
fn speaks(plugin: &Path, version: &str) -> bool {
    let mut command = Command::new(plugin);
    command.env_clear().env("CNI_COMMAND", "VERSION");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that does not read has answered already.
        let _ = stdin.write_all(json!({ "cniVersion": COMMON }).to_string().as_bytes());
    }
    let Ok(output) = child.wait_with_output() else { return false };
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let versions = answer["supportedVersions"].as_array();
    versions.is_some_and(|versions| versions.iter().any(|spoken| spoken == version))
}

/// The networks that a runtime would take before `ours`, by name.
pub(super) fn before(networks: &Path, ours: &str) -> Vec<String> {
    let entries = std::fs::read_dir(networks).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_network = |name: &str| {
        let extension = Path::new(name).extension().and_then(|e| e.to_str());
        matches!(extension, Some("conf" | "conflist" | "json"))
    };
    let mut names: Vec<_> = names.filter(|name| is_network(name) && name.as_str() < ours).collect();
    names.sort();
    names
}
