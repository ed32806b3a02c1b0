//! A finished page → its place, at once: a path, or a URL of any store.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use object_store::{ObjectStoreExt, PutPayload};

use super::ReportError;
use crate::store::{self, StorageOptions, StoreError};

/// Puts a page where `out` says, in place of one that is there: a page can be made again, so nothing is lost.
///
/// # Errors
/// The store's.
pub async fn put(html: &str, out: &str, storage: &StorageOptions) -> Result<(), ReportError> {
    let at = store::open(out, storage)?;
    if at.is_local() {
        let path = store::parse_url(out)?.to_file_path().unwrap_or_default();
        // A page is a few hundred kB: nothing else waits for this thread.
        return write(&path, html.as_bytes()).map_err(|e| {
            let failed = StoreError::Failed {
                action: "write",
                url: at.url(),
                detail: e.to_string(),
            };
            failed.into()
        });
    }
    // One put is atomic on every store: nobody sees half a page.
    let payload = PutPayload::from(html.to_owned());
    let put = at.store.put(&at.path, payload).await;
    put.map_err(|e| StoreError::from_object_store("write", at.url(), &e))?;
    Ok(())
}

/// Writes a file beside its place and moves it there. What is no file, such as a pipe or `/dev/null`, is written to; a link stays one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = match fs::canonicalize(path) {
        Ok(there) => {
            if !fs::metadata(&there)?.is_file() {
                return fs::OpenOptions::new()
                    .write(true)
                    .open(path)?
                    .write_all(bytes);
            }
            there
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(e) => return Err(e),
    };
    let folder = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    // As a file that is simply created: the umask takes its part.
    let mut file = tempfile::Builder::new()
        .prefix(".understudy-report-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(&place).map_err(|e| e.error)?;
    Ok(())
}
