//! Topic: a message goes where its key fits a pattern. Words are parted by dots; in a pattern `*` is
//! exactly one word and `#` any number of words. Empty words are words.
//!
//! The patterns form a tree, a word a step. A key is matched by walking the tree with a set of places
//! at once, so the work is bounded by words times places whatever the patterns are: a pattern full of
//! `#` cannot make it explode.

use std::collections::HashMap;

use super::{Binding, Destination, add, take};

/// A place in the tree. The root is place 0.
type Place = usize;

/// The tree of patterns, in one list; a place that was freed is used again.
#[derive(Debug)]
pub(super) struct Topic {
    nodes: slab::Slab<Node>,
    bindings: usize,
}

#[derive(Debug, Default)]
struct Node {
    parent: Place,
    /// The word that leads here from the parent.
    word: Box<[u8]>,
    children: HashMap<Box<[u8]>, Place>,
    /// Bindings whose pattern ends here.
    here: Vec<Binding>,
}

const ROOT: Place = 0;
const ONE: &[u8] = b"*";
const MANY: &[u8] = b"#";

impl Default for Topic {
    fn default() -> Self {
        let mut nodes = slab::Slab::new();
        nodes.insert(Node::default());
        Self { nodes, bindings: 0 }
    }
}

impl Topic {
    pub(super) fn bind(&mut self, binding: Binding) -> bool {
        let mut place = ROOT;
        for word in words(&binding.key) {
            place = match self.child(place, word) {
                Some(child) => child,
                None => self.grow(place, word),
            };
        }
        let added = self
            .nodes
            .get_mut(place)
            .is_some_and(|node| add(&mut node.here, binding));
        self.bindings += usize::from(added);
        added
    }

    pub(super) fn unbind(&mut self, binding: &Binding) -> bool {
        let end = words(&binding.key).try_fold(ROOT, |place, word| self.child(place, word));
        let Some(place) = end else {
            return false;
        };
        let taken = self
            .nodes
            .get_mut(place)
            .is_some_and(|node| take(&mut node.here, binding));
        self.bindings -= usize::from(taken);
        self.prune(place);
        taken
    }

    pub(super) fn route(&self, key: &[u8], found: &mut Vec<Destination>) {
        let mut places = Vec::new();
        self.enter(ROOT, &mut places);
        let mut next = Vec::new();
        for word in words(key) {
            next.clear();
            for &place in &places {
                self.step(place, word, &mut next);
            }
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut places, &mut next);
        }
        for place in places {
            if let Some(node) = self.nodes.get(place) {
                found.extend(node.here.iter().map(|binding| binding.destination));
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Binding> {
        let here = self.nodes.iter().flat_map(|(_, node)| &node.here);
        here.cloned().collect()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bindings == 0
    }

    fn child(&self, place: Place, word: &[u8]) -> Option<Place> {
        self.nodes.get(place)?.children.get(word).copied()
    }

    fn grow(&mut self, parent: Place, word: &[u8]) -> Place {
        let child = self.nodes.insert(Node {
            parent,
            word: word.into(),
            ..Node::default()
        });
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.insert(word.into(), child);
        }
        child
    }

    /// Cuts the branch that ends here, as far as nothing needs it.
    fn prune(&mut self, mut place: Place) {
        while place != ROOT {
            match self.nodes.get(place) {
                Some(node) if node.here.is_empty() && node.children.is_empty() => {}
                _ => return,
            }
            let node = self.nodes.remove(place);
            if let Some(parent) = self.nodes.get_mut(node.parent) {
                parent.children.remove(&node.word);
            }
            place = node.parent;
        }
    }

    /// Adds a place, and those behind it that match no word at all.
    fn enter(&self, place: Place, places: &mut Vec<Place>) {
        let mut at = Some(place);
        while let Some(place) = at {
            places.push(place);
            at = self.child(place, MANY);
        }
    }

    /// Adds where one word leads from a place.
    fn step(&self, place: Place, word: &[u8], next: &mut Vec<Place>) {
        let Some(node) = self.nodes.get(place) else {
            return;
        };
        if place != ROOT && *node.word == *MANY {
            self.enter(place, next);
        }
        let literal = (word != ONE && word != MANY).then_some(word);
        for way in literal.into_iter().chain([ONE]) {
            if let Some(child) = self.child(place, way) {
                self.enter(child, next);
            }
        }
    }
}

/// The words of a key; the empty key has none.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = text.split(|octet| *octet == b'.');
    words.skip(usize::from(text.is_empty()))
}
