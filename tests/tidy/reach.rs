//! No dead files: every Rust file is a target of its package or declared by one that is.

use std::collections::BTreeSet;

use crate::Verdict;
use crate::repository::{Source, files, join, read, sources};

#[test]
fn every_rust_file_is_part_of_a_target() {
    let verdict = Verdict::default();
    let sources = sources();
    let mut reached = BTreeSet::new();
    for root in roots() {
        follow(&root, true, &sources, &mut reached);
    }
    for source in &sources {
        if !reached.contains(&source.path) {
            verdict.breach("dead file", &source.path, 1, "no `mod` and no target leads here");
        }
    }
    verdict.pass(&["dead file"]);
}

/// The files that cargo starts from: by convention, and those a manifest names with `path = "….rs"`.
fn roots() -> BTreeSet<String> {
    let mut roots = BTreeSet::new();
    for manifest in files().iter().filter(|path| path.ends_with("Cargo.toml")) {
        let dir = manifest.strip_suffix("Cargo.toml").unwrap_or_default().trim_end_matches('/');
        for line in read(manifest).lines().filter(|line| line.trim_start().starts_with("path")) {
            let path = line.split('"').nth(1).unwrap_or_default();
            if path.ends_with(".rs") {
                roots.insert(join(dir, path));
            }
        }
        for name in ["src/lib.rs", "src/main.rs", "build.rs"] {
            roots.insert(join(dir, name));
        }
        for folder in ["src/bin", "examples", "tests", "benches"] {
            let prefix = join(dir, folder) + "/";
            let inside = files().iter().filter(|path| path.starts_with(&prefix) && path.ends_with(".rs"));
            roots.extend(inside.filter(|path| is_target(&path[prefix.len()..])).cloned());
        }
    }
    roots
}

/// `name.rs` or `name/main.rs` in a folder of targets.
fn is_target(within: &str) -> bool {
    match within.split_once('/') {
        None => true,
        Some((_, rest)) => rest == "main.rs",
    }
}

fn follow(path: &str, root: bool, sources: &[Source], reached: &mut BTreeSet<String>) {
    let Some(source) = sources.iter().find(|source| source.path == path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    let below =
        if root || file == "mod.rs" { dir.to_owned() } else { join(dir, file.trim_end_matches(".rs")) };
    for declared in modules(&source.syntax.items, &below, dir) {
        follow(&declared, false, sources, reached);
    }
}

/// The files that `mod name;` items may mean.
fn modules(items: &[syn::Item], below: &str, dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        match (&module.content, path_attribute(module)) {
            (Some((_, inner)), _) => found.extend(modules(inner, &join(below, &name), dir)),
            (None, Some(path)) => found.push(normal(&join(dir, &path))),
            (None, None) => {
                found.push(join(below, &format!("{name}.rs")));
                found.push(join(below, &format!("{name}/mod.rs")));
            }
        }
    }
    found
}

fn path_attribute(module: &syn::ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value else { return None };
        pair.path.is_ident("path").then(|| path.value())
    })
}

/// A path without `..`.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}
