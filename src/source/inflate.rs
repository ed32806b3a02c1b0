//! A gzipped IDX file → a temporary file to be read by range, 4 MiB at a time.

use std::fs::File;
use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::idx::{Fault, HEADER, Header, damaged, too_long};
use super::read::{Reader, with_retries};
use super::{ReadError, ReadErrorKind};

/// What is inflated at a time.
const PIECE: u64 = 4 * 1024 * 1024;

/// Inflates an object into a temporary file, and checks its length against its header.
pub(super) async fn inflate(
    reader: &Reader,
    object: &str,
    size: u64,
    etag: Option<&str>,
) -> Result<(Header, File), Fault> {
    let mut decoder = MultiGzDecoder::new(Inflated {
        file: tempfile::tempfile().map_err(temporary)?,
        start: Vec::new(),
        header: None,
        written: 0,
        fault: None,
    });
    let mut at = 0;
    while at < size {
        let end = (at + PIECE).min(size);
        let piece = with_retries(|| reader.range(object, at..end, etag)).await?;
        let write = move || {
            let written = decoder.write_all(&piece);
            (decoder, written)
        };
        let joined = tokio::task::spawn_blocking(write).await;
        let written;
        (decoder, written) = joined.map_err(|e| temporary(io::Error::other(e)))?;
        written.map_err(|e| why(decoder.get_mut(), &e))?;
        at = end;
    }
    if let Err(e) = decoder.try_finish() {
        // Whether it was cut or damaged cannot be told: either way its checksum is missing or wrong.
        let written = decoder.get_ref().written;
        let detail = format!("its gzip stream is cut or damaged, after {written} bytes: {e}");
        let fault = decoder.get_mut().fault.take();
        return Err(fault.unwrap_or_else(|| damaged("damaged-idx", detail)));
    }
    let out = decoder.finish().map_err(temporary)?;
    let header = match out.header {
        Some(header) => header,
        None => Header::parse(&out.start)?,
    };
    header.check(out.written)?;
    Ok((header, out.file))
}

/// Where the inflated bytes go: a file that may not become longer than its own header says.
struct Inflated {
    file: File,
    /// The first bytes, until the header is whole.
    start: Vec<u8>,
    header: Option<Header>,
    written: u64,
    /// Why it takes no more bytes.
    fault: Option<Fault>,
}

impl Inflated {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let header = if let Some(header) = self.header {
            header
        } else {
            let missing = HEADER as usize - self.start.len();
            self.start.extend(&bytes[..bytes.len().min(missing)]);
            if self.start.len() < HEADER as usize {
                return self.append(bytes);
            }
            *self.header.insert(Header::parse(&self.start)?)
        };
        if self.written + bytes.len() as u64 > header.file_bytes() {
            return Err(too_long(header));
        }
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(temporary)
    }
}

impl Write for Inflated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(fault) => {
                self.fault = Some(fault);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Why inflating stopped: the file's own reason, or else the inflater's.
fn why(out: &mut Inflated, error: &io::Error) -> Fault {
    out.fault.take().unwrap_or_else(|| {
        damaged(
            "damaged-idx",
            format!("its gzip stream is damaged: {error}"),
        )
    })
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is handed to map_err as it is"
)]
fn temporary(error: io::Error) -> Fault {
    Fault::Read(ReadError {
        kind: ReadErrorKind::Machine,
        detail: format!("it cannot be inflated into the temporary directory: {error}"),
    })
}
