//! Nothing grows too big to be read in one sitting.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Verdict;
use crate::repository::{Source, cfg_test, package, sources};

const FILE: usize = 600;
/// Joins pass effects on and decide nothing; where they grow, logic has slipped in.
const JOIN: usize = 300;
const JOINS: &[&str] = &["bgp/src/speaker.rs", "agent/core/src/agent.rs", "agent/src/run.rs"];
const FUNCTION: usize = 70;
const LINE: usize = 120;
const FIELDS: usize = 12;
const ARGUMENTS: usize = 5;
/// Inherent impls of one type may lie in this many files.
const HOMES: usize = 2;

#[test]
fn files_functions_and_lines_stay_small() {
    let verdict = Verdict::default();
    for source in &sources() {
        let lines = source.text.lines().count() - test_module(source);
        let limit = if JOINS.contains(&source.path.as_str()) { JOIN } else { FILE };
        if lines > limit {
            verdict.breach(
                "file",
                &source.path,
                1,
                &format!("{lines} lines without its tests, {limit} allowed"),
            );
        }
        for (n, line) in source.text.lines().enumerate() {
            let width = line.chars().count();
            if width > LINE {
                verdict.breach("line", &source.path, n + 1, &format!("{width} characters, {LINE} allowed"));
            }
        }
        Shapes { verdict: &verdict, path: &source.path }.visit_file(&source.syntax);
    }
    verdict.pass(&["file", "line", "function", "fields", "arguments"]);
}

/// How many lines the file's own test modules take.
fn test_module(source: &Source) -> usize {
    let modules = source.syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if cfg_test(&module.attrs) && module.content.is_some() => Some(module.span()),
        _ => None,
    });
    modules.map(|span| span.end().line - span.start().line + 1).sum()
}

struct Shapes<'a> {
    verdict: &'a Verdict,
    path: &'a str,
}

impl Shapes<'_> {
    fn function(&self, signature: &syn::Signature, end: usize) {
        let start = signature.span().start().line;
        let (lines, arguments) = (end - start + 1, signature.inputs.len());
        let breach = |rule, what: &str| self.verdict.breach(rule, self.path, start, what);
        if lines > FUNCTION {
            breach("function", &format!("`{}` has {lines} lines, {FUNCTION} allowed", signature.ident));
        }
        if arguments > ARGUMENTS {
            breach("arguments", &format!("`{}` takes {arguments}, {ARGUMENTS} allowed", signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Shapes<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, item.block.span().end().line);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, item.block.span().end().line);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.span().end().line);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_fields_named(&mut self, fields: &'ast syn::FieldsNamed) {
        let (count, line) = (fields.named.len(), fields.span().start().line);
        if count > FIELDS {
            self.verdict.breach("fields", self.path, line, &format!("{count} fields, {FIELDS} allowed"));
        }
        visit::visit_fields_named(self, fields);
    }
}

#[test]
fn no_type_is_spread_over_many_files() {
    let verdict = Verdict::default();
    let mut homes: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for source in &sources() {
        for item in &source.syntax.items {
            let syn::Item::Impl(item) = item else { continue };
            let syn::Type::Path(of) = &*item.self_ty else { continue };
            if let (None, Some(name)) = (&item.trait_, of.path.segments.last()) {
                let key = (package(&source.path).to_owned(), name.ident.to_string());
                homes.entry(key).or_default().insert(source.path.clone());
            }
        }
    }
    for ((_, name), files) in homes {
        if files.len() > HOMES
            && let Some(first) = files.first()
        {
            verdict.breach(
                "impl",
                first,
                1,
                &format!("`impl {name}` lies in {files:?}, {HOMES} files allowed"),
            );
        }
    }
    verdict.pass(&["impl"]);
}
