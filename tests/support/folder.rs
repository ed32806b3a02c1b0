//! Folders whose paths are the same in each run of the tests. An image's key is its path, and what is left to chance (order, noise, ties) is drawn by key: what a test sees once, it sees again.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;

/// How many runs of the tests there may be on a machine at a time.
const RUNS: usize = 100;

/// An empty folder, named after the test that asks and how many it has asked for. It goes when it is dropped.
pub(crate) fn folder() -> TempDir {
    static MADE: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed").replace("::", "-");
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let nth = made.entry(test.clone()).or_default();
    *nth += 1;
    tempfile::Builder::new()
        .prefix(&format!("{test}-{nth}"))
        .rand_bytes(0)
        .tempdir_in(&run().folder)
        .unwrap()
}

/// One run of the tests.
struct Run {
    folder: PathBuf,
    /// Held until the process ends, however it does.
    _lock: File,
}

/// The first place on the machine that no other run has.
fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let place = |n| std::env::temp_dir().join(format!("understudy-tests-{n}"));
        (0..RUNS).find_map(|n| taken(&place(n))).unwrap()
    })
}

/// Takes a place, and clears away what a killed run left in it; `None` where there is another run, or somebody else's folder.
fn taken(place: &Path) -> Option<Run> {
    std::fs::create_dir_all(place).ok()?;
    let lock = File::create(place.join("lock")).ok()?;
    lock.try_lock().ok()?;
    let folder = place.join("t");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).ok()?;
    }
    std::fs::create_dir(&folder).ok()?;
    Some(Run {
        folder,
        _lock: lock,
    })
}
