//! Soft labels as they are stored → a distribution of Float32, a number a class, that sums to 1.
//!
//! Half precision rounds a sum away from 1 by some 0.001, so every label is divided by its sum. A top-k label is expanded: what its classes
//! leave is spread evenly over all others, so that the probabilities of its own classes stay what the teacher said.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, UInt16Type};

use crate::schema::{Encoding, probs_item};

/// The soft labels of a batch.
pub(super) struct SoftLabels {
    lists: ListArray,
    top_k: bool,
    /// C, where it is known: at the latest after the first row.
    pub(super) classes: Option<usize>,
}

impl SoftLabels {
    /// `probs` of any list type. `classes` is C; a top-k label cannot do without.
    pub(super) fn of(probs: &ArrayRef, classes: Option<usize>) -> Result<Self, String> {
        let unfit = || format!("`probs` is {}", probs.data_type());
        let top_k = match probs.data_type() {
            DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => {
                match item.data_type() {
                    DataType::Struct(_) if classes.is_some() => true,
                    of if of.is_floating() => false,
                    _ => return Err(unfit()),
                }
            }
            _ => return Err(unfit()),
        };
        let item = if top_k {
            probs_item(Encoding::TopK)
        } else {
            Arc::new(Field::new("item", DataType::Float32, true))
        };
        let lists = cast(probs, &DataType::List(item)).map_err(|_| unfit())?;
        Ok(Self {
            lists: lists.as_list::<i32>().clone(),
            top_k,
            classes,
        })
    }

    /// The distribution of a row.
    pub(super) fn get(&mut self, row: usize) -> Result<Vec<f32>, String> {
        if self.lists.is_null(row) {
            return Err("it is null".into());
        }
        let stored = self.lists.value(row);
        let dense: Vec<f32> = if self.top_k {
            let entries = stored.as_struct();
            let classes = entries.column(0).as_primitive::<UInt16Type>();
            let ps = entries.column(1).as_primitive::<Float32Type>();
            let pairs = classes
                .values()
                .iter()
                .copied()
                .zip(ps.values().iter().copied());
            expanded(pairs, self.classes.unwrap_or(0))?
        } else {
            let numbers: &Float32Array = stored.as_primitive();
            if numbers.null_count() > 0 {
                return Err("a probability is null".into());
            }
            numbers.values().to_vec()
        };
        if let Some(classes) = self.classes.filter(|c| *c != dense.len()) {
            return Err(format!(
                "it has {} numbers for {classes} classes",
                dense.len()
            ));
        }
        self.classes = Some(dense.len());
        normalised(dense)
    }
}

/// The most probable classes of a distribution of `classes` → the whole, with the rest spread evenly.
fn expanded(
    top: impl ExactSizeIterator<Item = (u16, f32)> + Clone,
    classes: usize,
) -> Result<Vec<f32>, String> {
    let sum: f64 = top.clone().map(|(_, p)| f64::from(p)).sum();
    let others = classes.saturating_sub(top.len());
    let rest = if others > 0 {
        ((1.0 - sum).max(0.0) / others as f64) as f32
    } else {
        0.0
    };
    let mut all = vec![rest; classes];
    for (class, p) in top {
        *all.get_mut(usize::from(class))
            .ok_or_else(|| format!("it has class {class} of {classes} classes"))? = p;
    }
    Ok(all)
}

fn normalised(mut probabilities: Vec<f32>) -> Result<Vec<f32>, String> {
    if !probabilities.iter().all(|p| p.is_finite() && *p >= 0.0) {
        return Err("a probability is negative or not finite".into());
    }
    let sum: f64 = probabilities.iter().map(|p| f64::from(*p)).sum();
    if sum <= 0.0 {
        return Err("its probabilities sum to 0".into());
    }
    for p in &mut probabilities {
        *p = (f64::from(*p) / sum) as f32;
    }
    Ok(probabilities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{FixedSizeListArray, Float16Array};
    use half::f16;
    use proptest::prelude::*;

    fn halves(labels: &[Vec<f32>]) -> ArrayRef {
        let numbers = labels.iter().flatten().map(|p| Some(f16::from_f32(*p)));
        let values: ArrayRef = Arc::new(numbers.collect::<Float16Array>());
        let item = probs_item(Encoding::Float16);
        let width = labels[0].len() as i32;
        Arc::new(FixedSizeListArray::try_new(item, width, values, None).unwrap())
    }

    #[test]
    fn a_top_k_label_keeps_its_classes_and_spreads_the_rest() {
        let all = expanded([(3, 0.5), (0, 0.3)].into_iter(), 6).unwrap();
        for (p, expected) in all.iter().zip([0.3, 0.05, 0.05, 0.5, 0.05, 0.05]) {
            assert!((p - expected).abs() < 1e-6, "{all:?}");
        }
        let whole = expanded([(1, 0.4), (0, 0.6)].into_iter(), 2).unwrap();
        assert_eq!(whole, [0.6, 0.4]);
        assert!(expanded([(7, 1.0)].into_iter(), 6).is_err());
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for (numbers, problem) in [
            (vec![0.5, f32::NAN], "not finite"),
            (vec![0.5, -0.5], "negative"),
            (vec![0.0, 0.0], "sum to 0"),
        ] {
            let error = SoftLabels::of(&halves(&[numbers]), None).unwrap().get(0);
            let error = error.unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        let error = SoftLabels::of(&halves(&[vec![1.0, 0.0]]), Some(3))
            .unwrap()
            .get(0);
        assert_eq!(error.unwrap_err(), "it has 2 numbers for 3 classes");
        let texts: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["0.5"]));
        assert!(SoftLabels::of(&texts, None).is_err());
        // Without a teacher the first label says how many classes there are.
        let mut lists = arrow::array::ListBuilder::new(arrow::array::Float32Builder::new());
        for label in [vec![0.2, 0.8], vec![1.0]] {
            lists.append_value(label.into_iter().map(Some));
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let mut soft = SoftLabels::of(&lists, None).unwrap();
        soft.get(0).unwrap();
        assert_eq!(soft.get(1).unwrap_err(), "it has 1 numbers for 2 classes");
    }

    proptest! {
        #[test]
        fn a_label_in_half_precision_comes_out_as_a_distribution_near_what_it_was(
            weights in prop::collection::vec(0.001_f32..1.0, 1..300)
        ) {
            let sum: f32 = weights.iter().sum();
            let label: Vec<f32> = weights.iter().map(|w| w / sum).collect();
            let out = SoftLabels::of(&halves(std::slice::from_ref(&label)), Some(label.len())).unwrap().get(0).unwrap();
            let sum: f64 = out.iter().map(|p| f64::from(*p)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            for (p, was) in out.iter().zip(&label) {
                prop_assert!((p - was).abs() <= was * 0.002 + 1e-7, "{p} {was}");
            }
        }
    }
}
