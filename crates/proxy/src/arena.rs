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

/// A vector with holes, whose places are used again under new generations.
#[derive(Debug)]
pub struct Arena<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { places: Vec::new(), free: Vec::new() }
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
        self.places.push(Place { generation: 0, value: Some(value) });
        Key { index, generation: 0 }
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
}
