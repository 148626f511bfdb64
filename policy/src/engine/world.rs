//! Who is there: endpoints, namespaces, service accounts, with labels as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use corduroy_api::policy::host::NamedPort;
use corduroy_api::{Clue, Labels, Selector};
use corduroy_kernel::IpNet;

use super::sets::SetId;
use super::words::{Label, Word, Words};
use crate::normal::{Members, Place, Who};

/// What sort of endpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A pod; its name is `namespace/name`.
    Pod,
    /// A NetworkSet; its name is `namespace/name`.
    NetworkSet,
    /// A GlobalNetworkSet.
    GlobalNetworkSet,
    /// A HostEndpoint.
    HostEndpoint,
    /// A node.
    Node,
}

/// What tells one endpoint from every other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// Its class.
    pub class: Class,
    /// Its name; shared by all who know it.
    pub name: Arc<str>,
}

impl EndpointKey {
    /// The endpoint `name` of a class.
    #[must_use]
    pub fn new(class: Class, name: impl Into<Arc<str>>) -> Self {
        Self { class, name: name.into() }
    }

    /// The namespace it is in.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        let namespaced = matches!(self.class, Class::Pod | Class::NetworkSet);
        self.name.split_once('/').filter(|_| namespaced).map(|(namespace, _)| namespace)
    }
}

/// An endpoint: somebody with addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoint {
    /// By which selectors find it.
    pub labels: Labels,
    /// The service account of a pod.
    pub service_account: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The networks of a set.
    pub nets: Vec<IpNet>,
    /// What its ports are called.
    pub ports: Vec<NamedPort>,
    /// Is it of this node, so that policies are enforced on it here? Only pods and host endpoints are.
    pub local: bool,
    /// Nobody's endpoint: a pod on the host's network, whose addresses are the node's, or one that has finished and
    /// whose addresses may be another's by now.
    pub absent: bool,
}

/// The number by which an endpoint is found at once, as long as it is there.
pub(super) type Number = u32;

/// An endpoint as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) key: EndpointKey,
    pub(super) namespace: Option<Word>,
    pub(super) labels: Box<[Label]>,
    pub(super) account: Option<Word>,
    pub(super) addresses: Box<[IpAddr]>,
    pub(super) nets: Box<[IpNet]>,
    pub(super) ports: Box<[(Word, u8, u16)]>,
    pub(super) local: bool,
    pub(super) absent: bool,
    /// The sets it belongs to, sorted.
    pub(super) sets: Vec<SetId>,
}

/// What is known of a namespace; labels are unknown until it comes.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    pub(super) labels: Box<[Label]>,
    members: BTreeSet<Number>,
    accounts: BTreeMap<String, Labels>,
}

/// Who is there.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) words: Words,
    numbers: BTreeMap<EndpointKey, Number>,
    endpoints: Vec<Option<Stored>>,
    free: Vec<Number>,
    /// Who has a label: what a new set is filled from, without asking everybody there is.
    labelled: BTreeMap<Label, BTreeSet<Number>>,
    namespaces: BTreeMap<String, Namespace>,
}

impl World {
    /// Takes an endpoint in and hands back what was there before; what it belongs to is for the caller to find out.
    pub(super) fn put(&mut self, key: &EndpointKey, new: &Endpoint) -> Option<Stored> {
        let number = self.number(key);
        let namespace = key.namespace().map(|name| {
            self.namespaces.entry(name.to_owned()).or_default().members.insert(number);
            self.words.acquire(name)
        });
        let place = self.endpoints.get_mut(number as usize)?;
        let old = place.take();
        let stored = Stored {
            // The one that is known already is shared by those who have it.
            key: old.as_ref().map_or(key, |old| &old.key).clone(),
            namespace,
            labels: intern(&mut self.words, &new.labels),
            account: new.service_account.as_ref().map(|name| self.words.acquire(name)),
            addresses: new.addresses.clone().into(),
            nets: new.nets.clone().into(),
            ports: new
                .ports
                .iter()
                .map(|port| (self.words.acquire(&port.name), port.protocol.0, port.port))
                .collect(),
            local: new.local && matches!(key.class, Class::Pod | Class::HostEndpoint),
            absent: new.absent,
            sets: Vec::new(),
        };
        let had = old.as_ref().map_or(&[] as &[Label], |old| &old.labels);
        for label in stored.labels.iter().filter(|label| !had.contains(label)) {
            self.labelled.entry(*label).or_default().insert(number);
        }
        for label in had.iter().filter(|label| !stored.labels.contains(label)) {
            unlabel(&mut self.labelled, label, number);
        }
        *place = Some(stored);
        old
    }

    /// The number of an endpoint: the one it has, or one for it.
    fn number(&mut self, key: &EndpointKey) -> Number {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.endpoints.push(None);
            Number::try_from(self.endpoints.len() - 1).unwrap_or(Number::MAX)
        });
        self.numbers.insert(key.clone(), number);
        number
    }

    /// Forgets an endpoint. Its words are held until [`World::drop_words`].
    pub(super) fn remove(&mut self, key: &EndpointKey) -> Option<Stored> {
        let number = self.numbers.remove(key)?;
        self.free.push(number);
        let old = self.endpoints.get_mut(number as usize)?.take()?;
        old.labels.iter().for_each(|label| unlabel(&mut self.labelled, label, number));
        if let Some(name) = key.namespace() {
            let empty = self.namespaces.get_mut(name).is_some_and(|namespace| {
                namespace.members.remove(&number);
                namespace.is_empty()
            });
            if empty {
                self.namespaces.remove(name);
            }
        }
        Some(old)
    }

    /// An endpoint.
    pub(super) fn get(&self, key: &EndpointKey) -> Option<&Stored> {
        self.at(*self.numbers.get(key)?)
    }

    /// An endpoint, to be changed.
    pub(super) fn get_mut(&mut self, key: &EndpointKey) -> Option<&mut Stored> {
        self.at_mut(*self.numbers.get(key)?)
    }

    /// The endpoint of a number.
    pub(super) fn at(&self, number: Number) -> Option<&Stored> {
        self.endpoints.get(number as usize)?.as_ref()
    }

    /// The endpoint of a number, to be changed.
    pub(super) fn at_mut(&mut self, number: Number) -> Option<&mut Stored> {
        self.endpoints.get_mut(number as usize)?.as_mut()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Gives back the words of an endpoint that is no more.
    pub(super) fn drop_words(&mut self, old: &Stored) {
        let labels = old.labels.iter().flat_map(|(key, value)| [*key, *value]);
        let ports = old.ports.iter().map(|(name, ..)| *name);
        for word in labels.chain(ports).chain(old.namespace).chain(old.account) {
            self.words.release(word);
        }
    }

    /// Replaces the labels of a namespace and hands back those before.
    pub(super) fn put_namespace(&mut self, name: &str, labels: &Labels) -> Box<[Label]> {
        let new = intern(&mut self.words, labels);
        let namespace = self.namespaces.entry(name.to_owned()).or_default();
        let old = std::mem::replace(&mut namespace.labels, new);
        if namespace.is_empty() {
            self.namespaces.remove(name);
        }
        old
    }

    /// Gives back the words of labels that are no more.
    pub(super) fn drop_labels(&mut self, old: &[Label]) {
        for word in old.iter().flat_map(|(key, value)| [*key, *value]) {
            self.words.release(word);
        }
    }

    /// Replaces the labels of a service account; `None`: it is gone.
    pub(super) fn put_account(&mut self, namespace: &str, name: &str, labels: Option<&Labels>) {
        let entry = self.namespaces.entry(namespace.to_owned()).or_default();
        match labels {
            Some(labels) => drop(entry.accounts.insert(name.to_owned(), labels.clone())),
            None => drop(entry.accounts.remove(name)),
        }
        if entry.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// Who is in a namespace.
    pub(super) fn members(&self, namespace: &str) -> Vec<EndpointKey> {
        let members = self.namespaces.get(namespace).into_iter().flat_map(|found| &found.members);
        members.filter_map(|number| Some(self.at(*number)?.key.clone())).collect()
    }

    /// Those of whom this holds, among all whom `who` might mean.
    pub(super) fn find(&self, who: &Who, holds: &dyn Fn(&Stored) -> bool) -> BTreeSet<Number> {
        let such = |selector: &Selector, namespace: &Namespace| {
            selector.holds(&|key| self.words.value_of(&namespace.labels, key))
        };
        let candidates: Box<dyn Iterator<Item = &Number>> = match (&who.place, who.endpoints.clues()) {
            (Place::Namespace(name), _) => {
                Box::new(self.namespaces.get(name).into_iter().flat_map(|namespace| &namespace.members))
            }
            (_, Some(clues)) => Box::new(clues.into_iter().flat_map(|clue| self.labelled(clue))),
            (Place::Namespaces(selector), None) => {
                let namespaces = self.namespaces.values().filter(move |it| such(selector, it));
                Box::new(namespaces.flat_map(|namespace| &namespace.members))
            }
            (Place::Anywhere | Place::Global, None) => Box::new(self.numbers.values()),
        };
        let is = |number: &Number| self.at(*number).is_some_and(holds);
        candidates.copied().filter(is).collect()
    }

    fn labelled(&self, clue: Clue<'_>) -> impl Iterator<Item = &Number> {
        let word = |text: &str| self.words.get(text);
        let labels = match clue {
            Clue::Label(key, value) => word(key).zip(word(value)).map(|label| label..=label),
            Clue::Key(key) => word(key).map(|key| (key, Word::MIN)..=(key, Word::MAX)),
        };
        labels.into_iter().flat_map(|labels| self.labelled.range(labels)).flat_map(|(_, found)| found)
    }

    /// The namespaces with such labels.
    pub(super) fn namespaces_with(&self, selector: &Selector) -> BTreeSet<String> {
        let has = |namespace: &Namespace| selector.holds(&|key| self.words.value_of(&namespace.labels, key));
        self.namespaces.iter().filter(|(_, it)| has(it)).map(|(name, _)| name.clone()).collect()
    }

    /// The labels of a namespace.
    pub(super) fn labels_of(&self, namespace: Option<Word>) -> &[Label] {
        let name = namespace.map(|word| self.words.text(word));
        name.and_then(|name| self.namespaces.get(name)).map_or(&[], |namespace| &namespace.labels)
    }

    /// Is this endpoint meant?
    pub(super) fn is(&self, endpoint: &Stored, who: &Who) -> bool {
        let labels = |key: &str| self.words.value_of(&endpoint.labels, key);
        is_of(endpoint, who.members)
            && self.is_at(endpoint, &who.place)
            && who.accounts.as_ref().is_none_or(|accounts| self.has_account(endpoint, accounts))
            && who.endpoints.holds(&labels)
    }

    fn is_at(&self, endpoint: &Stored, place: &Place) -> bool {
        let namespace = endpoint.namespace.map(|word| self.words.text(word));
        match place {
            Place::Anywhere => true,
            Place::Global => namespace.is_none(),
            Place::Namespace(name) => namespace == Some(name.as_str()),
            Place::Namespaces(selector) => {
                let labels = self.labels_of(endpoint.namespace);
                namespace.is_some() && selector.holds(&|key| self.words.value_of(labels, key))
            }
        }
    }

    fn has_account(&self, endpoint: &Stored, accounts: &crate::normal::Accounts) -> bool {
        let (Some(account), Some(namespace)) = (endpoint.account, endpoint.namespace) else { return false };
        let (name, namespace) = (self.words.text(account), self.words.text(namespace));
        let labels = self.namespaces.get(namespace).and_then(|namespace| namespace.accounts.get(name));
        let named = accounts.names.is_empty() || accounts.names.iter().any(|wanted| wanted == name);
        named
            && accounts.selector.as_ref().is_none_or(|selector| {
                selector.holds(&|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
            })
    }
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.members.is_empty() && self.accounts.is_empty()
    }
}

fn unlabel(labelled: &mut BTreeMap<Label, BTreeSet<Number>>, label: &Label, number: Number) {
    if let Some(numbers) = labelled.get_mut(label) {
        numbers.remove(&number);
        if numbers.is_empty() {
            labelled.remove(label);
        }
    }
}

fn is_of(endpoint: &Stored, members: Members) -> bool {
    match (members, endpoint.key.class) {
        (Members::Pods | Members::Endpoints, Class::Pod) => !endpoint.absent,
        (Members::Endpoints, Class::NetworkSet | Class::GlobalNetworkSet | Class::HostEndpoint) => true,
        (Members::Nodes, Class::Node) => true,
        _ => false,
    }
}

fn intern(words: &mut Words, labels: &Labels) -> Box<[Label]> {
    let mut pairs: Vec<Label> =
        labels.iter().map(|(key, value)| (words.acquire(key), words.acquire(value))).collect();
    pairs.sort_unstable();
    pairs.into()
}
