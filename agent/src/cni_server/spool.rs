//! Notes of plugins that found no agent.

use std::path::{Path, PathBuf};

use corduroy_ipc::cni::Del;

/// Every note there is, in the order of their names. One that makes no sense is removed with a warning: it
/// would be read at every start for ever.
pub(super) fn read(run_dir: &Path) -> Vec<(PathBuf, Del)> {
    let dir = run_dir.join("spool");
    let Ok(entries) = std::fs::read_dir(&dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.into_iter().filter_map(|path| Some((path.clone(), read_note(&path)?))).collect()
}

fn read_note(path: &Path) -> Option<Del> {
    let why = match std::fs::read(path).map(|json| serde_json::from_slice(&json)) {
        Ok(Ok(del)) => return Some(del),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!("note {} is removed, it makes no sense: {why}", path.display());
    let _ = std::fs::remove_file(path);
    None
}
