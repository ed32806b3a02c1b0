//! A shuffled order of an epoch: a pure function of (seed, epoch) and the index, without a generator's state.
//!
//! The blocks (where images come several times, the places of blocks: [`super::index`]) are ordered by a hash of (seed, epoch, block). Of
//! these, neighbours of up to [`POOL_IMAGES`] and [`POOL_BYTES`] are mixed: the images of such a pool are ordered by a hash of (seed,
//! epoch, block, row). How good it is: a data set that fits into one pool, and
//! loose images of any number, whose blocks have one image each, are permuted uniformly. Of larger tars, Parquet or IDX files, a batch comes from
//! a pool's worth of blocks of at most 64 neighbours, chosen uniformly; images of one block stay within one pool. That is as good as it gets
//! without a read an image, and no worse than shuffling shards with a buffer. Every image comes exactly as often an epoch as it has copies.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::index::Place;

/// Images that are mixed at a time, at most.
pub(super) const POOL_IMAGES: u64 = 16_384;
/// Bytes that are mixed at a time, at most, but for a single larger block: 64 MiB.
pub(super) const POOL_BYTES: u64 = 64 * 1024 * 1024;

/// An image: its block, and its row in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pick {
    pub(super) block: u32,
    pub(super) row: u32,
}

/// One epoch's order, a pool at a time.
#[derive(Debug)]
pub(super) struct Epoch {
    seed: u64,
    number: u64,
    /// All blocks in their order: 4 bytes each.
    blocks: std::vec::IntoIter<u32>,
    /// The block that did not fit into the last pool.
    next: Option<u32>,
}

impl Epoch {
    pub(super) fn new(places: &[Place], seed: u64, epoch: u64) -> Self {
        let mut keyed: Vec<(u64, u32)> = (0..places.len() as u32)
            .map(|block| (hash(seed, [epoch, u64::from(block), u64::MAX]), block))
            .collect();
        keyed.sort_unstable();
        let blocks: Vec<u32> = keyed.into_iter().map(|(_, block)| block).collect();
        Self {
            seed,
            number: epoch,
            blocks: blocks.into_iter(),
            next: None,
        }
    }

    /// The blocks of the next pool; empty at the end of the epoch.
    fn pool(&mut self, places: &[Place]) -> Vec<u32> {
        let (mut pool, mut images, mut bytes) = (Vec::new(), 0, 0);
        while let Some(block) = self.next.take().or_else(|| self.blocks.next()) {
            let place = places[block as usize];
            let (more_images, more_bytes) = (images + u64::from(place.rows), bytes + place.bytes);
            if !pool.is_empty() && (more_images > POOL_IMAGES || more_bytes > POOL_BYTES) {
                self.next = Some(block);
                break;
            }
            (images, bytes) = (more_images, more_bytes);
            pool.push(block);
        }
        pool
    }

    /// The images of the next pool in their order, without the first `skip` of the epoch that are still to be skipped; `None` at its end.
    pub(super) fn next(&mut self, places: &[Place], skip: &mut u64) -> Option<Vec<Pick>> {
        loop {
            let pool = self.pool(places);
            if pool.is_empty() {
                return None;
            }
            let rows = |block: &u32| places[*block as usize].rows;
            let images: u64 = pool.iter().map(|b| u64::from(rows(b))).sum();
            if *skip >= images {
                *skip -= images;
                continue;
            }
            let mut keyed: Vec<(u64, Pick)> = pool
                .iter()
                .flat_map(|&block| (0..rows(&block)).map(move |row| Pick { block, row }))
                .map(|pick| {
                    let place = [self.number, u64::from(pick.block), u64::from(pick.row)];
                    (hash(self.seed, place), pick)
                })
                .collect();
            keyed.sort_unstable();
            let skipped = std::mem::take(skip) as usize;
            return Some(keyed.into_iter().skip(skipped).map(|(_, p)| p).collect());
        }
    }
}

/// XXH3 of three numbers with the seed.
fn hash(seed: u64, numbers: [u64; 3]) -> u64 {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    xxh3_64_with_seed(&bytes, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `blocks` blocks of `rows` images of `size` bytes.
    fn places(blocks: usize, rows: u32, size: u64) -> Vec<Place> {
        vec![Place::of(rows, u64::from(rows) * size); blocks]
    }

    fn epoch(places: &[Place], seed: u64, epoch: u64, mut skip: u64) -> Vec<Vec<Pick>> {
        let mut order = Epoch::new(places, seed, epoch);
        std::iter::from_fn(|| order.next(places, &mut skip)).collect()
    }

    #[test]
    fn every_image_comes_once_an_epoch_and_the_pools_are_bounded() {
        let places = places(1000, 64, 20_000);
        let pools = epoch(&places, 7, 0, 0);
        for pool in &pools {
            assert!(pool.len() as u64 <= POOL_IMAGES);
            assert!(pool.len() as u64 * 20_000 <= POOL_BYTES);
        }
        let all: BTreeSet<Pick> = pools.iter().flatten().copied().collect();
        assert_eq!(all.len(), 64_000);
        assert_eq!(pools.iter().map(Vec::len).sum::<usize>(), 64_000);
        // A block that is larger than a pool is a pool.
        let huge = [Place::of(3, POOL_BYTES * 2), Place::of(1, 1)];
        assert_eq!(epoch(&huge, 0, 0, 0).concat().len(), 4);
    }

    #[test]
    fn the_order_follows_from_seed_and_epoch_alone() {
        let places = places(50, 10, 100);
        let order = |seed, number| epoch(&places, seed, number, 0).concat();
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        // Pinned: a checkpoint of this version is resumed by later ones.
        let first: Vec<(u32, u32)> = order(1, 0)[..4].iter().map(|p| (p.block, p.row)).collect();
        assert_eq!(first, PINNED);
    }

    const PINNED: [(u32, u32); 4] = [(0, 0), (19, 9), (38, 7), (15, 7)];

    #[test]
    fn an_epoch_is_resumed_at_any_image() {
        let places = places(700, 40, 30_000);
        let whole = epoch(&places, 3, 9, 0).concat();
        for skip in [1, 39, 40, 2_000, 27_999, 28_000] {
            let rest = epoch(&places, 3, 9, skip).concat();
            assert_eq!(rest, whole[skip as usize..], "from {skip}");
        }
    }

    #[test]
    fn loose_images_are_permuted_uniformly() {
        // The place of image 0 among 5, over many seeds: each equally often. 10,000 draws: 2,000 ± 40, five standard deviations are 200.
        let places = places(5, 1, 100);
        let mut counts = [0; 5];
        for seed in 0..10_000 {
            let order = epoch(&places, seed, 0, 0).concat();
            let place = order.iter().position(|p| p.block == 0).unwrap();
            counts[place] += 1;
        }
        assert!(
            counts.iter().all(|n| (1800..=2200).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn images_of_one_block_are_spread_over_their_pool() {
        // 256 blocks of 64 fit into one pool: the mean gap between neighbours of a block is then 256, and few come right after one another.
        let places = places(256, 64, 1000);
        let order = epoch(&places, 5, 0, 0).concat();
        assert_eq!(order.len(), 16_384);
        let adjacent = order
            .windows(2)
            .filter(|w| w[0].block == w[1].block)
            .count();
        // Of 16,383 pairs 1 in 256: 63 expected, standard deviation 8.
        assert!((23..=103).contains(&adjacent), "{adjacent}");
    }
}
