//! The images of a labelled data set → their bytes: in their order by batch, or shuffled without end.
//!
//! In memory: in order, what [`Fetcher`] allows (128 MiB) and 2,048 rows of the index; shuffled, two pools of 64 MiB ([`super::order`]),
//! one that is taken from and one that is being filled, and what is being fetched.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, StreamExt};
use futures::{Stream, TryStreamExt};
use tokio::task::JoinHandle;

use super::order::{Epoch, Pick};
use super::{Labelled, LabelledError};
use crate::label::LabelError;
use crate::label::fetch::Fetcher;
use crate::label::infer::Fetched;
use crate::source::{GROUP_BYTES, ImageRef, Kind};

/// Rows of the index that are in memory while images are read in order.
const WINDOW: usize = 2048;
/// Groups of neighbours that are read side by side while a pool is filled, or of a container in order.
const GROUPS_AHEAD: usize = 8;
/// Pools that are in memory: one that is taken from, one that is filled meanwhile.
const POOLS: usize = 2;

/// A labelled image.
#[derive(Debug)]
pub struct Sample {
    /// Its place in the stream, from 0: a stream that is begun at `at + 1` goes on after it.
    pub at: u64,
    /// Its key.
    pub key: String,
    /// Its class.
    pub class: u16,
    /// Its bytes, or why there are none.
    pub fetched: Fetched,
}

/// An image that is to be read, and its class.
type Wanted = (ImageRef, u32);

impl Labelled {
    /// All images in their order, in batches as large as the fetcher's, with up to `ahead` of them under way. A batch's images lie in one container,
    /// or are loose.
    pub fn batches<'a>(
        &'a self,
        fetcher: &'a Fetcher,
        ahead: usize,
    ) -> impl Stream<Item = Result<Vec<Sample>, LabelledError>> + Send + 'a {
        let blocks = 0..self.index.places().len();
        let blocks = stream::iter(blocks).map(|n| self.index.block(n));
        let rows = blocks
            .map_ok(|block| stream::iter(block.images(&self.names).into_iter().map(Ok)))
            .try_flatten();
        windows(rows.boxed(), fetcher.batch())
            .map_ok(move |(first, rows)| window(fetcher, ahead, first, rows))
            .try_flatten()
    }

    /// All images in the order of `seed`, epoch after epoch without end, from the image `from` on: the place where an interrupted
    /// reader was. What a later image is does not depend on where the reader began. To be polled within a tokio runtime, on which the
    /// next pool is filled meanwhile.
    pub fn shuffled(
        self: &Arc<Self>,
        fetcher: &Arc<Fetcher>,
        seed: u64,
        from: u64,
    ) -> BoxStream<'static, Result<Sample, LabelledError>> {
        let images = self.images().max(1);
        let epoch = from / images;
        let start = Place {
            order: Epoch::new(self.index.places(), seed, epoch),
            epoch,
            skip: from % images,
            at: from,
        };
        let (labelled, fetcher) = (Arc::clone(self), Arc::clone(fetcher));
        let data = Arc::clone(self);
        stream::unfold(start, move |mut place| {
            let picks = place.next_pool(&data, seed);
            std::future::ready(picks.map(|picks| (picks, place)))
        })
        .map(move |(at, picks)| {
            let (labelled, fetcher) = (Arc::clone(&labelled), Arc::clone(&fetcher));
            // A task of its own: a pool is filled while its reader is busy with the last one.
            Filling(tokio::spawn(async move {
                labelled.pool(&fetcher, at, picks).await
            }))
        })
        .buffered(POOLS)
        .map_ok(|samples| stream::iter(samples.into_iter().map(Ok)))
        .try_flatten()
        .boxed()
    }

    /// Reads the images of a pool: by block, so that neighbours are read together, and gives them in their shuffled order.
    async fn pool(
        &self,
        fetcher: &Fetcher,
        first: u64,
        picks: Vec<Pick>,
    ) -> Result<Vec<Sample>, LabelledError> {
        let mut by_block: BTreeMap<u32, Vec<(u32, usize)>> = BTreeMap::new();
        for (slot, pick) in picks.iter().enumerate() {
            by_block
                .entry(pick.block)
                .or_default()
                .push((pick.row, slot));
        }
        let mut slots: Vec<Option<Sample>> = Vec::new();
        slots.resize_with(picks.len(), || None);
        let mut groups = Vec::new();
        for (block, mut rows) in by_block {
            rows.sort_unstable();
            let images = self.index.block(block as usize)?.images(&self.names);
            let wanted: Vec<Wanted> = rows.iter().map(|r| images[r.0 as usize].clone()).collect();
            let refs: Vec<ImageRef> = wanted.iter().map(|w| w.0.clone()).collect();
            let mut about = wanted.into_iter().zip(rows);
            for group in fetcher.groups(&refs, GROUPS_AHEAD).images {
                let about: Vec<(Wanted, (u32, usize))> = about.by_ref().take(group.len()).collect();
                groups.push((group, about));
            }
        }
        let mut reads = stream::iter(groups)
            // What is fetched gives its permit back as soon as it is in the pool.
            .map(|(group, about)| async { Ok((fetcher.fetch(group, GROUP_BYTES).await?, about)) })
            .buffer_unordered(GROUPS_AHEAD);
        while let Some((fetched, about)) = reads.try_next().await.map_err(LabelledError::Read)? {
            for (fetched, ((image, class), (_, slot))) in fetched.into_iter().zip(about) {
                slots[slot] = Some(Sample {
                    at: first + slot as u64,
                    key: image.key,
                    class: class as u16,
                    // The pool bounds what is in memory from here on.
                    fetched: Fetched {
                        permit: None,
                        ..fetched
                    },
                });
            }
        }
        let samples: Option<Vec<Sample>> = slots.into_iter().collect();
        samples.ok_or(LabelledError::Shifted)
    }
}

/// A pool that is being filled; given up when nobody waits for it any more.
struct Filling(JoinHandle<Result<Vec<Sample>, LabelledError>>);

impl Future for Filling {
    type Output = Result<Vec<Sample>, LabelledError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let filled = Pin::new(&mut self.0).poll(context);
        filled.map(|filled| filled.unwrap_or_else(|e| Err(e.into())))
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a shuffled reader is.
struct Place {
    order: Epoch,
    epoch: u64,
    /// Images of this epoch that are not given.
    skip: u64,
    at: u64,
}

impl Place {
    /// The next pool, with the place of its first image; `None` where there are no images at all.
    fn next_pool(&mut self, data: &Labelled, seed: u64) -> Option<(u64, Vec<Pick>)> {
        let places = data.index.places();
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

/// The batches of neighbours.
fn window(
    fetcher: &Fetcher,
    ahead: usize,
    first: u64,
    rows: Vec<Wanted>,
) -> impl Stream<Item = Result<Vec<Sample>, LabelledError>> + Send {
    let (images, classes): (Vec<ImageRef>, Vec<u32>) = rows.into_iter().unzip();
    let called: Vec<String> = images.iter().map(|i| i.key.clone()).collect();
    let groups = fetcher.groups(&images, ahead);
    let most = groups.most_bytes;
    let fetched = stream::iter(groups.images)
        .map(move |group| fetcher.fetch(group, most))
        .buffered(groups.ahead)
        .map_ok(|group| stream::iter(group.into_iter().map(Ok::<_, LabelError>)))
        .try_flatten();
    let mut about = (first..).zip(called).zip(classes);
    fetched
        .map_err(LabelledError::from)
        .and_then(move |fetched| {
            let sample = match about.next() {
                Some(((at, key), class)) => Ok(Sample {
                    at,
                    key,
                    class: class as u16,
                    fetched,
                }),
                None => Err(LabelledError::Shifted),
            };
            std::future::ready(sample)
        })
        .try_chunks(fetcher.batch())
        .map_err(|e| e.1)
}

/// Rows → runs of up to [`WINDOW`] (a multiple of `batch`) of one container, or loose ones, each with the number of its first row.
fn windows(
    rows: BoxStream<'_, Result<Wanted, LabelledError>>,
    batch: usize,
) -> impl Stream<Item = Result<(u64, Vec<Wanted>), LabelledError>> + Send {
    let most = (WINDOW / batch).max(1) * batch;
    let state = (rows.peekable(), 0_u64);
    stream::try_unfold(state, move |(mut rows, number)| async move {
        let mut window: Vec<Wanted> = Vec::new();
        while window.len() < most {
            let belongs = |next: &Result<Wanted, LabelledError>| match (next, window.last()) {
                (Err(_), _) | (_, None) => true,
                (Ok((next, _)), Some((last, _))) => {
                    next.kind == last.kind
                        && (next.kind == Kind::Object || next.object == last.object)
                }
            };
            match Pin::new(&mut rows).next_if(belongs).await {
                Some(row) => window.push(row?),
                None => break,
            }
        }
        let next = number + window.len() as u64;
        Ok((!window.is_empty()).then_some(((number, window), (rows, next))))
    })
}
