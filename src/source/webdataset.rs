//! A WebDataset tar → its images: headers are read in windows, the data of members are skipped by their offsets.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};

use super::list::{Object, is_image};
use super::read::{Reader, listing_error, with_retries};
use super::{Entry, SourceConfig, SourceError};

/// What is read at a time: 1 MiB holds the headers and data of some ten photos, or skips to the next of a larger one.
const WINDOW: u64 = 1024 * 1024;
/// A tar's block in bytes.
const BLOCK: u64 = 512;
/// Where GNU's header of a sparse member, and a block that its map goes on in, say that there is another such block.
const SPARSE_MORE: usize = 482;
const SPARSE_LAST: usize = 504;
/// The longest `.cls` member that is read, in bytes: it holds a number or a name.
const LONGEST_LABEL: u64 = 4096;

/// What a tar's walk meets.
#[derive(Debug)]
pub(crate) enum Member {
    /// An image, or a row about the tar itself.
    Image {
        /// Its sample: what it shares with the other members of its name up to the first dot.
        sample: String,
        /// The image.
        entry: Entry,
    },
    /// A `.cls` member.
    Label {
        /// Its sample.
        sample: String,
        /// What it says.
        text: String,
    },
}

/// The images of a tar, in its order.
pub(super) fn index(
    reader: Reader,
    key: String,
    object: Object,
    config: SourceConfig,
) -> BoxStream<'static, Result<Entry, SourceError>> {
    members(reader, key, object, config, false)
        .map_ok(|member| match member {
            Member::Image { entry, .. } => Some(entry),
            Member::Label { .. } => None,
        })
        .try_filter_map(|entry| std::future::ready(Ok(entry)))
        .boxed()
}

/// The images of a tar, and with `labels` its `.cls` members, in its order.
pub(super) fn members(
    reader: Reader,
    key: String,
    object: Object,
    config: SourceConfig,
    labels: bool,
) -> BoxStream<'static, Result<Member, SourceError>> {
    let walk = Walk {
        reader,
        key: Arc::from(key),
        size: object.size.unwrap_or(0),
        object,
        config,
        labels,
        window: (0, Bytes::new()),
        at: 0,
        position: 0,
        seen: HashMap::new(),
        given: HashSet::new(),
        marked: false,
        ended: false,
    };
    stream::try_unfold(walk, |mut walk| async move {
        Ok(walk.next().await?.map(|member| (member, walk)))
    })
    .boxed()
}

/// The name of a member's sample: its path up to the first dot of the file's name.
fn sample(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name[file..].find('.').map_or(name.len(), |dot| file + dot);
    &name[..dot]
}

struct Walk {
    reader: Reader,
    key: Arc<str>,
    object: Object,
    config: SourceConfig,
    /// Whether `.cls` members are given as well.
    labels: bool,
    size: u64,
    /// Start and bytes of what was read last.
    window: (u64, Bytes),
    at: u64,
    position: u64,
    /// How often each image's name came, and the names that some were given so that each has its own: of one tar, so it is bounded by that tar.
    seen: HashMap<String, u32>,
    given: HashSet<String>,
    /// Whether the last block was an end marker.
    marked: bool,
    ended: bool,
}

/// A header block.
struct Header {
    name: String,
    kind: u8,
    size: u64,
}

/// What blocks before a member's header say of it.
#[derive(Default)]
struct Said {
    name: Option<String>,
    size: Option<u64>,
    sparse: bool,
}

impl Said {
    /// Takes over the records of a pax header.
    fn pax(&mut self, bytes: &[u8]) {
        for (field, value) in pax(bytes) {
            match field.as_str() {
                "path" => self.name = Some(value),
                "size" => self.size = value.parse().ok(),
                "GNU.sparse.name" => {
                    self.name = Some(value);
                    self.sparse = true;
                }
                _ => {}
            }
        }
    }
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Member>, SourceError> {
        let mut said = Said::default();
        loop {
            if self.ended {
                return Ok(None);
            }
            if self.at >= self.size {
                self.ended = true;
                return Ok(self.end());
            }
            if self.at + BLOCK > self.size && !self.marked {
                self.ended = true;
                return Ok(Some(
                    self.broken("truncated-tar", "it ends within a header"),
                ));
            }
            let block = self.bytes(self.at, BLOCK.min(self.size - self.at)).await?;
            if block.iter().all(|b| *b == 0) {
                // The end marker; in tars that were joined with `cat` more follows.
                self.marked = true;
                self.at += BLOCK;
                continue;
            }
            if self.marked && block.len() as u64 != BLOCK {
                self.ended = true;
                return Ok(self.end());
            }
            let Some(header) = parse(&block) else {
                self.ended = true;
                return Ok(Some(if self.at == 0 {
                    self.broken("not-a-tar", "the file does not begin with a tar header")
                } else {
                    self.broken(
                        "damaged-tar",
                        "a header does not match its checksum; what follows is lost",
                    )
                }));
            };
            self.marked = false;
            let mut data = self.at + BLOCK;
            if header.kind == b'S' && block.get(SPARSE_MORE).is_some_and(|more| *more != 0) {
                data = self.behind_sparse_map(data).await?;
            }
            // Whatever the size of a device, a folder or a pipe is said to be, nothing of it follows (POSIX, pax: the ustar header's typeflag).
            let size = match header.kind {
                b'3'..=b'6' => 0,
                _ => said.size.take().unwrap_or(header.size),
            };
            let end = data.saturating_add(size);
            self.at = data.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
            match header.kind {
                b'L' | b'x' if end > self.size || size > WINDOW => {
                    self.ended = true;
                    return Ok(Some(
                        self.broken("truncated-tar", "it ends within a long name"),
                    ));
                }
                b'L' => {
                    let name = self.bytes(data, size).await?;
                    said.name = Some(text(&name));
                    continue;
                }
                b'x' => {
                    said.pax(&self.bytes(data, size).await?);
                    continue;
                }
                b'0' | 0 | b'7' | b'S' | b'1' | b'2' => {}
                // Folders, devices, global headers.
                _ => {
                    said = Said::default();
                    continue;
                }
            }
            let name = said.name.take().unwrap_or(header.name);
            let sparse = std::mem::take(&mut said.sparse) || header.kind == b'S';
            if !is_image(&name, &self.config) || name.ends_with('/') {
                match self.beside(&name, data..end).await? {
                    Some(member) => return Ok(Some(member)),
                    None => continue,
                }
            }
            let problem = if end > self.size {
                self.ended = true;
                Some((
                    "truncated-tar",
                    format!(
                        "the tar ends {} bytes before this member does",
                        end - self.size
                    ),
                ))
            } else if sparse {
                Some(("unsupported-member", "a sparse tar member".to_owned()))
            } else if matches!(header.kind, b'1' | b'2') {
                let detail = "a link to another member or file: pack the image itself, with tar's --dereference --hard-dereference";
                Some(("unsupported-member", detail.to_owned()))
            } else {
                None
            };
            return Ok(Some(self.member(&name, data, size, problem)));
        }
    }

    /// Where the bytes of a sparse member begin whose map of pieces goes on in blocks of its own.
    async fn behind_sparse_map(&mut self, mut at: u64) -> Result<u64, SourceError> {
        while at.saturating_add(BLOCK) <= self.size {
            let block = self.bytes(at, BLOCK).await?;
            at += BLOCK;
            if block.get(SPARSE_LAST).is_none_or(|more| *more == 0) {
                break;
            }
        }
        Ok(at)
    }

    /// A member that is no image: its label where it is one and labels are wanted.
    async fn beside(
        &mut self,
        name: &str,
        data: Range<u64>,
    ) -> Result<Option<Member>, SourceError> {
        if data.end > self.size {
            self.ended = true;
            let detail = format!("it ends within its member `{name}`");
            return Ok(Some(self.broken("truncated-tar", &detail)));
        }
        let size = data.end - data.start;
        if !self.labels || size > LONGEST_LABEL || !name.to_lowercase().ends_with(".cls") {
            return Ok(None);
        }
        let bytes = self.bytes(data.start, size).await?;
        Ok(Some(Member::Label {
            sample: sample(name).to_owned(),
            text: text(&bytes).trim().to_owned(),
        }))
    }

    fn member(
        &mut self,
        name: &str,
        offset: u64,
        size: u64,
        problem: Option<(&str, String)>,
    ) -> Member {
        let sample = sample(name).to_owned();
        let times = self.seen.entry(name.to_owned()).or_insert(0);
        *times += 1;
        let times = *times;
        let (name, problem) = if times > 1 {
            let detail = format!("the tar has `{name}` {times} times; the first one counts");
            (self.spell(name, times), Some(("duplicate-member", detail)))
        } else if self.given.contains(name) {
            (self.spell(name, 2), problem)
        } else {
            (name.to_owned(), problem)
        };
        let key = format!("{}#{name}", self.key);
        let position = self.position;
        self.position += 1;
        Member::Image {
            sample,
            entry: Entry {
                offset: Some(offset),
                size: Some(size),
                problem: problem.map(|(reason, detail)| (reason.to_owned(), detail)),
                ..Entry::new(key, position)
            },
        }
    }

    /// A name that no image before has: `name#n`, with the first number from `from` on that is free.
    fn spell(&mut self, name: &str, from: u32) -> String {
        let mut spelled = (from..).map(|n| format!("{name}#{n}"));
        let is_free = |name: &String| !self.seen.contains_key(name) && !self.given.contains(name);
        let free = spelled.find(is_free).unwrap_or_default();
        self.given.insert(free.clone());
        free
    }

    /// What the end of the file says: nothing where the end marker was met and there were images.
    fn end(&mut self) -> Option<Member> {
        if !self.marked {
            let detail = "it ends without an end marker: members may be missing";
            Some(self.broken("truncated-tar", detail))
        } else if self.position == 0 {
            Some(self.broken("no-images", "none of its members is an image by its name"))
        } else {
            None
        }
    }

    /// A row for the tar itself.
    fn broken(&mut self, reason: &str, detail: &str) -> Member {
        let position = self.position;
        self.position += 1;
        Member::Image {
            sample: String::new(),
            entry: Entry {
                problem: Some((reason.to_owned(), detail.to_owned())),
                ..Entry::new(self.key.to_string(), position)
            },
        }
    }

    async fn bytes(&mut self, from: u64, len: u64) -> Result<Bytes, SourceError> {
        let (start, window) = &self.window;
        if from < *start || from + len > start + window.len() as u64 {
            let end = (from + len.max(WINDOW)).min(self.size);
            self.window = (from, self.fetch(from, end).await?);
        }
        let (start, window) = &self.window;
        let at = (from - start) as usize;
        Ok(window.slice(at..at + len as usize))
    }

    async fn fetch(&self, from: u64, end: u64) -> Result<Bytes, SourceError> {
        let etag = self.object.etag.as_deref();
        with_retries(|| self.reader.range(&self.object.path, from..end, etag))
            .await
            .map_err(|e| listing_error(self.key.to_string(), e))
    }
}

/// A block → its header; `None` where the checksum is off.
fn parse(block: &[u8]) -> Option<Header> {
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(i, b)| {
            if (148..156).contains(&i) {
                32
            } else {
                u64::from(*b)
            }
        })
        .sum();
    if octal(&block[148..156])? != sum {
        return None;
    }
    let name = text(&block[..100]);
    let prefix = if block[257..262] == *b"ustar" && block[262] == 0 {
        text(&block[345..500])
    } else {
        String::new()
    };
    Some(Header {
        name: if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        },
        kind: block[156],
        size: number(&block[124..136])?,
    })
}

/// Octal, or for sizes of 8 GiB and more GNU's base 256.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 == 0 {
        return octal(field);
    }
    let mut value = u64::from(field[0] & 0x7F);
    for byte in &field[1..] {
        value = value.checked_mul(256)? + u64::from(*byte);
    }
    Some(value)
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = text(field);
    let digits = text.trim();
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `length key=value\n` records.
fn pax(bytes: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = bytes;
    while let Some(space) = rest.iter().position(|b| *b == b' ') {
        let length = std::str::from_utf8(&rest[..space])
            .ok()
            .and_then(|t| t.parse::<usize>().ok());
        let Some(record) = length.and_then(|l| rest.get(space + 1..l)) else {
            break;
        };
        let record = String::from_utf8_lossy(record);
        if let Some((key, value)) = record.trim_end_matches('\n').split_once('=') {
            fields.push((key.to_owned(), value.to_owned()));
        }
        rest = &rest[length.unwrap_or(rest.len())..];
    }
    fields
}
