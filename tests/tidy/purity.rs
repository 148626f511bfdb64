//! Pure code stays pure: nothing that waits, locks, reads a clock or reaches outside.

use std::collections::BTreeSet;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Verdict;
use crate::repository::{cfg_test, exists, files, is_test, join, package, read, sources};

/// Packages that compute and never touch the world.
const PURE: &[&str] = &["api", "fabric", "ipc", "bgp", "bfd", "kernel", "agent/core"];
/// Those of them that have no standard library to reach the world with.
const NO_STD: &[&str] = &["bgp", "kernel"];
/// What no pure package may depend on.
const OUTSIDE: &[&str] = &[
    "tokio",
    "futures-util",
    "rtnetlink",
    "socket2",
    "rustix",
    "libc",
    "nix",
    "axum",
    "kube",
    "inotify",
    "tracing",
    "prometheus",
    "anyhow",
    "rand",
    "chrono",
    "getrandom",
];
/// Programs without a kernel side, and what they must not depend on, however indirectly.
const NO_KERNEL: &[&str] = &["routereflector", "cni"];
const KERNEL: &[&str] = &["corduroy-kernel", "corduroy-kernel-linux", "corduroy-agent-core", "rtnetlink"];
/// Types that hide state behind a shared reference.
const HIDING: &[&str] = &["Mutex", "RwLock", "RefCell", "OnceLock", "OnceCell"];

#[test]
fn pure_crates_do_not_wait_lock_or_reach_outside() {
    let verdict = Verdict::default();
    for source in &sources() {
        let package = package(&source.path);
        let in_sources = source.path.starts_with(&join(package, "src/"));
        if PURE.contains(&package) && in_sources && !is_test(&source.path) {
            Pure { verdict: &verdict, path: &source.path }.visit_file(&source.syntax);
        }
    }
    verdict.pass(&["async", "hidden state", "seeded maps", "unsafe"]);
}

struct Pure<'a> {
    verdict: &'a Verdict,
    path: &'a str,
}

impl Pure<'_> {
    fn breach(&self, rule: &str, line: usize, what: &str) {
        self.verdict.breach(rule, self.path, line, what);
    }

    fn name(&self, name: &syn::Ident) {
        if HIDING.iter().any(|hiding| name == hiding) {
            self.breach("hidden state", name.span().start().line, &format!("`{name}` in a pure crate"));
        }
    }
}

impl<'ast> Visit<'ast> for Pure<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !cfg_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.asyncness.is_some() {
            self.breach("async", signature.span().start().line, &format!("`async fn {}`", signature.ident));
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.breach("async", block.span().start().line, "an async block");
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.breach("async", expression.span().start().line, "an await");
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.breach("unsafe", block.span().start().line, "unsafe belongs in IO crates");
    }

    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.name(&segment.ident);
        visit::visit_path_segment(self, segment);
    }

    fn visit_use_name(&mut self, name: &'ast syn::UseName) {
        self.name(&name.ident);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut from_std = FromStd { depth: 0, hashed: false };
        from_std.visit_item_use(item);
        if from_std.hashed {
            let what =
                "std's hash maps are seeded at random: hashbrown with a seed that is passed in, or BTreeMap";
            self.breach("seeded maps", item.span().start().line, what);
        }
        visit::visit_item_use(self, item);
    }
}

/// Looks for `use std::collections::{HashMap, HashSet}`.
struct FromStd {
    depth: usize,
    hashed: bool,
}

impl<'ast> Visit<'ast> for FromStd {
    fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
        if path.ident == "std" || path.ident == "collections" {
            self.depth += 1;
            visit::visit_use_path(self, path);
            self.depth -= 1;
        }
    }

    fn visit_use_name(&mut self, name: &'ast syn::UseName) {
        self.hashed |= self.depth == 2 && (name.ident == "HashMap" || name.ident == "HashSet");
    }
}

#[test]
fn pure_crates_have_nothing_to_reach_outside_with() {
    let verdict = Verdict::default();
    for package in PURE.iter().filter(|package| exists(&join(package, "Cargo.toml"))) {
        let manifest = join(package, "Cargo.toml");
        for (line, name) in dependencies(&read(&manifest)) {
            if OUTSIDE.contains(&name.as_str()) {
                verdict.breach("dependency", &manifest, line, &format!("`{name}` in a pure crate"));
            }
        }
        let lib = join(package, "src/lib.rs");
        let text = read(&lib);
        if NO_STD.contains(package) && !text.contains("no_std") {
            verdict.breach("no_std", &lib, 1, "this crate has no standard library: `#![no_std]`");
        }
        if !text.contains("missing_docs") {
            verdict.breach("docs", &lib, 1, "a pure crate says `#![warn(missing_docs)]`");
        }
        if !exists(&join(package, "clippy.toml")) {
            verdict.breach("clippy", &manifest, 1, "a pure crate has a clippy.toml of its own");
        }
    }
    verdict.pass(&["dependency", "no_std", "docs", "clippy"]);
}

#[test]
fn programs_without_a_kernel_side_depend_on_no_kernel_crate() {
    let verdict = Verdict::default();
    let root = read("Cargo.toml");
    let folder = |name: &str| {
        let line = root.lines().find(|line| line.starts_with(&format!("{name} = {{ path")))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    for package in NO_KERNEL.iter().filter(|package| exists(&join(package, "Cargo.toml"))) {
        let mut seen = BTreeSet::new();
        let mut next = vec![(*package).to_owned()];
        while let Some(at) = next.pop() {
            let manifest = join(&at, "Cargo.toml");
            for (line, name) in dependencies(&read(&manifest)) {
                if KERNEL.contains(&name.as_str()) {
                    verdict.breach("kernel", &manifest, line, &format!("`{name}`, which {package} comes to"));
                }
                next.extend(folder(&name).filter(|folder| seen.insert(folder.clone())));
            }
        }
    }
    verdict.pass(&["kernel"]);
}

/// Names under `[dependencies]` with their lines; what only tests use may be anything.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (n, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.starts_with("[dependencies");
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            found.push((n + 1, name.trim().to_owned()));
        }
    }
    found
}

#[test]
fn the_lock_file_knows_one_registry() {
    let verdict = Verdict::default();
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    for lock in files().iter().filter(|path| path.ends_with("Cargo.lock")) {
        for (n, line) in read(lock).lines().enumerate() {
            if line.starts_with("source") && line != public {
                verdict.breach("registry", lock, n + 1, line);
            }
        }
    }
    verdict.pass(&["registry"]);
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let verdict = Verdict::default();
    for source in &sources() {
        let lines: Vec<_> = source.text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let opens = ["unsafe {", "unsafe impl", "unsafe fn"].iter().any(|word| code.contains(word));
            let in_text = code.contains('"');
            let above = lines.get(n.saturating_sub(6)..=n).unwrap_or_default();
            if opens && !in_text && !above.iter().any(|line| line.contains("SAFETY")) {
                verdict.breach("soundness", &source.path, n + 1, "no `SAFETY:` comment above this");
            }
        }
    }
    verdict.pass(&["soundness"]);
}
