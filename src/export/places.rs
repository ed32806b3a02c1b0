//! Keys that another system wrote → where their images are, by the grammar of our own keys.
//!
//! ```text
//! s3://bucket/a.jpg   /data/a.jpg   https://host/a.jpg      the object is the image
//! s3://bucket/x.tar#member.jpg                              a member of a tar, which is indexed once
//! s3://bucket/x.parquet#17                                  a row of a Parquet file, likewise
//! ```
//! In memory are the names of the stores and of the containers, not of the images.

use std::collections::BTreeMap;

use futures::stream::{self, BoxStream, StreamExt};
use futures::{TryStreamExt, future};

use super::ExportError;
use crate::source::{
    Entry, ImageRef, Kind, Listed, ListedObject, Source, SourceConfig, SourceError,
};
use crate::store::{StorageOptions, StoreError};

/// Endings of containers, before the `#` of a key.
const CONTAINERS: [&str; 3] = [".tar#", ".parquet#", ".pq#"];

/// What a key says.
#[derive(Debug, PartialEq, Eq)]
struct Spelled<'a> {
    /// The root of its store, ending in `/`.
    root: String,
    /// The path there of the image itself; none where it lies in a container.
    object: Option<&'a str>,
    /// The container's URL, up to the `#`.
    container: Option<&'a str>,
    /// Whether its store is a web server.
    web: bool,
}

fn spelled(key: &str) -> Result<Spelled<'_>, &'static str> {
    let (root, path) = if let Some(path) = key.strip_prefix('/') {
        ("file:///".to_owned(), path)
    } else {
        let (scheme, rest) = key.split_once("://").ok_or("it is no URL")?;
        let (host, path) = rest.split_once('/').ok_or("it names no object")?;
        (format!("{scheme}://{host}/"), path)
    };
    if path.is_empty() || path.ends_with('/') {
        return Err("it names no object");
    }
    let lower = key.to_ascii_lowercase();
    let ends = CONTAINERS
        .iter()
        .filter_map(|sign| lower.find(sign).map(|at| at + sign.len() - 1));
    let container = ends.min().map(|end| &key[..end]);
    Ok(Spelled {
        root,
        object: container.is_none().then_some(path),
        container,
        web: lower.starts_with("http://") || lower.starts_with("https://"),
    })
}

/// The stores and containers that the keys of a selection name.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// What reads the images, one source a store.
    pub(super) sources: Vec<Source>,
    /// The number of each source, by its store's root; of all web servers together `http`.
    roots: BTreeMap<String, u32>,
    /// Containers as keys spell them, each with the number of its source.
    containers: BTreeMap<String, u32>,
}

impl Named {
    /// Notes what a key names.
    ///
    /// # Errors
    /// [`ExportError::NoPlace`] where it names nothing that can be read.
    pub(super) fn note(&mut self, key: &str, storage: &StorageOptions) -> Result<(), ExportError> {
        let no_place = |why: String| ExportError::NoPlace {
            key: key.to_owned(),
            why,
        };
        let place = spelled(key).map_err(|why| no_place(why.to_owned()))?;
        if let Some(container) = place.container
            && self.containers.contains_key(container)
        {
            return Ok(());
        }
        let (name, url) = match (place.web, place.container) {
            // A web server's root is read as a list of URLs, of any host; a container of it as a file.
            (true, None) => ("http".to_owned(), place.root),
            (true, Some(container)) => {
                (format!("container of {}", place.root), container.to_owned())
            }
            (false, _) => (place.root.clone(), place.root),
        };
        let number = if let Some(number) = self.roots.get(&name) {
            *number
        } else {
            let opened = match Source::open(&url, storage, &SourceConfig::default()) {
                Err(SourceError::Store(StoreError::BadUrl { why, .. })) => {
                    return Err(no_place(why));
                }
                opened => opened?,
            };
            self.sources.push(opened);
            let number = self.sources.len() as u32 - 1;
            self.roots.insert(name, number);
            number
        };
        if let Some(container) = place.container {
            self.containers.insert(container.to_owned(), number);
        }
        Ok(())
    }

    /// Where the object of a key is; `None` where it lies in a container, whose index tells.
    pub(super) fn object(&self, key: &str) -> Option<(u32, ImageRef)> {
        let place = spelled(key).ok()?;
        let object = place.object?;
        let (name, object) = if place.web {
            ("http", key)
        } else {
            (place.root.as_str(), object)
        };
        let image = ImageRef {
            key: key.to_owned(),
            object: object.to_owned(),
            ..unplaced(Kind::Object)
        };
        Some((*self.roots.get(name)?, image))
    }

    /// Whether any key lies in a container.
    pub(super) fn has_containers(&self) -> bool {
        !self.containers.is_empty()
    }

    /// The images of all containers, with keys as the selection spells them. A container that is gone has none.
    pub(super) fn members(
        &self,
        storage: &StorageOptions,
    ) -> BoxStream<'static, Result<(u32, ImageRef), ExportError>> {
        let storage = storage.clone();
        stream::iter(self.containers.clone())
            .map(move |(typed, number)| {
                let source = Source::open(&typed, &storage, &SourceConfig::default())?;
                Ok::<_, ExportError>(indexed(source, typed).map_ok(move |image| (number, image)))
            })
            .try_flatten()
            .boxed()
    }
}

/// The images of one container.
fn indexed(
    source: Source,
    typed: String,
) -> impl futures::Stream<Item = Result<ImageRef, ExportError>> + Send + 'static {
    source
        .list()
        .filter(|listed| {
            let gone = matches!(listed, Err(SourceError::Store(StoreError::NotFound { .. })));
            future::ready(!gone)
        })
        .try_filter_map(|listed| {
            future::ready(Ok(match listed {
                Listed::Object(object) => Some(object),
                Listed::Skipped { .. } => None,
            }))
        })
        .map_ok(move |object| {
            let (typed, ours) = (typed.clone(), source.key(&object.path));
            source.entries(&object).map_ok(move |entry| {
                // Ours and the selection's spelling of a container may differ; what follows it does not.
                let rest = entry.key.strip_prefix(&ours).unwrap_or_default();
                member(format!("{typed}{rest}"), &object, entry)
            })
        })
        .try_flatten()
        .err_into()
}

/// An image of a container.
fn member(key: String, object: &ListedObject, entry: Entry) -> ImageRef {
    let problem = entry.problem.unzip();
    ImageRef {
        key,
        object: object.path.clone(),
        position: entry.position,
        offset: entry.offset,
        size: entry.size,
        object_size: object.size,
        etag: object.etag.clone(),
        problem: problem.0,
        detail: problem.1,
        ..unplaced(object.kind)
    }
}

/// An image of which nothing is known but what kind of object holds it.
pub(super) fn unplaced(kind: Kind) -> ImageRef {
    ImageRef {
        key: String::new(),
        object: String::new(),
        position: 0,
        generation: 0,
        shard: 0,
        row: 0,
        kind,
        offset: None,
        size: None,
        object_size: None,
        etag: None,
        problem: None,
        detail: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_store_and_its_object_or_container() {
        for (key, root, object, container) in [
            ("s3://b/x/a.jpg", "s3://b/", Some("x/a.jpg"), None),
            ("s3://b/photo#1.jpg", "s3://b/", Some("photo#1.jpg"), None),
            ("/data/a b.jpg", "file:///", Some("data/a b.jpg"), None),
            ("file:///data/a.jpg", "file:///", Some("data/a.jpg"), None),
            (
                "https://h:8/a.jpg?x=1",
                "https://h:8/",
                Some("a.jpg?x=1"),
                None,
            ),
            (
                "s3://b/x.tar#m/a.jpg",
                "s3://b/",
                None,
                Some("s3://b/x.tar"),
            ),
            ("/d/X.TAR#m.parquet#2", "file:///", None, Some("/d/X.TAR")),
            (
                "gs://b/t.parquet#17",
                "gs://b/",
                None,
                Some("gs://b/t.parquet"),
            ),
        ] {
            let place = spelled(key).unwrap();
            assert_eq!(
                (place.root.as_str(), place.object, place.container),
                (root, object, container),
                "{key}"
            );
        }
        for key in [
            "a.jpg",
            "images/a.jpg",
            "s3://bucket",
            "s3://bucket/",
            "/data/",
            "",
        ] {
            assert!(spelled(key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_key_of_a_scheme_that_is_not_known_is_named() {
        let mut named = Named::default();
        let storage = StorageOptions::default();
        let error = named.note("ftp://host/a.jpg", &storage).unwrap_err();
        assert!(matches!(error, ExportError::NoPlace { .. }), "{error}");
        named.note("/data/a.jpg", &storage).unwrap();
        named.note("/data/b.jpg", &storage).unwrap();
        assert_eq!(named.sources.len(), 1, "one store is opened once");
    }
}
