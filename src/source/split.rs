//! A seeded part of a source: whether an image belongs to it follows from a hash of (seed, name) alone.
//!
//! So parts that do not overlap have no image in common, whoever reads them, in whatever order, with or without labels; an image
//! that is added later moves no other one. The name is the image's key without the source's URL (`cat/1.jpg`, `00007.tar#1.jpg`,
//! `train-images-idx3-ubyte.gz#17`; of a list of URLs the URL), so that a copy elsewhere is parted the same way.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The most pieces that a source is cut into.
const MOST_PIECES: u32 = 1_000_000;

/// `split = { seed = 1, part = "2..6/60" }`: which part of a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Of the hash.
    #[serde(default)]
    pub seed: u64,
    /// Which of the pieces.
    pub part: Part,
}

/// `A/B`, piece A of B; or `A..C/B`, the pieces from A on and before C. Pieces are counted from 0 and are about equally large: of n
/// images a piece has n/B, give or take √(n/B).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Part {
    first: u32,
    end: u32,
    of: u32,
}

/// A text that is no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no part: write A/B or A..C/B, such as 0/60 or 2..6/60, with A below C and C at most B"
)]
pub struct BadPart {
    /// As typed.
    text: String,
}

impl Split {
    /// Whether an image of this name belongs to the part: `XXH3(name, seed)` as a fraction of 2⁶⁴ lies in `[A/B, C/B)`.
    pub fn has(&self, name: &str) -> bool {
        let hash = Self::hash_of(self.seed, name);
        let piece = (u128::from(hash) * u128::from(self.part.of)) >> 64;
        (u128::from(self.part.first)..u128::from(self.part.end)).contains(&piece)
    }

    /// XXH3 (64 bits) of the name's bytes with the seed.
    pub fn hash_of(seed: u64, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), seed)
    }
}

impl FromStr for Split {
    type Err = String;

    /// `SEED:PART`, as on the command line.
    fn from_str(text: &str) -> Result<Self, String> {
        let (seed, part) = text
            .split_once(':')
            .ok_or("write SEED:PART, such as 1:2..6/60")?;
        Ok(Self {
            seed: seed
                .parse()
                .map_err(|e| format!("`{seed}` is no seed: {e}"))?,
            part: part.parse().map_err(|e: BadPart| e.to_string())?,
        })
    }
}

impl FromStr for Part {
    type Err = BadPart;

    fn from_str(text: &str) -> Result<Self, BadPart> {
        let parsed = || {
            let (pieces, of) = text.split_once('/')?;
            let number = |text: &str| text.trim().parse::<u32>().ok();
            let (first, end) = match pieces.split_once("..") {
                Some((first, end)) => (number(first)?, number(end)?),
                None => (number(pieces)?, number(pieces)?.checked_add(1)?),
            };
            let of = number(of)?;
            (first < end && end <= of && of <= MOST_PIECES).then_some(Self { first, end, of })
        };
        parsed().ok_or_else(|| BadPart {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, end, of } = self;
        if *end == first + 1 {
            write!(f, "{first}/{of}")
        } else {
            write!(f, "{first}..{end}/{of}")
        }
    }
}

impl TryFrom<String> for Part {
    type Error = BadPart;

    fn try_from(text: String) -> Result<Self, BadPart> {
        text.parse()
    }
}

impl From<Part> for String {
    fn from(part: Part) -> Self {
        part.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Split {
        text.parse().unwrap()
    }

    #[test]
    fn a_part_is_parsed_and_printed_back_and_nonsense_is_refused() {
        for text in ["0/60", "2..6/60", "0..1000000/1000000"] {
            assert_eq!(text.parse::<Part>().unwrap().to_string(), text);
        }
        assert_eq!("3..4/9".parse::<Part>().unwrap().to_string(), "3/9");
        for text in [
            "",
            "60/60",
            "6..2/60",
            "1",
            "a/b",
            "0/0",
            "0/1000001",
            "-1/2",
        ] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }

    #[test]
    fn pieces_are_about_equally_large() {
        let names: Vec<String> = (0..60_000).map(|n| format!("train#{n}")).collect();
        for piece in 0..60 {
            let split = split(&format!("7:{piece}/60"));
            let has = names.iter().filter(|n| split.has(n)).count();
            // Binomial with a mean of 1,000 and a standard deviation of 31: five of them.
            assert!((845..=1155).contains(&has), "piece {piece} has {has}");
        }
    }

    #[test]
    fn the_hash_is_the_published_xxh3() {
        // XSUM_XXH3_64bits_withSeed of an empty input, from xxHash's own sanity test.
        assert_eq!(Split::hash_of(0, ""), 0x2D06_8005_38D3_94C2);
    }

    proptest! {
        #[test]
        fn every_image_is_in_exactly_one_piece_and_a_range_is_its_pieces(
            name in ".{0,40}", seed: u64, of in 1_u32..200, a in 0_u32..200, b in 0_u32..200
        ) {
            let part = |first: u32, end: u32| Split { seed, part: Part { first, end, of } };
            let pieces: Vec<u32> = (0..of).filter(|p| part(*p, p + 1).has(&name)).collect();
            prop_assert_eq!(pieces.len(), 1);
            let (first, end) = (a.min(b) % of, (a.max(b) % of) + 1);
            prop_assume!(first < end);
            prop_assert_eq!(part(first, end).has(&name), (first..end).contains(&pieces[0]));
            // The same fraction in other words.
            let finer = Split { seed, part: Part { first: first * 3, end: end * 3, of: of * 3 } };
            prop_assert_eq!(finer.has(&name), part(first, end).has(&name));
        }
    }
}
