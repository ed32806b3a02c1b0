//! Samples → a WebDataset tar: `000000042.jpg`, `.cls`, `.npy` and `.json` side by side.
//!
//! All that the `webdataset` package and timm's reader decode without code of one's own: `cls` is the class in digits, `npy` the soft label as
//! a `NumPy` array of Float32 `[C]`, `json` what else is known. Names have no dots but the one before the extension, since what follows the
//! first dot is the field's name. Owners, modes and times are fixed.

use serde::Serialize;
use tar::{Builder, EntryType, Header};

use super::fetch::Sample;
use crate::hex::hex;

/// A tar's block in bytes.
const BLOCK: usize = 512;
/// An array's data begins at a multiple of this, as `NumPy` writes it.
const ALIGNMENT: usize = 64;

/// What the `.json` of a sample says.
#[derive(Debug, Serialize)]
pub(super) struct SampleInfo<'a> {
    key: &'a str,
    class: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    confidence: f32,
    copy: u32,
    copies: u32,
    sha256: String,
}

/// The bytes of a shard. `names` are the classes', as far as they are known.
pub(super) fn encode(samples: Vec<Sample>, names: &[String]) -> std::io::Result<Vec<u8>> {
    let size = samples
        .iter()
        .map(|s| in_tar(s.bytes.len()) + 2 * in_tar(BLOCK) + soft_size(s));
    let mut tar = Builder::new(Vec::with_capacity(size.sum::<usize>() + 2 * BLOCK));
    for sample in samples {
        let row = &sample.row;
        let mut add = |extension: &str, bytes: &[u8]| {
            let mut header = Header::new_ustar();
            header.set_path(format!("{:09}.{extension}", row.number))?;
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, bytes)
        };
        add(sample.extension, &sample.bytes)?;
        add("cls", row.class.to_string().as_bytes())?;
        if let Some(probs) = &row.probs {
            add("npy", &npy(probs))?;
        }
        let info = SampleInfo {
            key: &row.image.key,
            class: row.class,
            label: usize::try_from(row.class)
                .ok()
                .and_then(|class| names.get(class))
                .map(String::as_str),
            confidence: row.confidence,
            copy: row.copy,
            copies: row.copies,
            sha256: hex(&sample.sha256),
        };
        add("json", &serde_json::to_vec(&info)?)?;
    }
    tar.into_inner()
}

/// What a member of this size takes up: its header, and its data in whole blocks.
fn in_tar(bytes: usize) -> usize {
    BLOCK + bytes.next_multiple_of(BLOCK)
}

fn soft_size(sample: &Sample) -> usize {
    let probs = sample.row.probs.as_ref();
    probs.map_or(0, |p| in_tar(ALIGNMENT * 2 + p.len() * size_of::<f32>()))
}

/// `NumPy`'s format, version 1.0, of a vector of little-endian Float32.
fn npy(values: &[f32]) -> Vec<u8> {
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}",
        values.len()
    );
    // Magic, version and length before it, a line end after it.
    let before = 10;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before - 1;
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_laid_out_as_numpy_lays_it_out() {
        // What numpy.save writes for np.array([1, 0.5], np.float32).
        let mut expected = b"\x93NUMPY\x01\x00v\x00".to_vec();
        expected.extend(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }");
        expected.resize(127, b' ');
        expected.extend(b"\n\x00\x00\x80\x3f\x00\x00\x00\x3f");
        assert_eq!(npy(&[1.0, 0.5]), expected);
    }
}
