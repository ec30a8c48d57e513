//! Whose turn it is among certificates that are ready to be ordered: namespaces in rotation, in each what ends first (I9).

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

/// What waits for its turn.
#[derive(Debug)]
pub struct Turns<T> {
    /// The namespaces that have something waiting, the next one first.
    rotation: VecDeque<String>,
    waiting: BTreeMap<String, BTreeMap<(Timestamp, u64), T>>,
    count: u64,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            rotation: VecDeque::new(),
            waiting: BTreeMap::new(),
            count: 0,
        }
    }
}

impl<T> Turns<T> {
    /// Lets something wait. `ends` is when the certificate ends that it replaces: renewals come before what is missing.
    pub fn push(&mut self, namespace: &str, ends: Option<Timestamp>, what: T) {
        let waiting = self.waiting.entry(namespace.to_owned()).or_insert_with(|| {
            self.rotation.push_back(namespace.to_owned());
            BTreeMap::new()
        });
        self.count += 1;
        waiting.insert((ends.unwrap_or(Timestamp::MAX), self.count), what);
    }

    /// Takes the next one. Its namespace goes to the end of the rotation.
    pub fn pop(&mut self) -> Option<T> {
        let namespace = self.rotation.pop_front()?;
        let waiting = self.waiting.get_mut(&namespace)?;
        let (_, what) = waiting.pop_first()?;
        match waiting.is_empty() {
            true => drop(self.waiting.remove(&namespace)),
            false => self.rotation.push_back(namespace),
        }
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_take_turns_and_what_ends_first_goes_first() {
        let mut turns = Turns::default();
        let ends = |second| Some(Timestamp::from_second(second).expect("a time"));
        for (namespace, end, what) in [
            ("many", None, "many, missing"),
            ("many", ends(300), "many at 300"),
            ("many", ends(100), "many at 100"),
            ("many", ends(200), "many at 200"),
            ("few", None, "few, missing"),
            ("few", ends(900), "few at 900"),
        ] {
            turns.push(namespace, end, what);
        }
        assert_eq!(turns.pop(), Some("many at 100"));
        assert_eq!(turns.pop(), Some("few at 900"));
        turns.push("late", None, "late, missing");
        let rest: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(
            rest,
            [
                "many at 200",
                "few, missing",
                "late, missing",
                "many at 300",
                "many, missing"
            ]
        );
    }
}
