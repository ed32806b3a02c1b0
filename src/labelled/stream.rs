//! The images of a labelled data set → their bytes: in their order by batch, or shuffled without end ([`super::shuffled`]).
//!
//! In memory, in order: what [`Fetcher`] allows (128 MiB) and 2,048 rows of the index.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use futures::{Stream, TryStreamExt};

use super::index::Index;
use super::shuffled::{Indexed, shuffled};
use super::{Labelled, LabelledError};
use crate::label::LabelError;
use crate::label::fetch::Fetcher;
use crate::label::infer::Fetched;
use crate::source::{ImageRef, Kind, Names};

/// Rows of the index that are in memory while images are read in order.
const WINDOW: usize = 2048;

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
type Wanted = (ImageRef, u64);

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
        shuffled(self, fetcher, seed, from)
    }
}

impl Indexed for Labelled {
    type Sample = Sample;

    fn index(&self) -> &Index {
        &self.index
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn samples(
        &self,
        label: u64,
        fetched: Fetched,
        at: &[u64],
    ) -> Result<Vec<Sample>, LabelledError> {
        let sample = |at: &u64| Sample {
            at: *at,
            key: fetched.key.clone(),
            class: label as u16,
            fetched: fetched.clone(),
        };
        Ok(at.iter().map(sample).collect())
    }
}

/// The batches of neighbours.
fn window(
    fetcher: &Fetcher,
    ahead: usize,
    first: u64,
    rows: Vec<Wanted>,
) -> impl Stream<Item = Result<Vec<Sample>, LabelledError>> + Send {
    let (images, classes): (Vec<ImageRef>, Vec<u64>) = rows.into_iter().unzip();
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
