//! Words, numbered. Labels of 100,000 endpoints are the same few words over and over; as pairs of numbers they are
//! small and quick to compare. A number is given back when nobody uses its word any more.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of a word that is in use.
pub(super) type Word = u32;

/// A label.
pub(super) type Label = (Word, Word);

/// All words in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    numbers: BTreeMap<Arc<str>, Word>,
    slots: Vec<Slot>,
    free: Vec<Word>,
}

#[derive(Clone, Debug)]
struct Slot {
    text: Arc<str>,
    uses: u32,
}

impl Words {
    /// The number of a word, from now on used once more.
    pub(super) fn acquire(&mut self, text: &str) -> Word {
        if let Some(&word) = self.numbers.get(text) {
            if let Some(slot) = self.slots.get_mut(word as usize) {
                slot.uses += 1;
            }
            return word;
        }
        let text: Arc<str> = text.into();
        let slot = Slot { text: text.clone(), uses: 1 };
        let word = match self.free.pop() {
            Some(word) => {
                if let Some(place) = self.slots.get_mut(word as usize) {
                    *place = slot;
                }
                word
            }
            None => {
                self.slots.push(slot);
                Word::try_from(self.slots.len() - 1).unwrap_or(Word::MAX)
            }
        };
        self.numbers.insert(text, word);
        word
    }

    /// One use less.
    pub(super) fn release(&mut self, word: Word) {
        let Some(slot) = self.slots.get_mut(word as usize) else { return };
        slot.uses = slot.uses.saturating_sub(1);
        if slot.uses == 0 && self.numbers.remove(&slot.text).is_some() {
            self.free.push(word);
        }
    }

    /// The number of a word, if anybody uses it.
    pub(super) fn get(&self, text: &str) -> Option<Word> {
        self.numbers.get(text).copied()
    }

    /// The word of a number.
    pub(super) fn text(&self, word: Word) -> &str {
        self.slots.get(word as usize).map_or("", |slot| &slot.text)
    }

    /// How many words are in use.
    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// The value that `labels`, sorted by key, have for a key.
    pub(super) fn value_of(&self, labels: &[Label], key: &str) -> Option<&str> {
        let key = self.get(key)?;
        let at = labels.binary_search_by_key(&key, |label| label.0).ok()?;
        labels.get(at).map(|label| self.text(label.1))
    }
}
