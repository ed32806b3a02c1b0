//! What a local disk needs beside `object_store`: files that outlast a power failure, and no leftovers of killed puts.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path as FsPath, PathBuf};

use object_store::path::Path;

fn file_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("/{path}"))
}

/// Waits until an object's file is on the disk, and its name.
///
/// # Errors
/// The disk's.
pub(crate) async fn sync(path: &Path) -> io::Result<()> {
    let file = file_of(path);
    let written = tokio::task::spawn_blocking(move || write_out(&file)).await;
    written.map_err(io::Error::other).flatten()
}

/// Writes what the system still holds of a file, and of its name, to the disk. Some file systems cannot sync a folder, or anything.
fn write_out(file: &FsPath) -> io::Result<()> {
    let unsupported = |e: &io::Error| {
        matches!(
            e.kind(),
            ErrorKind::InvalidInput
                | ErrorKind::Unsupported
                | ErrorKind::PermissionDenied
                // Removed already, by somebody else.
                | ErrorKind::NotFound
        )
    };
    for place in [Some(file), file.parent()].into_iter().flatten() {
        match File::open(place).and_then(|file| file.sync_all()) {
            Err(e) if !unsupported(&e) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Staging files of one object that are looked for: as many as there may be of puts at the same time, or killed since the last commit.
const STAGING: u32 = 16;

/// Removes what killed local puts of this object left behind: `name#1`, `name#2`, …, `object_store`'s staging files. One that was put in place leaves a gap among them.
///
/// Called after the object's own commit, when nobody needs them any more: a worker that is still writing one finds the object
/// there when it is done.
pub(crate) fn sweep_staging(path: &Path) {
    let file = file_of(path);
    for n in 1..=STAGING {
        // Most often there is none.
        let _ = std::fs::remove_file(format!("{}#{n}", file.display()));
    }
}

/// Staging files below a folder, which no listing shows: where each lies there, and what the disk says of it. What cannot be looked into has none.
pub(crate) fn staging_below(folder: &Path) -> Vec<(String, Metadata)> {
    let root = file_of(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(about)) = (entry.path(), entry.metadata()) else {
                continue;
            };
            let place = path.strip_prefix(&root).ok().and_then(FsPath::to_str);
            if about.is_dir() {
                folders.push(path);
            } else if let Some(place) = place.filter(|place| is_staging(place)) {
                found.push((place.to_owned(), about));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// Removes one of them; none is there once its writer has put it in place.
///
/// # Errors
/// The disk's.
pub(crate) fn remove_staging(folder: &Path, place: &str) -> io::Result<()> {
    match std::fs::remove_file(file_of(folder).join(place)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// `name#1` and the like.
fn is_staging(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(name, number)| {
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        is_number && !name.is_empty() && !name.ends_with('/')
    })
}
