//! The columns that selection looks at, whatever engine wrote them: any string type, any integer, Float32.

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int64Array, StringArray, StringViewArray,
};
use arrow::array::{
    BinaryArray, BinaryViewArray, FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray,
    UInt64Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::error::{DataFusionError, Result};

/// A column of strings.
pub(super) enum Texts<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

impl<'a> Texts<'a> {
    pub(super) fn of(array: &'a ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Small(array.as_string())),
            DataType::LargeUtf8 => Ok(Self::Large(array.as_string())),
            DataType::Utf8View => Ok(Self::View(array.as_string_view())),
            other => Err(DataFusionError::Execution(format!(
                "a string column was expected, not {other}"
            ))),
        }
    }

    /// Whether two of them are certainly the same.
    #[inline]
    fn is_same(&self, a: usize, b: usize) -> bool {
        match self {
            Self::View(views) => views.views()[a] == views.views()[b],
            Self::Small(_) | Self::Large(_) => self.get(a) == self.get(b),
        }
    }

    pub(super) fn null_count(&self) -> usize {
        match self {
            Self::Small(a) => a.null_count(),
            Self::Large(a) => a.null_count(),
            Self::View(a) => a.null_count(),
        }
    }

    /// The value; `None` where it is null.
    #[inline]
    pub(super) fn get(&self, i: usize) -> Option<&'a str> {
        match self {
            Self::Small(a) => a.is_valid(i).then(|| a.value(i)),
            Self::Large(a) => a.is_valid(i).then(|| a.value(i)),
            Self::View(a) => a.is_valid(i).then(|| a.value(i)),
        }
    }
}

/// How many of these rows have each text, of a column that has few: a dictionary, or one that has them in runs of any length.
pub(super) fn by_text(
    array: &ArrayRef,
    rows: &BooleanBuffer,
    mut count: impl FnMut(&str, u64),
) -> Result<()> {
    if let Some(dictionary) = array.as_dictionary_opt::<UInt16Type>() {
        let texts = Texts::of(dictionary.values())?;
        let mut counts = vec![0; dictionary.values().len()];
        let numbers = dictionary.keys().values();
        rows.set_indices()
            .for_each(|row| counts[usize::from(numbers[row])] += 1);
        for (number, rows) in counts.into_iter().enumerate() {
            if rows > 0 {
                count(texts.get(number).unwrap_or_default(), rows);
            }
        }
        return Ok(());
    }
    let texts = Texts::of(array)?;
    let mut run: Option<(usize, u64)> = None;
    let mut end = |run: Option<(usize, u64)>| {
        if let Some((first, rows)) = run {
            count(texts.get(first).unwrap_or_default(), rows);
        }
    };
    for row in rows.set_indices() {
        match &mut run {
            Some((first, rows)) if texts.is_same(*first, row) => *rows += 1,
            _ => end(run.replace((row, 1))),
        }
    }
    end(run);
    Ok(())
}

/// A column of classes, of any integer type. One that is larger than the largest Int64 is an error: as a null it would be the class 0.
pub(super) fn classes(array: &ArrayRef) -> Result<Int64Array> {
    Ok(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        DataType::UInt8 => widened::<UInt8Type>(array),
        DataType::UInt16 => widened::<UInt16Type>(array),
        DataType::UInt32 => widened::<UInt32Type>(array),
        DataType::Int32 => widened::<Int32Type>(array),
        _ => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let classes = cast_with_options(array, &DataType::Int64, &options)?;
            classes.as_primitive::<Int64Type>().clone()
        }
    })
}

/// Numbers that all fit: a cast would ask each of them.
fn widened<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Int64Array {
    array.as_primitive::<T>().unary(Into::into)
}

/// A column of confidences.
pub(super) fn confidences(array: &ArrayRef) -> Result<&Float32Array> {
    array.as_primitive_opt::<Float32Type>().ok_or_else(|| {
        DataFusionError::Execution(format!("confidence is {}, not Float32", array.data_type()))
    })
}

/// A column of gradient hashes.
pub(super) fn phashes(array: &ArrayRef) -> Result<&UInt64Array> {
    array.as_primitive_opt::<UInt64Type>().ok_or_else(|| {
        DataFusionError::Execution(format!("phash is {}, not UInt64", array.data_type()))
    })
}

/// A column of SHA-256, of any binary type.
pub(super) enum Shas<'a> {
    Fixed(&'a FixedSizeBinaryArray),
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
    View(&'a BinaryViewArray),
}

impl<'a> Shas<'a> {
    pub(super) fn of(array: &'a ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::FixedSizeBinary(_) => Ok(Self::Fixed(array.as_fixed_size_binary())),
            DataType::Binary => Ok(Self::Small(array.as_binary())),
            DataType::LargeBinary => Ok(Self::Large(array.as_binary())),
            DataType::BinaryView => Ok(Self::View(array.as_binary_view())),
            other => Err(DataFusionError::Execution(format!(
                "sha256 is {other}, not binary"
            ))),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fixed(a) => a.len(),
            Self::Small(a) => a.len(),
            Self::Large(a) => a.len(),
            Self::View(a) => a.len(),
        }
    }

    /// The bytes; `None` where there are none.
    fn bytes(&self, i: usize) -> Option<&[u8]> {
        match self {
            Self::Fixed(a) => a.is_valid(i).then(|| a.value(i)),
            Self::Small(a) => a.is_valid(i).then(|| a.value(i)),
            Self::Large(a) => a.is_valid(i).then(|| a.value(i)),
            Self::View(a) => a.is_valid(i).then(|| a.value(i)),
        }
    }

    /// The hash; `None` where there is none of 32 bytes.
    pub(super) fn get(&self, i: usize) -> Option<[u8; 32]> {
        self.bytes(i)?.try_into().ok()
    }

    /// Checks that all of them are SHA-256: of hashes of another length duplicates and leaks would stay, without a word.
    pub(super) fn check(&self) -> Result<()> {
        let mut lengths = (0..self.len()).filter_map(|i| Some(self.bytes(i)?.len()));
        match lengths.find(|length| *length != 32) {
            None => Ok(()),
            Some(length) => Err(DataFusionError::Execution(format!(
                "a `sha256` has {length} bytes, and SHA-256 has 32: write the hash itself, or no such column"
            ))),
        }
    }
}
