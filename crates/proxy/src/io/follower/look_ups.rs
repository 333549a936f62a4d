//! Names that are being looked up. The system's resolver blocks, so each has a thread of its own; and it may take much longer
//! than whoever asked waits, so that a name that is asked for again joins the look-up that is under way.

use std::collections::BTreeMap;

/// The look-ups that are under way, and which links wait for each.
#[derive(Debug, Default)]
pub struct LookUps(BTreeMap<(String, u16), Vec<u64>>);

impl LookUps {
    /// The link of that number asks for a name; whether it is to be looked up, since nobody does yet.
    pub fn ask(&mut self, name: &(String, u16), link: u64) -> bool {
        match self.0.get_mut(name) {
            Some(waiting) => {
                waiting.push(link);
                false
            }
            None => {
                self.0.insert(name.clone(), vec![link]);
                true
            }
        }
    }

    /// The links that no longer wait are told nothing.
    pub fn retain(&mut self, waits: impl Fn(u64) -> bool) {
        self.0.values_mut().for_each(|waiting| waiting.retain(|link| waits(*link)));
    }

    /// A look-up has ended; who waits for what it found.
    pub fn end(&mut self, name: &(String, u16)) -> Vec<u64> {
        self.0.remove(name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_once_at_a_time() {
        let (mut look_ups, name) = (LookUps::default(), ("s".to_owned(), 1));
        assert!(look_ups.ask(&name, 1));
        // Who asked first has given up, and asks again: many times, as long as nobody answers.
        assert!((2..1000).all(|link| {
            look_ups.retain(|waiting| waiting == link - 1);
            !look_ups.ask(&name, link)
        }));
        assert!(look_ups.ask(&("t".to_owned(), 1), 1000), "another name");
        assert_eq!(look_ups.end(&name), [998, 999]);
        assert!(look_ups.end(&name).is_empty() && look_ups.ask(&name, 1001));
    }
}
