//! Storage for things that come and go, addressed by a key that stays wrong for ever once its thing is gone.

/// Names one entry of an [`Arena`]; never names its successor in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The place in the arena.
    pub index: u32,
    /// How often the place was used before; 31 bits, so that a key and one more bit fit into 64.
    pub generation: u32,
}

impl Key {
    /// The key as a number of 63 bits.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key that [`Key::to_bits`] made a number of.
    pub fn from_bits(bits: u64) -> Key {
        Key { index: bits as u32, generation: (bits >> 32) as u32 & GENERATION_MASK }
    }
}

const GENERATION_MASK: u32 = u32::MAX >> 1;

/// So many places are never given back.
const KEPT: usize = 64;

/// A vector with holes, whose places are used again under new generations.
#[derive(Debug)]
pub struct Arena<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    /// The generation of new places: later than that of any place that was given back.
    first_generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { places: Vec::new(), free: Vec::new(), first_generation: 0 }
    }
}

impl<T> Arena<T> {
    /// Puts `value` in and returns its key.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Key { index, generation: place.generation };
        }
        let index = self.places.len() as u32;
        let generation = self.first_generation;
        self.places.push(Place { generation, value: Some(value) });
        Key { index, generation }
    }

    /// Takes the entry out, if it is still there.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place =
            self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation)?;
        let value = place.value.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(key.index);
        Some(value)
    }

    /// The entry, if it is still there.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places
            .get(key.index as usize)
            .filter(|place| place.generation == key.generation)
            .and_then(|place| place.value.as_ref())
    }

    /// The entry to change, if it is still there.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places
            .get_mut(key.index as usize)
            .filter(|place| place.generation == key.generation)
            .and_then(|place| place.value.as_mut())
    }

    /// Gives the memory of the last places back while nothing is in them.
    pub fn shrink(&mut self) {
        let last = self.places.iter().rposition(|place| place.value.is_some()).map_or(0, |last| last + 1);
        if last * 2 > self.places.len() || self.places.len() <= KEPT {
            return;
        }
        for place in self.places.drain(last..) {
            self.first_generation = self.first_generation.max(place.generation);
        }
        self.places.shrink_to_fit();
        self.free.retain(|&index| (index as usize) < last);
        self.free.shrink_to_fit();
    }

    /// How many places there are, used and unused.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// All entries with their keys, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, generation: place.generation };
            place.value.as_ref().map(|value| (key, value))
        })
    }

    /// All entries to change, in the order of their places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| place.value.as_mut())
    }

    /// The keys of all entries, in the order of their places.
    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_names_the_successor_in_its_place() {
        let mut arena = Arena::default();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.index, second.index);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
        assert_eq!(Key::from_bits(second.to_bits()), second);
    }

    #[test]
    fn places_that_were_given_back_come_again_under_new_keys() {
        let mut arena = Arena::default();
        let old: Vec<Key> = (0..1000).map(|number| arena.insert(number)).collect();
        old[1..].iter().for_each(|&key| assert!(arena.remove(key).is_some()));
        arena.shrink();
        assert_eq!((arena.places(), arena.count()), (1, 1));
        let new: Vec<Key> = (0..1000).map(|number| arena.insert(number)).collect();
        assert!(old[1..].iter().all(|&key| arena.get(key).is_none()));
        assert!(new.iter().all(|&key| arena.get(key).is_some()) && arena.get(old[0]) == Some(&0));
    }
}
