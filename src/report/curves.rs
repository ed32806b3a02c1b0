//! Curves over the steps of a training → SVG.

use super::ReportError;
use super::charts::{Plot, Scale, Shape, Tick, draw, grid};
use super::palette::Ink;

/// Places of a drawing are whole units: so many of them a pixel of its height, or a flat curve would be stairs.
const FINE: u32 = 8;

/// A curve.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) ink: Ink,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether each point is marked.
    pub(super) dotted: bool,
}

/// Curves over `0..width`; what a logarithmic scale cannot show is left out.
pub(super) fn curves(
    curves: &[Curve],
    width: f64,
    scale: Scale,
    height: u32,
) -> Result<Plot, ReportError> {
    let ticks = scale.ticks(5);
    let mut shapes: Vec<(Ink, Shape)> = grid(width, &ticks).collect();
    for curve in curves {
        let shown = curve.points.iter().filter(|(_, y)| *y >= scale.base());
        let points: Vec<(f64, f64)> = shown.copied().collect();
        // A line of one point is nothing.
        if curve.dotted || points.len() == 1 {
            shapes.extend(points.iter().map(|p| (curve.ink, Shape::Dot(*p))));
        }
        shapes.push((curve.ink, Shape::Curve(points)));
    }
    let svg = draw(width, scale, height * FINE, shapes)?;
    let part = 1.0 / f64::from(FINE);
    Ok(Plot {
        svg: format!("<g transform=\"scale(1 {part})\">\n{svg}</g>\n"),
        height,
        log: scale.is_log(),
        ticks,
    })
}

/// Whole steps to be written below a drawing.
pub(super) fn steps(steps: u64, most: usize) -> Vec<Tick> {
    let scale = Scale::Linear { top: steps as f64 };
    let mut ticks = scale.ticks(most);
    ticks.retain(|t| t.value.fract() == 0.0);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_through_its_points_and_leaves_out_what_a_logarithm_cannot_show() {
        let curve = |points: &[(f64, f64)], dotted| Curve {
            ink: Ink::Total,
            points: points.to_vec(),
            dotted,
        };
        let scale = Scale::Linear { top: 2.0 };
        let plot = curves(
            &[curve(&[(0.0, 2.0), (5.0, 1.0), (10.0, 0.0)], true)],
            10.0,
            scale,
            100,
        )
        .unwrap();
        let of = |width: &str| {
            let lines = plot.svg.lines().filter(|l| l.contains(width));
            let points = lines.filter_map(|l| l.split("points=\"").nth(1)?.split('"').next());
            points.map(|p| p.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of("stroke-width=\"2\""), ["0,0 599,400 1199,799"]);
        assert_eq!(of("stroke-width=\"6\"").len(), 3);
        let log = Scale::of_reals([1000.0, 1.0].into_iter());
        let plot = curves(&[curve(&[(0.0, 0.0), (5.0, 1.0)], false)], 10.0, log, 100).unwrap();
        // One point is left, which is marked.
        assert!(plot.log && plot.svg.matches("stroke-width=\"6\"").count() == 1);
    }

    #[test]
    fn steps_below_a_drawing_are_whole() {
        let whole: Vec<f64> = steps(3, 6).iter().map(|t| t.value).collect();
        assert_eq!(whole, [0.0, 1.0, 2.0, 3.0]);
    }
}
