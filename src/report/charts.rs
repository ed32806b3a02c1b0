//! Numbers → SVG. Drawings have no text and stretch to any width: axes are HTML around them, so that their letters stay as large on a phone.

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{AsRangedCoord, BoldPoints, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::element::{PathElement, Polygon, Rectangle};
use plotters::prelude::{Color, IntoDrawingArea, IntoLogRange, LogCoord, SVGBackend};

use super::ReportError;
use super::palette::Ink;

/// Units of a drawing's width; a class of a ranking has at least one.
pub(crate) const WIDTH: u32 = 1200;
/// From this ratio of the largest to the smallest value on, a linear scale shows the small ones as nothing.
const WIDE_RANGE: f64 = 100.0;
/// What a scale leaves free above its largest value.
const HEADROOM: f64 = 1.06;
/// A logarithmic scale begins at this part of the smallest value's power of ten, so that the smallest value is more than nothing.
const LOG_START: f64 = 0.7;

/// A drawing, and the ticks of its axes.
#[derive(Debug)]
pub(crate) struct Plot {
    /// The elements inside the `svg`.
    pub(crate) svg: String,
    /// Units.
    pub(crate) height: u32,
    /// Whether the values' scale is logarithmic.
    pub(crate) log: bool,
    /// Of the values.
    pub(crate) ticks: Vec<Tick>,
}

/// A tick: where it is in per cent of the axis, and its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) value: f64,
}

/// How values become lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear { top: f64 },
    Log { base: f64, top: f64 },
}

impl Scale {
    /// The scale that shows all of these values; zeros are nothing on either.
    pub(super) fn of(values: impl Iterator<Item = u64> + Clone) -> Self {
        Self::of_reals(values.map(|v| v as f64))
    }

    /// The same of numbers that are not whole and not below 0.
    pub(super) fn of_reals(values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|v| *v > 0.0);
        let smallest = positive.clone().fold(f64::INFINITY, f64::min);
        // Where nothing is above 0 any scale will do.
        let largest = positive.fold(0.0, f64::max);
        let largest = if largest > 0.0 { largest } else { 1.0 };
        if largest / smallest > WIDE_RANGE {
            Self::Log {
                base: 10_f64.powf(smallest.log10().floor()) * LOG_START,
                top: largest * 1.3,
            }
        } else {
            Self::Linear {
                top: largest * HEADROOM,
            }
        }
    }

    /// Whether it is logarithmic.
    pub(super) fn is_log(self) -> bool {
        matches!(self, Self::Log { .. })
    }

    /// Where values begin.
    pub(super) fn base(self) -> f64 {
        match self {
            Self::Linear { .. } => 0.0,
            Self::Log { base, .. } => base,
        }
    }

    /// At most so many ticks.
    pub(super) fn ticks(self, most: usize) -> Vec<Tick> {
        fn of<C: Ranged<ValueType = f64>>(coordinate: &C, most: usize) -> Vec<Tick> {
            // A thousand places are a tenth of a per cent each.
            let at = |value: &f64| f64::from(coordinate.map(value, (0, 1000))) / 10.0;
            let points = coordinate.key_points(BoldPoints(most));
            let tick = |value: f64| Tick {
                at: at(&value),
                value,
            };
            points.into_iter().map(tick).collect()
        }
        match self {
            Self::Linear { top } => of(&RangedCoordf64::from(0.0..top), most),
            Self::Log { base, top } => of(&LogCoord::from((base..top).log_scale()), most),
        }
    }
}

/// A shape in the units of the data.
pub(super) enum Shape {
    /// From corner to corner.
    Bar((f64, f64), (f64, f64)),
    /// Filled.
    Area(Vec<(f64, f64)>),
    /// A line from the first point to the second.
    Line((f64, f64), (f64, f64)),
    /// A line through all points, thicker.
    Curve(Vec<(f64, f64)>),
    /// A spot, which the style makes round.
    Dot((f64, f64)),
}

/// Draws shapes over `0..width` × the scale's range.
pub(super) fn draw(
    width: f64,
    scale: Scale,
    height: u32,
    shapes: Vec<(Ink, Shape)>,
) -> Result<String, ReportError> {
    match scale {
        Scale::Linear { top } => draw_on(width, 0.0..top, height, shapes),
        Scale::Log { base, top } => draw_on(width, (base..top).log_scale(), height, shapes),
    }
}

fn draw_on<Y>(
    width: f64,
    y: Y,
    height: u32,
    shapes: Vec<(Ink, Shape)>,
) -> Result<String, ReportError>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64>,
{
    fn failed(e: impl std::fmt::Display) -> ReportError {
        ReportError::Chart {
            detail: e.to_string(),
        }
    }
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .build_cartesian_2d(0.0..width, y)
            .map_err(failed)?;
        for (ink, shape) in shapes {
            let drawn = match shape {
                Shape::Bar(from, to) => {
                    let bar = Rectangle::new([from, to], ink.rgb().filled());
                    chart.draw_series([bar]).map(|_| ())
                }
                Shape::Area(points) => {
                    let area = Polygon::new(points, ink.rgb().filled());
                    chart.draw_series([area]).map(|_| ())
                }
                Shape::Line(from, to) => {
                    let line = PathElement::new([from, to], ink.rgb());
                    chart.draw_series([line]).map(|_| ())
                }
                Shape::Curve(points) => {
                    let line = PathElement::new(points, ink.rgb().stroke_width(2));
                    chart.draw_series([line]).map(|_| ())
                }
                Shape::Dot(at) => {
                    let dot = PathElement::new([at, at], ink.rgb().stroke_width(6));
                    chart.draw_series([dot]).map(|_| ())
                }
            };
            drawn.map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    // The page has its own `svg` element around the drawing, with a title and a size.
    let inside = svg.split_once('\n').map_or("", |(_, inside)| inside);
    let inside = inside.trim_end().trim_end_matches("</svg>");
    Ok(inside.replace(" opacity=\"1\"", ""))
}

/// Lines across at the ticks.
pub(super) fn grid(width: f64, ticks: &[Tick]) -> impl Iterator<Item = (Ink, Shape)> {
    ticks.iter().map(move |tick| {
        let line = Shape::Line((0.0, tick.value), (width, tick.value));
        (Ink::Grid, line)
    })
}

/// Bars side by side over the same bins: of each bin the first number behind, the second before it. `marks` are places between bins.
pub(crate) fn histogram(
    behind: &[u64],
    before: &[u64],
    inks: [Ink; 2],
    marks: &[f64],
    height: u32,
) -> Result<Plot, ReportError> {
    let largest = behind.iter().chain(before).copied().max().unwrap_or(0);
    let scale = Scale::Linear {
        top: largest.max(1) as f64 * HEADROOM,
    };
    let width = behind.len() as f64;
    let mut ticks = scale.ticks(5);
    // Counts are whole.
    ticks.retain(|t| t.value.fract() == 0.0);
    let mut shapes: Vec<(Ink, Shape)> = grid(width, &ticks).collect();
    for (ink, values) in inks.into_iter().zip([behind, before]) {
        for (i, value) in values.iter().enumerate().filter(|(_, v)| **v > 0) {
            let (left, right) = (i as f64 + 0.06, i as f64 + 0.94);
            let bar = Shape::Bar((left, 0.0), (right, *value as f64));
            shapes.push((ink, bar));
        }
    }
    if let Scale::Linear { top } = scale {
        shapes.extend(marks.iter().map(|at| {
            let line = Shape::Line((*at, 0.0), (*at, top));
            (Ink::Mark, line)
        }));
    }
    Ok(Plot {
        svg: draw(width, scale, height, shapes)?,
        height,
        log: false,
        ticks,
    })
}

/// Stacked parts of a whole, side by side; a part that is there is never too thin to be seen.
pub(super) fn stack(parts: &[(Ink, u64)], height: u32) -> Result<Plot, ReportError> {
    let whole = parts.iter().map(|p| p.1).sum::<u64>().max(1) as f64;
    let thinnest = whole * 3.0 / f64::from(WIDTH);
    let gap = whole / f64::from(WIDTH);
    let mut at = 0.0;
    let mut shapes = Vec::new();
    for (ink, part) in parts.iter().filter(|p| p.1 > 0) {
        let width = (*part as f64).max(thinnest);
        shapes.push((*ink, Shape::Bar((at, 0.0), (at + width - gap, 1.0))));
        at += width;
    }
    let scale = Scale::Linear { top: 1.0 };
    Ok(Plot {
        svg: draw(at.max(1.0), scale, height, shapes)?,
        height,
        log: false,
        ticks: Vec::new(),
    })
}

/// One bar a layer, over each other, lying: a row of a table, as long as the drawing where it is `longest`. What is there is never too thin
/// to be seen.
pub(crate) fn row(layers: &[(Ink, u64)], longest: u64, height: u32) -> Result<String, ReportError> {
    let longest = longest.max(1) as f64;
    let thinnest = longest * 3.0 / f64::from(WIDTH);
    let bars = layers.iter().filter(|l| l.1 > 0);
    let shapes = bars.map(|(ink, value)| {
        let length = (*value as f64).max(thinnest);
        (*ink, Shape::Bar((0.0, 0.0), (length, 1.0)))
    });
    let scale = Scale::Linear { top: 1.0 };
    draw(longest, scale, height, shapes.collect())
}

/// A mark on a track from 0 to 1, behind it another one.
pub(super) fn track(value: f64, behind: f64, height: u32) -> Result<String, ReportError> {
    let half = 6.0 / f64::from(WIDTH);
    let shapes = vec![
        (Ink::Grid, Shape::Bar((0.0, 0.35), (1.0, 0.65))),
        (Ink::Available, Shape::Bar((behind, 0.35), (1.0, 0.65))),
        (
            Ink::Mark,
            Shape::Bar((value - 3.0 * half, 0.0), (value + 3.0 * half, 1.0)),
        ),
    ];
    draw(1.0, Scale::Linear { top: 1.0 }, height, shapes)
}

/// Layers of areas over the ranks of a ranking, each a step a rank.
pub(super) fn ranking(layers: &[(Ink, Vec<u64>)], height: u32) -> Result<Plot, ReportError> {
    let scale = Scale::of(layers.iter().flat_map(|l| l.1.iter().copied()));
    let ranks = layers.first().map_or(0, |l| l.1.len()).max(1) as f64;
    let ticks = scale.ticks(5);
    let mut shapes: Vec<(Ink, Shape)> = grid(ranks, &ticks).collect();
    for (ink, values) in layers {
        shapes.push((*ink, Shape::Area(steps(values, scale.base()))));
    }
    Ok(Plot {
        svg: draw(ranks, scale, height, shapes)?,
        height,
        log: scale.is_log(),
        ticks,
    })
}

/// The outline of a stepped area: equal neighbours are one step.
fn steps(values: &[u64], base: f64) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, base)];
    let mut last = base;
    for (i, value) in values.iter().enumerate() {
        let value = (*value as f64).max(base);
        if i == 0 || (value - last).abs() > f64::EPSILON {
            points.extend([(i as f64, last), (i as f64, value)]);
            last = value;
        }
    }
    let end = values.len() as f64;
    points.extend([(end, last), (end, base)]);
    points
}

/// A dash a rank, from 0 to 1, and a line across.
pub(super) fn dashes(values: &[Option<f32>], line: f64, height: u32) -> Result<Plot, ReportError> {
    let scale = Scale::Linear { top: 1.0 };
    let ranks = values.len().max(1) as f64;
    let ticks = scale.ticks(3);
    // 3 units thick.
    let half = 1.5 / f64::from(height);
    let mut shapes: Vec<(Ink, Shape)> = grid(ranks, &ticks).collect();
    shapes.push((Ink::Mark, Shape::Line((0.0, line), (ranks, line))));
    for (i, value) in values.iter().enumerate() {
        let Some(value) = *value else { continue };
        let (left, right) = (i as f64, i as f64 + 1.0);
        let value = f64::from(value).clamp(half, 1.0 - half);
        let dash = Shape::Bar((left, value - half), (right, value + half));
        shapes.push((Ink::Kept, dash));
    }
    Ok(Plot {
        svg: draw(ranks, scale, height, shapes)?,
        height,
        log: false,
        ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_logarithmic_where_small_values_would_vanish() {
        assert!(!Scale::of([100_u64, 1].into_iter()).is_log());
        assert!(Scale::of([101_u64, 1, 0].into_iter()).is_log());
        let ticks = Scale::of([100_000_u64, 1].into_iter()).ticks(5);
        assert!(
            ticks.iter().all(|t| (0.0..=100.0).contains(&t.at)),
            "{ticks:?}"
        );
        assert!(ticks.is_sorted_by(|a, b| a.at < b.at));
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let plot = histogram(&[10, 20], &[5, 0], [Ink::Available, Ink::Kept], &[1.0], 106).unwrap();
        let heights = plot
            .svg
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .filter_map(|line| line.split("height=\"").nth(1)?.split('"').next());
        let heights: Vec<i32> = heights.map(|h| h.parse().unwrap()).collect();
        // 20 are 100 of the drawing's 106 units, the head room is the rest; ends are rounded to whole units.
        assert_eq!(heights.len(), 3);
        for (height, expected) in heights.iter().zip([50, 100, 25]) {
            assert!((height - expected).abs() <= 1, "{heights:?}");
        }
        assert!(!plot.svg.contains("<text") && !plot.svg.contains("svg"));
    }

    #[test]
    fn equal_neighbours_are_one_step() {
        assert_eq!(
            steps(&[5, 5, 2], 0.0),
            [
                (0.0, 0.0),
                (0.0, 0.0),
                (0.0, 5.0),
                (2.0, 5.0),
                (2.0, 2.0),
                (3.0, 2.0),
                (3.0, 0.0)
            ]
        );
    }
}
