//! Tests that can be read, wait for facts, and excuses that say why.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Verdict;
use crate::repository::{cfg_test, is_test, sources};

#[test]
fn tests_are_sentences_that_wait_for_facts() {
    let verdict = Verdict::default();
    for source in &sources() {
        let inside = is_test(&source.path);
        Tests { verdict: &verdict, path: &source.path, inside }.visit_file(&source.syntax);
    }
    verdict.pass(&["test name", "sleep", "skipped test", "reason"]);
}

struct Tests<'a> {
    verdict: &'a Verdict,
    path: &'a str,
    /// In test code.
    inside: bool,
}

impl<'ast> Visit<'ast> for Tests<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let before = self.inside;
        self.inside |= cfg_test(&item.attrs);
        visit::visit_item_mod(self, item);
        self.inside = before;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let has =
            |name: &str| item.attrs.iter().any(|a| a.path().segments.last().is_some_and(|s| s.ident == name));
        let line = item.sig.span().start().line;
        let name = item.sig.ident.to_string();
        if has("test") && name.split('_').count() < 3 {
            self.verdict.breach("test name", self.path, line, &format!("`{name}` is no sentence"));
        }
        if has("ignore") {
            self.verdict.breach("skipped test", self.path, line, &format!("`{name}` is never run"));
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let Some(last) = function.path.segments.last()
            && self.inside
            && (last.ident == "sleep" || last.ident == "sleep_until")
        {
            let line = call.span().start().line;
            self.verdict.breach("sleep", self.path, line, "a test waits with `eventually`");
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let excuse = attribute.path().is_ident("allow") || attribute.path().is_ident("expect");
        if let (true, syn::Meta::List(list)) = (excuse, &attribute.meta)
            && !list.tokens.to_string().contains("reason =")
        {
            let line = attribute.span().start().line;
            self.verdict.breach("reason", self.path, line, "an `allow` or `expect` without `reason = \"…\"`");
        }
    }
}
