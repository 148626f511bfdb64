//! Policies and cases, written short.
//!
//! A line begins with a kind (see [`KINDS`]) and a name, of a namespace where the kind has one, then labels, then the
//! `spec:` in braces, over as many lines as it takes. `$4(x/a)` and `$6(x/a)` are addresses of a party.
//! ```text
//! np   x/web  {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: $4(out)/32}}]}]}
//! gset shops  for=shop {nets: [192.0.2.0/24]}
//! ```

use super::scene::Scene;

/// What a kind is called here, its API version, and its name there.
const KINDS: [(&str, &str, &str); 7] = [
    ("np", "networking.k8s.io/v1", "NetworkPolicy"),
    ("cnp", "policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    ("own", "corduroy.dev/v1alpha1", "NetworkPolicy"),
    ("global", "corduroy.dev/v1alpha1", "GlobalNetworkPolicy"),
    ("tier", "corduroy.dev/v1alpha1", "Tier"),
    ("set", "corduroy.dev/v1alpha1", "NetworkSet"),
    ("gset", "corduroy.dev/v1alpha1", "GlobalNetworkSet"),
];

/// What is tested: with these policies, who reaches whom.
pub(super) struct Trial {
    /// A sentence.
    pub(super) name: &'static str,
    pub(super) policies: &'static str,
    /// See [`super::matrix`].
    pub(super) table: &'static str,
    /// What happens then, one after the other.
    pub(super) steps: &'static [Step],
    /// Lines of kubectl that put back what steps have changed beside policies.
    pub(super) undo: &'static [&'static str],
}

/// Something happens, and then the table is this one.
pub(super) struct Step(pub(super) Do, pub(super) &'static str);

/// What happens.
pub(super) enum Do {
    /// Policies are made or changed.
    Apply(&'static str),
    /// Policies go.
    Delete(&'static str),
    /// An administrator says this to kubectl.
    Kubectl(&'static str),
}

/// A case without steps.
pub(super) const fn case(name: &'static str, policies: &'static str, table: &'static str) -> Trial {
    Trial { name, policies, table, steps: &[], undo: &[] }
}

impl Trial {
    /// And then.
    pub(super) const fn then(mut self, steps: &'static [Step], undo: &'static [&'static str]) -> Self {
        (self.steps, self.undo) = (steps, undo);
        self
    }
}

/// A manifest of what is written.
#[track_caller]
pub(super) fn manifest(scene: &Scene, text: &str) -> String {
    let mut objects: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let first = line.split_whitespace().next().unwrap_or_default();
        match KINDS.iter().find(|(word, ..)| *word == first) {
            Some((word, version, kind)) => {
                let rest = line.trim_start_matches(word).trim();
                let (names, spec) = rest.split_once('{').unwrap_or_else(|| panic!("no spec in {line:?}"));
                let mut names = names.split_whitespace();
                let name = names.next().unwrap_or_else(|| panic!("no name in {line:?}"));
                let metadata = match name.split_once('/') {
                    Some((namespace, name)) => format!("name: {name}, namespace: {namespace}"),
                    None => format!("name: {name}"),
                };
                let labels: Vec<_> = names.map(|label| label.replace('=', ": ")).collect();
                objects.push(format!(
                    "{{apiVersion: {version}, kind: {kind}, metadata: {{{metadata}, labels: {{{}}}}}, spec: {{{spec}",
                    labels.join(", ")
                ));
            }
            None => {
                let object = objects.last_mut().unwrap_or_else(|| panic!("{first:?} is no kind"));
                object.push(' ');
                object.push_str(line);
            }
        }
    }
    let manifest = objects.iter().map(|object| format!("{object}}}")).collect::<Vec<_>>().join("\n---\n");
    addresses(scene, &manifest)
}

#[track_caller]
fn addresses(scene: &Scene, text: &str) -> String {
    let mut parts = text.split('$');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (family, rest) = part.split_once('(').unwrap_or_else(|| panic!("no address in {part:?}"));
        let (name, rest) = rest.split_once(')').unwrap_or_else(|| panic!("no name in {part:?}"));
        let family = ["4", "6"].iter().position(|one| *one == family);
        let family = family.unwrap_or_else(|| panic!("{part:?} is not of version 4 or 6"));
        filled.push_str(&scene.party(name).addresses[family].to_string());
        filled.push_str(rest);
    }
    filled
}
