//! What is kept for each feed of a session.

use std::cmp::Ordering;

use crate::domain::ids::FeedKey;

/// A map by feed, in the order of the feeds. Most sessions follow few: it grows by half,
/// and shrinks when three quarters are empty. Finding is by bisection; of a thousand, the most there may be, adding one moves some kilobytes.
#[derive(Debug)]
pub struct FeedTable<T>(Vec<(FeedKey, T)>);

impl<T> Default for FeedTable<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FeedTable<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is kept for a feed.
    #[must_use]
    pub fn get(&self, feed: &FeedKey) -> Option<&T> {
        self.place(feed).ok().map(|place| &self.0[place].1)
    }

    /// The same, to be changed.
    #[must_use]
    pub fn get_mut(&mut self, feed: &FeedKey) -> Option<&mut T> {
        self.place(feed).ok().map(|place| &mut self.0[place].1)
    }

    /// Keeps something for a feed, and gives back what was kept for it.
    pub fn insert(&mut self, feed: FeedKey, kept: T) -> Option<T> {
        match self.place(&feed) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, kept)),
            Err(place) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact((self.0.len() / 2).max(1));
                }
                self.0.insert(place, (feed, kept));
                None
            }
        }
    }

    /// Takes out what is kept for a feed.
    pub fn remove(&mut self, feed: &FeedKey) -> Option<T> {
        let (_, kept) = self.0.remove(self.place(feed).ok()?);
        // A session that once followed much should not keep the room.
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        Some(kept)
    }

    /// All that is kept, in the order of the feeds.
    pub fn iter(&self) -> impl Iterator<Item = (&FeedKey, &T)> {
        self.0.iter().map(|(feed, kept)| (feed, kept))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&FeedKey, &mut T)> {
        self.0.iter_mut().map(|(feed, kept)| (&*feed, kept))
    }

    /// Takes all out.
    pub fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.0).into_iter().map(|(_, kept)| kept)
    }

    /// Keeps this very key in place of an equal one: what many sessions follow is named once in memory.
    pub fn share_key(&mut self, feed: &FeedKey) {
        if let Ok(place) = self.place(feed) {
            self.0[place].0 = feed.clone();
        }
    }

    fn place(&self, feed: &FeedKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| {
            // Most often asked for with the key that the feed itself has: then no text need be fetched.
            if known.is_shared_with(feed) { Ordering::Equal } else { known.cmp(feed) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::DialogId;

    fn feed(number: u8) -> FeedKey {
        FeedKey::Dialog(DialogId::parse(&number.to_string()).unwrap())
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in prop::collection::vec((any::<bool>(), 0_u8..40, any::<u8>()), 0..300)) {
            let (mut table, mut map) = (FeedTable::default(), BTreeMap::new());
            for (insert, number, kept) in steps {
                if insert {
                    prop_assert_eq!(table.insert(feed(number), kept), map.insert(feed(number), kept));
                } else {
                    prop_assert_eq!(table.remove(&feed(number)), map.remove(&feed(number)));
                }
                prop_assert_eq!(table.get(&feed(number)), map.get(&feed(number)));
                prop_assert_eq!(table.len(), map.len());
            }
            prop_assert!(table.iter().eq(map.iter()));
            prop_assert!(table.take().eq(map.into_values()));
            prop_assert!(table.is_empty());
        }
    }

    #[test]
    fn the_room_is_what_is_needed_or_little_more() {
        let mut table = FeedTable::default();
        for number in 0..100_u8 {
            table.insert(feed(number), ());
            assert!(table.0.capacity() <= (table.len() * 3 / 2).max(1), "{}", table.0.capacity());
        }
        for number in 0..99_u8 {
            table.remove(&feed(number));
        }
        assert!(table.0.capacity() <= 4, "{}", table.0.capacity());
    }
}
