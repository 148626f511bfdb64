//! Which selectors might mean an endpoint: found by what the endpoint has, so that a change asks few of them.
//!
//! A selector is kept under handles: its namespace, if it is of one, together with one of its clues (labels without
//! one of which it matches nothing). One that has no clue is kept under its namespace alone, or under clues about
//! namespaces; only one that can't be narrowed down at all is asked every time. An endpoint looks under all handles
//! that its labels and its namespace's labels make.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_api::{Clue, Selector};

use super::words::{Label, Word, Words};
use crate::normal::{Place, Who};

/// Selectors by their handles; `Id` is what they are known by.
#[derive(Clone, Debug)]
pub(super) struct Index<Id> {
    by_handle: BTreeMap<Handle, BTreeSet<Id>>,
}

impl<Id> Default for Index<Id> {
    fn default() -> Self {
        Self { by_handle: BTreeMap::new() }
    }
}

/// The namespace, and what the endpoint or its namespace has.
type Handle = (Option<Word>, Mark);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Any,
    Key(Word),
    Label(Word, Word),
    NamespaceKey(Word),
    NamespaceLabel(Word, Word),
}

impl<Id: Ord + Clone> Index<Id> {
    /// From now on it is asked.
    pub(super) fn insert(&mut self, id: &Id, who: &Who, words: &mut Words) {
        for handle in handles(who, &mut |text| Some(words.acquire(text))) {
            self.by_handle.entry(handle).or_default().insert(id.clone());
        }
    }

    /// From now on it is not.
    pub(super) fn remove(&mut self, id: &Id, who: &Who, words: &mut Words) {
        for (namespace, mark) in handles(who, &mut |text| words.get(text)) {
            if let Some(ids) = self.by_handle.get_mut(&(namespace, mark)) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_handle.remove(&(namespace, mark));
                }
            }
            let (first, second) = mark.words();
            for word in namespace.into_iter().chain(first).chain(second) {
                words.release(word);
            }
        }
    }

    /// All that might mean an endpoint with such labels in a namespace with such labels.
    pub(super) fn candidates(
        &self,
        namespace: Option<Word>,
        labels: &[Label],
        namespace_labels: &[Label],
    ) -> BTreeSet<Id> {
        let own = labels.iter().flat_map(|(key, value)| [Mark::Key(*key), Mark::Label(*key, *value)]);
        let around = namespace_labels
            .iter()
            .flat_map(|(key, value)| [Mark::NamespaceKey(*key), Mark::NamespaceLabel(*key, *value)]);
        let here = namespace.into_iter().flat_map(|namespace| {
            let own = own.clone().chain([Mark::Any]);
            own.map(move |mark| (Some(namespace), mark))
        });
        let anywhere = own.clone().chain(around).chain([Mark::Any]).map(|mark| (None, mark));
        here.chain(anywhere).filter_map(|handle| self.by_handle.get(&handle)).flatten().cloned().collect()
    }
}

impl Mark {
    fn words(self) -> (Option<Word>, Option<Word>) {
        match self {
            Self::Any => (None, None),
            Self::Key(key) | Self::NamespaceKey(key) => (Some(key), None),
            Self::Label(key, value) | Self::NamespaceLabel(key, value) => (Some(key), Some(value)),
        }
    }
}

/// The handles of a selector. Each handle takes its words anew, so that removing it gives all of them back.
fn handles(who: &Who, word: &mut dyn FnMut(&str) -> Option<Word>) -> Vec<Handle> {
    let namespace = match &who.place {
        Place::Namespace(name) => Some(name.as_str()),
        _ => None,
    };
    let of_namespaces = match &who.place {
        Place::Namespaces(selector) => clues(selector),
        _ => None,
    };
    let marks: Vec<(bool, Option<Clue<'_>>)> = match (clues(&who.endpoints), of_namespaces) {
        (Some(own), _) => own.into_iter().map(|clue| (false, Some(clue))).collect(),
        (None, Some(around)) => around.into_iter().map(|clue| (true, Some(clue))).collect(),
        (None, None) => vec![(false, None)],
    };
    let made = marks.into_iter().filter_map(|(around, clue)| {
        let namespace = match namespace {
            Some(name) => Some(word(name)?),
            None => None,
        };
        let mark = match (clue, around) {
            (None, _) => Mark::Any,
            (Some(Clue::Key(key)), false) => Mark::Key(word(key)?),
            (Some(Clue::Key(key)), true) => Mark::NamespaceKey(word(key)?),
            (Some(Clue::Label(key, value)), false) => Mark::Label(word(key)?, word(value)?),
            (Some(Clue::Label(key, value)), true) => Mark::NamespaceLabel(word(key)?, word(value)?),
        };
        Some((namespace, mark))
    });
    made.collect()
}

/// A selector's clues, each once.
fn clues(selector: &Selector) -> Option<Vec<Clue<'_>>> {
    let mut clues = selector.clues()?;
    clues.sort_unstable();
    clues.dedup();
    Some(clues)
}
