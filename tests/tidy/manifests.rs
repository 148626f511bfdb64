//! Manifests and documented resources that say what the code says.

use std::collections::BTreeSet;

use corduroy_api::{API_VERSION, Resource, yaml};
use corduroy_tests::manifests::{FOLDER, definitions};

use crate::Verdict;
use crate::repository::{exists, files, join, read};

#[test]
fn the_definitions_of_our_kinds_are_those_of_the_code() {
    let verdict = Verdict::default();
    let wanted = definitions().unwrap();
    for (name, content) in &wanted {
        let path = format!("{FOLDER}/{name}");
        if !exists(&path) || read(&path) != *content {
            verdict.breach("manifest", &path, 1, "is not what the types say: `make manifests` writes it");
        }
    }
    for path in files().iter().filter(|path| path.starts_with(FOLDER)) {
        if !wanted.iter().any(|(name, _)| *path == format!("{FOLDER}/{name}")) {
            verdict.breach("manifest", path, 1, "belongs to no kind: delete it");
        }
    }
    verdict.pass(&["manifest"]);
}

/// Every document of ours in a manifest or in a block of YAML in the documentation is one that the code takes.
#[test]
fn resources_in_documents_and_manifests_are_valid() {
    let verdict = Verdict::default();
    let mut seen = 0;
    for path in files().iter().filter(|path| path.ends_with(".md") || path.ends_with(".yaml")) {
        for (line, text) in blocks(path, &read(path)) {
            for document in yaml::documents(&text).iter().filter(|d| d.text.contains(API_VERSION)) {
                seen += 1;
                let at = line + document.line;
                match document.parse().map(|value| Resource::read(&value)) {
                    Ok(Ok(_)) => {}
                    Ok(Err(refused)) => verdict.breach("resource", path, at, &refused.to_string()),
                    Err(error) => verdict.breach("resource", path, at, &error.to_string()),
                }
            }
        }
    }
    assert!(seen >= 3, "only {seen} resources were found: are they looked for in the right way?");
    verdict.pass(&["resource"]);
}

/// A file that no kustomization names is applied by nobody, and one that is not there breaks all that name it.
#[test]
fn every_manifest_is_part_of_a_kustomization() {
    let verdict = Verdict::default();
    let manifests: Vec<_> = files().iter().filter(|path| path.starts_with("manifests/")).collect();
    let mut named = BTreeSet::new();
    for path in manifests.iter().filter(|path| path.ends_with("/kustomization.yaml")) {
        let dir = path.trim_end_matches("/kustomization.yaml");
        let text = read(path);
        let value = yaml::documents(&text)[0].parse().unwrap();
        let generated = value["configMapGenerator"].as_sequence().into_iter().flatten();
        let generated = generated.flat_map(|map| map["files"].as_sequence().into_iter().flatten());
        for name in value["resources"].as_sequence().into_iter().flatten().chain(generated) {
            let target = join(dir, name.as_str().unwrap());
            let file = if target.ends_with(".yaml") { target } else { join(&target, "kustomization.yaml") };
            if !exists(&file) {
                verdict.breach("kustomization", path, 1, &format!("names {file}, which is not there"));
            }
            named.insert(file);
        }
    }
    for path in manifests.iter().filter(|path| !path.ends_with("/kustomization.yaml")) {
        if !named.contains(*path) {
            verdict.breach("kustomization", path, 1, "is named by no kustomization");
        }
    }
    assert!(named.len() > 10, "only {} files are named", named.len());
    verdict.pass(&["kustomization"]);
}

/// What is applied out of a checkout is the images that `make images` makes of it.
#[test]
fn manifests_name_images_of_this_version() {
    let verdict = Verdict::default();
    let wanted = format!("newTag: v{}", env!("CARGO_PKG_VERSION"));
    let mut seen = 0;
    for path in files().iter().filter(|path| path.starts_with("manifests/")) {
        for (n, line) in read(path).lines().enumerate().filter(|(_, line)| line.contains("newTag:")) {
            seen += 1;
            if line.trim() != wanted {
                verdict.breach("version", path, n + 1, &format!("should be `{wanted}`"));
            }
        }
    }
    assert!(seen >= 2, "{seen} images with a version");
    verdict.pass(&["version"]);
}

/// The YAML in a file, with the number of lines before it.
fn blocks(path: &str, text: &str) -> Vec<(usize, String)> {
    if path.ends_with(".yaml") {
        return vec![(0, text.to_owned())];
    }
    let mut out = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some("yaml")) => open = Some((n + 1, String::new())),
            (Some(_), Some(_)) => out.extend(open.take()),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    out
}
