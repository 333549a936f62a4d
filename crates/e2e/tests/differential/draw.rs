//! Commands drawn by lot: from a seed alone, so that the same seed asks the same.

use crate::compare::How;
use crate::forms::Forms;

/// Numbers that depend on the seed alone; not those of `shoal_e2e::Chance`, so that the seeds keep the commands that they had.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    /// A number below `below`.
    pub fn pick(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// One of `all`.
    pub fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.pick(all.len() as u64) as usize]
    }
}

/// One command, and how its reply is compared.
#[derive(Clone, Debug)]
pub struct Asked {
    pub words: Vec<Vec<u8>>,
    pub how: How,
}

/// Hash tags that keys have: enough that each of four shards has some.
const TAGS: u64 = 8;

/// Words that only the servers can give: hashes of scripts, a value dumped by one, a library.
#[derive(Debug, Default)]
pub struct Given {
    pub shas: Vec<Vec<u8>>,
    pub dumped: Vec<u8>,
    pub library: String,
}

/// Every form of `all`, in their order.
pub fn forms(all: Forms) -> Vec<(How, &'static str)> {
    all.iter().flat_map(|(how, lines)| lines.lines().map(|line| (*how, line))).collect()
}

pub fn tag(chance: &mut Chance) -> u64 {
    chance.pick(TAGS)
}

/// Fills `form` in. Its keys are of `tag`.
pub fn fill(chance: &mut Chance, given: &Given, (how, form): (How, &str), tag: u64) -> Asked {
    let words = form.split(' ').map(|word| fill_word(chance, given, word, tag)).collect();
    Asked { words, how }
}

/// The same, now and then with a word less, or one more: the servers' own words for what is wrong pass as they are.
pub fn fill_or_spoil(chance: &mut Chance, given: &Given, form: (How, &str), tag: u64) -> Asked {
    let mut asked = fill(chance, given, form, tag);
    if form.1.contains('$') && asked.words.len() > 1 {
        match chance.pick(60) {
            0 => drop(asked.words.pop()),
            1 => asked.words.push(key(chance, 'a', tag)),
            _ => {}
        }
    }
    asked
}

fn fill_word(chance: &mut Chance, given: &Given, word: &str, tag: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '$' => match letters.next() {
                Some(kind @ ('S' | 'A')) => {
                    let tag = self::tag(chance);
                    out.extend(key(chance, kind.to_ascii_lowercase(), tag));
                }
                Some(kind) => out.extend(key(chance, kind, tag)),
                None => out.push(b'$'), // a stream's last entry
            },
            '%' => match letters.next() {
                Some(kind) => out.extend(other(chance, given, kind)),
                None => out.push(b'%'),
            },
            plain => out.extend(plain.to_string().bytes()),
        }
    }
    out
}

/// A key, mostly one that holds what its letter says.
pub fn key(chance: &mut Chance, kind: char, tag: u64) -> Vec<u8> {
    const KINDS: [char; 8] = ['s', 'l', 'h', 'e', 'z', 'x', 'p', 'g'];
    let wrong = kind == 'a' || chance.pick(25) == 0;
    let kind = if wrong { *chance.one(&KINDS) } else { kind };
    format!("{{t{tag}}}{kind}{}", chance.pick(3)).into_bytes()
}

fn other(chance: &mut Chance, given: &Given, kind: char) -> Vec<u8> {
    let text = match kind {
        'n' => (chance.pick(26) as i64 - 5).to_string(),
        'u' => chance.pick(20).to_string(),
        'o' => chance.pick(80).to_string(),
        'v' => chance.one(&["7", "x", "a longer value", "3.5", "", "w1", "w2"]).to_string(),
        'f' => format!("f{}", chance.pick(12)),
        'm' => format!("m{}", chance.pick(8)),
        'q' => chance.one(&["1", "2.5", "-3", "1e3", "0.1", "inf"]).to_string(),
        'c' => format!("c{}", chance.pick(3)),
        'C' => format!("c{}", chance.pick(20)),
        'G' => format!("g{}", chance.pick(2)),
        'i' => format!("{}-{}", chance.pick(40), chance.pick(3)),
        'j' => (chance.pick(360) as i64 - 180).to_string(),
        'k' => (chance.pick(160) as i64 - 80).to_string(),
        // Seconds, farther apart than clocks are.
        'e' => format!("{}000000", 1 + chance.pick(4)),
        't' => format!("{}00000000", 41 + chance.pick(5)),
        'T' => format!("{}00000000000", 41 + chance.pick(5)),
        'Y' => chance.one(&["SOON", "LATER"]).to_string(),
        'L' => given.library.clone(),
        'B' => return b"\x00\r\n$3\r\n\xff*1\r\n".repeat(1 + chance.pick(40) as usize),
        'D' => return given.dumped.clone(),
        '1' | '2' | '3' => return given.shas[kind as usize - '1' as usize].clone(),
        _ => panic!("no word is called %{kind}"),
    };
    text.into_bytes()
}
