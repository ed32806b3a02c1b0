//! Which classes show their images, and which of their images: those at the deciles of the class's confidence.

use super::ReportError;
use crate::error::nearest;
use crate::select::report::{ClassRecord, SelectionFile};

/// Deciles from the most confident image of a class to the least: 0, 10, …, 100 %.
const DECILES: u64 = 10;

/// Up to so many classes all are shown.
const ALL: usize = 10;

/// A class whose images are shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picked {
    /// The class.
    pub(super) class: ClassRecord,
    /// Why it is shown, for people.
    pub(super) why: Vec<&'static str>,
    /// The places of its images, counted from the most confident one on, which is 1.
    pub(super) places: Vec<u64>,
}

/// The classes asked for in their order, then the largest, the middle one, the smallest, and that with the lowest cut-off; or all, where they are few.
///
/// # Errors
/// [`ReportError::UnknownClass`] and [`ReportError::NothingKept`].
pub(super) fn pick(file: &SelectionFile, wanted: &[String]) -> Result<Vec<Picked>, ReportError> {
    let mut picked: Vec<Picked> = Vec::new();
    let mut add = |class: &ClassRecord, why: Option<&'static str>| {
        if let Some(there) = picked.iter_mut().find(|p| p.class.class == class.class) {
            there.why.extend(why.filter(|why| !there.why.contains(why)));
        } else {
            picked.push(Picked {
                class: class.clone(),
                why: why.into_iter().collect(),
                places: places(class.kept),
            });
        }
    };
    for name in wanted {
        for class in named(file, name)? {
            add(class, Some("asked for"));
        }
    }
    let ranking = ranking(&file.classes);
    let kept: Vec<&ClassRecord> = ranking.into_iter().filter(|c| c.kept > 0).collect();
    if kept.len() <= ALL {
        kept.iter().for_each(|class| add(class, None));
    }
    if let (Some(first), Some(last)) = (kept.first(), kept.last()) {
        add(first, Some("the most candidates"));
        add(kept[(kept.len() - 1) / 2], Some("in the middle"));
        add(last, Some("the fewest candidates"));
    }
    let by_cut_off = |a: &&&ClassRecord, b: &&&ClassRecord| a.lowest().total_cmp(&b.lowest());
    if let Some(lowest) = kept.iter().min_by(by_cut_off) {
        add(lowest, Some("the lowest cut-off"));
    }
    Ok(picked)
}

/// Classes by their candidates, most first; of as many by number.
pub(super) fn ranking(classes: &[ClassRecord]) -> Vec<&ClassRecord> {
    let mut ranking: Vec<&ClassRecord> = classes.iter().collect();
    ranking.sort_by_key(|c| (std::cmp::Reverse(c.available), c.class));
    ranking
}

/// The classes of a name, or that of a number.
fn named<'a>(file: &'a SelectionFile, name: &str) -> Result<Vec<&'a ClassRecord>, ReportError> {
    let by_name = |c: &&ClassRecord| c.label.as_deref() == Some(name);
    let mut found: Vec<&ClassRecord> = file.classes.iter().filter(by_name).collect();
    if found.is_empty()
        && let Ok(number) = name.parse::<i64>()
    {
        found.extend(file.classes.iter().find(|c| c.class == number));
    }
    let nothing_kept = || ReportError::NothingKept {
        selection: file.id.clone(),
        class: name.to_owned(),
    };
    if found.is_empty() {
        if file.empty_classes.iter().any(|c| c == name) {
            return Err(nothing_kept());
        }
        let known = file.classes.iter().filter_map(|c| c.label.as_deref());
        let known = known.chain(file.empty_classes.iter().map(String::as_str));
        return Err(ReportError::UnknownClass {
            selection: file.id.clone(),
            class: name.to_owned(),
            near: nearest(name, known),
        });
    }
    found.retain(|c| c.kept > 0);
    if found.is_empty() {
        return Err(nothing_kept());
    }
    Ok(found)
}

/// The places at the deciles of `kept` images, each once.
fn places(kept: u64) -> Vec<u64> {
    let last = kept.saturating_sub(1);
    let place = |decile: u64| {
        let (whole, rest) = (last / DECILES, last % DECILES);
        1 + whole * decile + (rest * decile + DECILES / 2) / DECILES
    };
    let mut places: Vec<u64> = (0..=DECILES).map(place).collect();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_the_deciles_and_each_image_comes_once() {
        assert_eq!(places(1), [1]);
        assert_eq!(places(2), [1, 2]);
        assert_eq!(places(11), (1..=11).collect::<Vec<u64>>());
        assert_eq!(
            places(101),
            (0..=10).map(|d| 1 + d * 10).collect::<Vec<u64>>()
        );
        for kept in 1..300 {
            let places = places(kept);
            assert_eq!((places[0], places[places.len() - 1]), (1, kept));
            assert!(places.is_sorted_by(|a, b| a < b));
            assert_eq!(places.len() as u64, kept.min(DECILES + 1));
        }
    }
}
