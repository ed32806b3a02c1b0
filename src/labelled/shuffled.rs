//! Indexed images → a shuffled stream without end, of labelled data and of selections alike.
//!
//! In memory are two pools of 64 MiB ([`super::order`]), one that is taken from and one that is being filled, and what is being fetched.
//! An image that comes several times in a pool is read once.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::task::JoinHandle;

use super::LabelledError;
use super::index::Index;
use super::order::{Epoch, Pick};
use crate::label::fetch::Fetcher;
use crate::label::infer::Fetched;
use crate::source::{GROUP_BYTES, ImageRef, Kind, Names};

/// Groups of neighbours that are read side by side while a pool is filled.
const GROUPS_AHEAD: usize = 8;
/// Pools that are in memory: one that is taken from, one that is filled meanwhile.
const POOLS: usize = 2;

/// Images of one source whose places are known.
pub(crate) trait Indexed: Send + Sync + 'static {
    /// What a reader gets of an image.
    type Sample: Send + 'static;

    /// Where the images are.
    fn index(&self) -> &Index;

    /// How they are called.
    fn names(&self) -> &Names;

    /// What comes of an image that was read: one sample for each of these places of the stream. `label` is what the index has of
    /// it. Called where it may take its time.
    fn samples(
        &self,
        label: u64,
        fetched: Fetched,
        at: &[u64],
    ) -> Result<Vec<Self::Sample>, LabelledError>;
}

/// All images, each as often as the index has it, in the order of `seed`, epoch after epoch without end, from the place `from` on. What a
/// later place holds does not depend on where the reader began. Empty where there are no images. To be polled within a tokio runtime.
pub(crate) fn shuffled<D: Indexed>(
    data: &Arc<D>,
    fetcher: &Arc<Fetcher>,
    seed: u64,
    from: u64,
) -> BoxStream<'static, Result<D::Sample, LabelledError>> {
    let rows = data.index().rows().max(1);
    let epoch = from / rows;
    let start = Position {
        order: Epoch::new(data.index().places(), seed, epoch),
        epoch,
        skip: from % rows,
        at: from,
    };
    let (data, fetcher) = (Arc::clone(data), Arc::clone(fetcher));
    let ordered = Arc::clone(&data);
    stream::unfold(start, move |mut position| {
        let picks = position.next_pool(ordered.index(), seed);
        std::future::ready(picks.map(|picks| (picks, position)))
    })
    .map(move |(at, picks)| {
        let (data, fetcher) = (Arc::clone(&data), Arc::clone(&fetcher));
        // A task of its own: a pool is filled while its reader is busy with the last one.
        Filling(tokio::spawn(async move {
            pool(&data, &fetcher, at, picks).await
        }))
    })
    .buffered(POOLS)
    .map_ok(|samples| stream::iter(samples.into_iter().map(Ok)))
    .try_flatten()
    .boxed()
}

/// An image that is to be read, and what it is read for.
struct Wanted {
    image: ImageRef,
    about: About,
}

/// What is known of an image beside its place.
struct About {
    label: u64,
    kind: Kind,
    /// Its places in the stream.
    at: Vec<u64>,
}

/// Reads the images of a pool: by block, so that neighbours are read together, and gives them in their shuffled order.
async fn pool<D: Indexed>(
    data: &Arc<D>,
    fetcher: &Fetcher,
    first: u64,
    picks: Vec<Pick>,
) -> Result<Vec<D::Sample>, LabelledError> {
    let mut slots: Vec<Option<D::Sample>> = Vec::new();
    slots.resize_with(picks.len(), || None);
    let mut groups = Vec::new();
    for wanted in wanted(&**data, first, picks)? {
        let refs: Vec<ImageRef> = wanted.iter().map(|w| w.image.clone()).collect();
        let mut about = wanted.into_iter().map(|w| w.about);
        for group in fetcher.groups(&refs, GROUPS_AHEAD).images {
            let about: Vec<About> = about.by_ref().take(group.len()).collect();
            groups.push((group, about));
        }
    }
    let mut reads = stream::iter(groups)
        .map(|(group, about)| async {
            let fetched = fetcher.fetch(group, GROUP_BYTES).await?;
            let data = Arc::clone(data);
            tokio::task::spawn_blocking(move || samples(&*data, fetched, about)).await?
        })
        .buffer_unordered(GROUPS_AHEAD);
    while let Some(samples) = reads.try_next().await? {
        for (at, sample) in samples {
            slots[(at - first) as usize] = Some(sample);
        }
    }
    let samples: Option<Vec<D::Sample>> = slots.into_iter().collect();
    samples.ok_or(LabelledError::Shifted)
}

/// The images of a pool, those of a block together as they lie in it; each once, whatever number of its copies the pool has.
fn wanted<D: Indexed>(
    data: &D,
    first: u64,
    picks: Vec<Pick>,
) -> Result<Vec<Vec<Wanted>>, LabelledError> {
    let (index, names) = (data.index(), data.names());
    // By where the block lies: its places share it.
    let mut by_block: BTreeMap<u64, (u32, BTreeMap<u32, Vec<u64>>)> = BTreeMap::new();
    for (at, pick) in (first..).zip(picks) {
        let block = index.places()[pick.block as usize].at;
        let (_, rows) = by_block
            .entry(block)
            .or_insert_with(|| (pick.block, BTreeMap::new()));
        rows.entry(pick.row).or_default().push(at);
    }
    let blocks = by_block.into_values().map(|(block, rows)| {
        let images = index.block(block as usize)?.images(names);
        let wanted = rows.into_iter().map(|(row, at)| {
            let (image, label) = images[row as usize].clone();
            let kind = image.kind;
            Wanted {
                image,
                about: About { label, kind, at },
            }
        });
        let mut wanted: Vec<Wanted> = wanted.collect();
        wanted.sort_by_key(|w| w.image.position);
        Ok(wanted)
    });
    blocks.collect()
}

/// A group that was read → its samples, with their places in the stream.
fn samples<D: Indexed>(
    data: &D,
    fetched: Vec<Fetched>,
    about: Vec<About>,
) -> Result<Vec<(u64, D::Sample)>, LabelledError> {
    let mut all = Vec::new();
    for (fetched, about) in fetched.into_iter().zip(about) {
        let fetched = Fetched {
            // The pool bounds what is in memory from here on: what was fetched gives its permit back.
            permit: None,
            // A slice of a read would hold on to all of it, its neighbours and what lies between them.
            bytes: match fetched.bytes {
                Ok(bytes) if about.kind == Kind::Tar => Ok(Bytes::copy_from_slice(&bytes)),
                bytes => bytes,
            },
            ..fetched
        };
        let samples = data.samples(about.label, fetched, &about.at)?;
        all.extend(about.at.into_iter().zip(samples));
    }
    Ok(all)
}

/// A pool that is being filled; given up when nobody waits for it any more.
struct Filling<S>(JoinHandle<Result<Vec<S>, LabelledError>>);

impl<S> Future for Filling<S> {
    type Output = Result<Vec<S>, LabelledError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let filled = Pin::new(&mut self.0).poll(context);
        filled.map(|filled| filled.unwrap_or_else(|e| Err(e.into())))
    }
}

impl<S> Drop for Filling<S> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a shuffled reader is.
struct Position {
    order: Epoch,
    epoch: u64,
    /// Images of this epoch that are not given.
    skip: u64,
    at: u64,
}

impl Position {
    /// The next pool, with the place of its first image; `None` where there are no images at all.
    fn next_pool(&mut self, index: &Index, seed: u64) -> Option<(u64, Vec<Pick>)> {
        let places = index.places();
        if places.is_empty() {
            return None;
        }
        loop {
            if let Some(picks) = self.order.next(places, &mut self.skip) {
                let at = self.at;
                self.at += picks.len() as u64;
                return Some((at, picks));
            }
            self.epoch += 1;
            self.order = Epoch::new(places, seed, self.epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labelled::index::{Row, Writer};

    /// Loose images that come as often as they say, known by their numbers.
    struct Numbered {
        index: Index,
        names: Names,
    }

    impl Numbered {
        fn new(copies: &[u32]) -> Self {
            let mut writer = Writer::new().unwrap();
            for (n, copies) in (0..).zip(copies) {
                let image = ImageRef {
                    key: format!("{n}.jpg"),
                    object: format!("{n}.jpg"),
                    position: 0,
                    generation: 0,
                    shard: 0,
                    row: 0,
                    kind: Kind::Object,
                    offset: None,
                    size: Some(1000),
                    object_size: Some(1000),
                    etag: None,
                    problem: None,
                    detail: None,
                };
                let row = Row::placed(&image, &image.object, n);
                writer.place(&image, row, *copies).unwrap();
            }
            Self {
                index: writer.finish().unwrap(),
                names: Names::default(),
            }
        }

        /// The numbers of the first epoch of a seed, in their order.
        fn epoch(&self, seed: u64) -> Vec<u64> {
            let mut order = Epoch::new(self.index.places(), seed, 0);
            let mut epoch = vec![u64::MAX; self.index.rows() as usize];
            let mut first = 0;
            while let Some(picks) = order.next(self.index.places(), &mut 0) {
                let next = first + picks.len() as u64;
                for about in flat(wanted(self, first, picks).unwrap()) {
                    for at in about.at {
                        epoch[at as usize] = about.label;
                    }
                }
                first = next;
            }
            epoch
        }
    }

    fn flat(blocks: Vec<Vec<Wanted>>) -> impl Iterator<Item = About> {
        blocks.into_iter().flatten().map(|wanted| wanted.about)
    }

    impl Indexed for Numbered {
        type Sample = u64;

        fn index(&self) -> &Index {
            &self.index
        }

        fn names(&self) -> &Names {
            &self.names
        }

        fn samples(&self, label: u64, _: Fetched, at: &[u64]) -> Result<Vec<u64>, LabelledError> {
            Ok(vec![label; at.len()])
        }
    }

    #[test]
    fn a_pool_reads_an_image_once_whatever_number_of_its_copies_it_has() {
        let data = Numbered::new(&[1, 40, 3]);
        let picks = Epoch::new(data.index.places(), 1, 0).next(data.index.places(), &mut 0);
        let blocks = wanted(&data, 100, picks.unwrap()).unwrap();
        let mut places = Vec::new();
        let mut copies = Vec::new();
        for about in flat(blocks) {
            copies.push((about.label, about.at.len()));
            places.extend(about.at);
        }
        assert_eq!(copies, [(0, 1), (1, 40), (2, 3)]);
        places.sort_unstable();
        assert_eq!(places, (100..144).collect::<Vec<_>>());
    }

    #[test]
    fn copies_of_loose_images_are_permuted_uniformly_over_several_pools() {
        // 30,000 rows, two pools: the copies of one image are as likely in the first as anywhere else.
        let mut copies = vec![1; 29_000];
        copies.push(1_000);
        let data = Numbered::new(&copies);
        let epoch = data.epoch(3);
        assert!(epoch.iter().all(|n| *n <= 29_000));
        let copied = |rows: &[u64]| rows.iter().filter(|n| **n == 29_000).count();
        assert_eq!(copied(&epoch), 1_000);
        // Of 10 tenths of 3,000 rows: 100 each, standard deviation 9.5; five of these are 48.
        for tenth in epoch.chunks(3_000) {
            assert!((52..=148).contains(&copied(tenth)), "{}", copied(tenth));
        }
    }
}
