//! The file of labels beside a file of IDX images: `train-labels-idx1-ubyte.gz` for `train-images-idx3-ubyte.gz`.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};

use super::error::LabelledError;
use super::labels::{Pairs, RawLabel};
use crate::source::{Entry, ListedObject, Source};

/// The largest file of labels, in bytes: a byte an image.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
/// Two zeros, unsigned bytes, one dimension; then the number of labels.
const MAGIC: [u8; 4] = [0, 0, 8, 1];
const HEADER: usize = 8;

/// The labels of a file of images.
pub(super) struct Labels {
    key: String,
    bytes: Bytes,
}

/// Reads the labels that belong to a file of images.
pub(super) async fn labels(
    source: &Source,
    images: &ListedObject,
) -> Result<Labels, LabelledError> {
    let tried = beside(&images.path);
    for path in &tried {
        if let Some(bytes) = source.object(path, MOST_BYTES).await? {
            let key = source.key(path);
            let damaged = |reason: &str, detail: String| LabelledError::Damaged {
                key: key.clone(),
                reason: reason.to_owned(),
                detail,
                others: 0,
            };
            let bytes = inflated(bytes).map_err(|e| damaged("damaged-idx", e))?;
            check(&bytes).map_err(|(reason, detail)| damaged(reason, detail))?;
            return Ok(Labels {
                bytes: bytes.slice(HEADER..),
                key,
            });
        }
    }
    Err(LabelledError::NoLabelFile {
        key: source.key(&images.path),
        tried: tried.iter().map(|path| source.key(path)).collect(),
    })
}

/// The paths where the labels of a file of images may lie, gzipped as it is or not.
fn beside(images: &str) -> Vec<String> {
    let (folder, file) = match images.rsplit_once('/') {
        Some((folder, file)) => (format!("{folder}/"), file),
        None => (String::new(), images),
    };
    let file = file.replace("images", "labels").replace("idx3", "idx1");
    let other = match file.strip_suffix(".gz") {
        Some(plain) => plain.to_owned(),
        None => format!("{file}.gz"),
    };
    vec![format!("{folder}{file}"), format!("{folder}{other}")]
}

fn inflated(bytes: Bytes) -> Result<Bytes, String> {
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    MultiGzDecoder::new(&bytes[..])
        .take(MOST_BYTES)
        .read_to_end(&mut out)
        .map_err(|e| format!("its gzip stream is damaged: {e}"))?;
    Ok(out.into())
}

/// Whether these are whole labels; the reason and a sentence where not.
fn check(bytes: &[u8]) -> Result<(), (&'static str, String)> {
    if bytes.get(..4) != Some(&MAGIC[..]) {
        let start = bytes[..bytes.len().min(8)].escape_ascii();
        let detail = format!("it begins with \"{start}\", which is no header of IDX labels");
        return Err(("not-idx", detail));
    }
    let said = bytes.get(4..HEADER).map(|count| {
        count
            .iter()
            .fold(0, |n: u64, byte| n << 8 | u64::from(*byte))
    });
    let found = bytes.len().saturating_sub(HEADER) as u64;
    match said {
        Some(said) if said == found => Ok(()),
        Some(said) if said < found => Err((
            "damaged-idx",
            format!("it goes on after the {said} labels that its header speaks of"),
        )),
        said => Err((
            "truncated-idx",
            format!("it has {found} of {} labels", said.unwrap_or(0)),
        )),
    }
}

/// Images with their labels, by position.
pub(super) fn pair(
    images: BoxStream<'static, Result<Entry, LabelledError>>,
    labels: Labels,
    images_key: String,
) -> Pairs {
    let state = (images, labels, images_key, 0_u64);
    stream::try_unfold(state, |(mut images, labels, images_key, seen)| async move {
        let differs = |expected| LabelledError::LabelCount {
            labels: labels.key.clone(),
            images: images_key.clone(),
            found: labels.bytes.len() as u64,
            expected,
        };
        match images.try_next().await? {
            None if seen == labels.bytes.len() as u64 || seen == 0 => Ok(None),
            None => Err(differs(seen)),
            // What is said of the file itself.
            Some(entry) if entry.problem.is_some() => {
                Ok(Some(((entry, None), (images, labels, images_key, 0))))
            }
            Some(entry) => {
                let Some(label) = labels.bytes.get(entry.position as usize) else {
                    let rest = images.try_fold(0_u64, |n, _| std::future::ready(Ok(n + 1)));
                    return Err(differs(seen + 1 + rest.await?));
                };
                let label = RawLabel::number(i64::from(*label));
                let state = (images, labels, images_key, seen + 1);
                Ok(Some(((entry, label), state)))
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lie_beside_the_images_under_the_names_that_are_usual() {
        assert_eq!(
            beside("data/train-images-idx3-ubyte.gz"),
            [
                "data/train-labels-idx1-ubyte.gz",
                "data/train-labels-idx1-ubyte"
            ]
        );
        assert_eq!(
            beside("t10k-images.idx3-ubyte"),
            ["t10k-labels.idx1-ubyte", "t10k-labels.idx1-ubyte.gz"]
        );
        // The folder's own name is left as it is.
        assert_eq!(beside("images/a-idx3-ubyte")[0], "images/a-idx1-ubyte");
    }

    #[test]
    fn labels_that_are_cut_too_long_or_none_are_told_apart() {
        let reason = |bytes: &[u8]| check(bytes).map_err(|e| e.0);
        assert_eq!(reason(&[0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), Ok(()));
        assert_eq!(reason(&[0, 0, 8, 1, 0, 0, 0, 2, 7]), Err("truncated-idx"));
        assert_eq!(reason(&[0, 0, 8, 1, 0, 0]), Err("truncated-idx"));
        assert_eq!(reason(&[0, 0, 8, 1, 0, 0, 0, 1, 7, 9]), Err("damaged-idx"));
        assert_eq!(reason(&[0, 0, 8, 3, 0, 0, 0, 1]), Err("not-idx"));
        assert_eq!(reason(b""), Err("not-idx"));
    }
}
