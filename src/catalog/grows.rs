//! How much bounded functions make of a batch, reckoned from what they get.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::error::{DataFusionError, Result};

use super::sizes::{OF_A_VALUE, lengths, numbers, occurrences, sizes, total, values, width};

/// What a result's size follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Grows {
    /// A text, so many times.
    Repeat,
    /// A value, so many times.
    Elements,
    /// So many characters.
    Pad,
    /// From, to and step.
    Range,
    /// So many elements of a list, and what fills it up.
    Resize,
    /// A list's texts, and what stands between them.
    Join,
    /// A text for each place of another.
    Replace,
    /// The same for a pattern, which may match anywhere, and whose groups may be repeated.
    Rewrite,
    /// A list, and a value for each of its values.
    Exchange,
    /// Texts one after the other.
    Texts,
    /// The same, with the first one between.
    Separated,
    /// Two digits for a byte.
    Digits,
    /// Lists and values in one list.
    Values,
}

/// Characters of the longest number: 1e-308 is written out.
const OF_A_NUMBER: f64 = 330.0;

/// A number for each row, or the same one for all.
struct Each(Vec<f64>);

impl Each {
    fn of(&self, row: usize) -> f64 {
        let place = row.min(self.0.len().saturating_sub(1));
        self.0.get(place).copied().unwrap_or(0.0)
    }
}

impl Grows {
    /// Whether the results are about as large as all arguments together.
    pub(super) fn adds(self) -> bool {
        matches!(
            self,
            Self::Texts | Self::Separated | Self::Digits | Self::Values
        )
    }

    /// Bytes of the results.
    pub(super) fn bytes(self, of: &[ArrayRef]) -> Result<f64> {
        let rows = 0..of.iter().map(Array::len).max().unwrap_or(0);
        let each = |i: usize, what: fn(&ArrayRef) -> Result<Vec<f64>>| {
            of.get(i).map_or(Ok(Vec::new()), what).map(Each)
        };
        let (size, length) = (|i| each(i, sizes), |i| each(i, lengths));
        let times = |i: usize| {
            let times = numbers(of.get(i))?;
            let times = times.iter().map(|n| n.unwrap_or(0.0).max(0.0));
            Ok::<_, DataFusionError>(Each(times.collect()))
        };
        Ok(match self {
            Self::Range => return range(of),
            Self::Repeat => {
                let (text, times) = (length(0)?, times(1)?);
                rows.map(|i| OF_A_VALUE + text.of(i) * times.of(i)).sum()
            }
            Self::Elements => {
                let (element, times) = (size(0)?, times(1)?);
                rows.map(|i| element.of(i) * times.of(i)).sum()
            }
            // A character has up to four bytes.
            Self::Pad => {
                let characters = times(1)?;
                rows.map(|i| OF_A_VALUE + characters.of(i) * 4.0).sum()
            }
            Self::Resize => {
                let (list, times, fill) = (size(0)?, times(1)?, size(2)?);
                let least = match of.first().map(Array::data_type) {
                    Some(DataType::List(item) | DataType::LargeList(item)) => {
                        width(item.data_type())
                    }
                    _ => 0.0,
                };
                let one = |i: usize| OF_A_VALUE + fill.of(i).max(least);
                rows.map(|i| list.of(i) + times.of(i) * one(i)).sum()
            }
            Self::Join => {
                let (list, between, null) = (size(0)?, length(1)?, length(2)?);
                let values = each(0, values)?;
                let one = |i: usize| OF_A_NUMBER + between.of(i) + null.of(i);
                rows.map(|i| list.of(i) + values.of(i) * one(i)).sum()
            }
            Self::Replace => {
                let (text, what, by) = (length(0)?, length(1)?, length(2)?);
                let places = |i: usize| text.of(i) / what.of(i).max(1.0) + 1.0;
                rows.map(|i| text.of(i) + places(i) * by.of(i)).sum()
            }
            Self::Rewrite => {
                let (text, by) = (length(0)?, length(2)?);
                let groups = each(2, |of| occurrences(of, &['\\', '$']))?;
                let everywhere = each(3, |of| occurrences(of, &['g']))?;
                let places = |i: usize| {
                    if everywhere.of(i) > 0.0 {
                        text.of(i) + 1.0
                    } else {
                        1.0
                    }
                };
                let all = |i: usize| text.of(i) * (1.0 + groups.of(i)) + places(i) * by.of(i);
                rows.map(all).sum()
            }
            Self::Exchange => {
                let (list, by) = (size(0)?, size(2)?);
                let values = each(0, values)?;
                rows.map(|i| list.of(i) + values.of(i) * by.of(i)).sum()
            }
            Self::Texts | Self::Separated | Self::Digits | Self::Values => self.sum(of)?,
        })
    }

    /// Bytes of the results of what adds, without a number for each row.
    fn sum(self, of: &[ArrayRef]) -> Result<f64> {
        let rows = of.iter().map(Array::len).max().unwrap_or(0);
        let places = OF_A_VALUE * rows as f64;
        // Bytes of values, and of their places. What has one row stands for all.
        let all = |of: &ArrayRef| {
            let times = if of.len() == 1 { rows } else { 1 };
            Ok::<_, DataFusionError>(total(of)? * times as f64)
        };
        let all = of.iter().map(all).collect::<Result<Vec<_>>>()?;
        let texts = all.iter().map(|bytes| bytes - places);
        Ok(places
            + match self {
                Self::Separated => {
                    let between = all.len().saturating_sub(2) as f64;
                    let separators = texts.clone().next().unwrap_or(0.0) * between;
                    texts.skip(1).sum::<f64>() + separators
                }
                Self::Digits => texts.take(1).sum::<f64>() * 2.0,
                Self::Values => all.iter().sum(),
                _ => texts.sum(),
            })
    }
}

/// Bytes of ranges: of [to], [from, to] or [from, to, step]; without end where a step leads nowhere.
fn range(of: &[ArrayRef]) -> Result<f64> {
    let (from, to) = match of {
        [] => return Ok(0.0),
        [to] => (None, to),
        [from, to, ..] => (Some(from), to),
    };
    let (to_numbers, from) = (numbers(Some(to))?, from.map(|from| numbers(Some(from))));
    let (from, steps) = (
        from.transpose()?,
        of.get(2).map(|step| steps(step, to.data_type())),
    );
    let steps = steps.transpose()?;
    // What has one row stands for all.
    let at = |of: &Option<Float64Array>, i: usize, or: f64| match of {
        None => Some(or),
        Some(of) => {
            let i = i.min(of.len().checked_sub(1)?);
            of.is_valid(i).then(|| of.value(i))
        }
    };
    let rows = of.iter().map(Array::len).max().unwrap_or(0);
    let to_numbers = Some(to_numbers);
    let elements = (0..rows).filter_map(|i| {
        let to = at(&to_numbers, i, 0.0)?;
        let elements = (to - at(&from, i, 0.0)?) / at(&steps, i, 1.0)?;
        Some(if elements.is_finite() {
            elements.max(0.0)
        } else {
            f64::INFINITY
        })
    });
    Ok(elements.sum::<f64>() * 8.0)
}

/// Steps in the unit of what is stepped through; of a month as of 28 days, its least. One whose parts go both ways is none.
fn steps(of: &ArrayRef, through: &DataType) -> Result<Float64Array> {
    if !matches!(
        of.data_type(),
        DataType::Interval(IntervalUnit::MonthDayNano)
    ) {
        return numbers(Some(of));
    }
    let a_second = match through {
        DataType::Date32 => 1.0 / 86_400.0,
        DataType::Timestamp(TimeUnit::Second, _) => 1.0,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1e6,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1e9,
        _ => 1e3,
    };
    let steps = of.as_primitive::<IntervalMonthDayNanoType>();
    let steps = steps.iter().map(|step| {
        let step = step?;
        let parts = [step.months.into(), step.days.into(), step.nanoseconds];
        if parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0) {
            return Some(0.0);
        }
        let days = f64::from(step.months) * 28.0 + f64::from(step.days);
        Some((days * 86_400.0 + step.nanoseconds as f64 / 1e9) * a_second)
    });
    Ok(steps.collect())
}
