//! An evaluation as a picture: for each model its reliability diagram and its confusion matrix, side by side, as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::tally::{Bin, Figures};
use super::{EvaluateError, Evaluation, ModelFigures};

/// Pixels of the picture, and of one model's row in it.
const WIDTH: u32 = 1000;
const ROW: u32 = 520;
/// Pixels of the reliability diagram's part.
const RELIABILITY: u32 = 450;
/// Classes that the confusion matrix shows; of more, those with the most confused images.
const CLASSES: usize = 30;
/// With so many classes at most, each cell says its share in words.
const WRITTEN: usize = 12;
/// Characters of a class's name.
const NAME: usize = 18;
/// The font; the SVG's reader has it.
const FONT: &str = "sans-serif";

const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(215, 215, 215);
const BAR: RGBColor = RGBColor(66, 119, 182);
const GAP: RGBColor = RGBColor(214, 96, 77);
const GAP_LIGHT: RGBColor = RGBColor(238, 184, 173);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture, as the text of an SVG file.
///
/// # Errors
/// [`EvaluateError::Plot`].
pub fn plot(evaluation: &Evaluation) -> Result<String, EvaluateError> {
    let mut svg = String::new();
    let rows = evaluation.models.len();
    let size = (WIDTH, ROW * rows as u32);
    let drawn = {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root, evaluation, rows)
    };
    drawn.map_err(|e| EvaluateError::Plot {
        detail: e.to_string(),
    })?;
    Ok(svg)
}

fn draw(
    root: &Area<'_>,
    evaluation: &Evaluation,
    rows: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    for (area, model) in root.split_evenly((rows, 1)).iter().zip(&evaluation.models) {
        let (left, right) = area.split_horizontally(RELIABILITY);
        reliability(&left, model)?;
        confusion(&right, &model.figures)?;
    }
    root.present()?;
    Ok(())
}

/// How right the predictions of each confidence are, with the bins' sizes below.
fn reliability(area: &Area<'_>, model: &ModelFigures) -> Result<(), Box<dyn std::error::Error>> {
    let figures = &model.figures;
    let title = format!(
        "{}: top-1 {:.2} %, ECE {:.2} %",
        shortened(&model.model, 30),
        figures.top1.share * 100.0,
        figures.ece * 100.0
    );
    area.draw(&Text::new(title, (16, 12), font(20)))?;
    let (upper, lower) = area.margin(40, 8, 8, 8).split_vertically(330);
    let mut chart = ChartBuilder::on(&upper)
        .x_label_area_size(8)
        .y_label_area_size(56)
        .margin_right(8)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|_| String::new())
        .y_label_formatter(&|y| format!("{:.0} %", y * 100.0))
        .y_desc("right")
        .label_style(font(14))
        .axis_desc_style(font(15))
        .draw()?;
    let shown = |b: &Bin| Some((b.from, b.to, b.accuracy?, b.confidence?));
    let bins: Vec<_> = figures.calibration.iter().filter_map(shown).collect();
    for &(from, to, accuracy, confidence) in &bins {
        chart.draw_series([
            Rectangle::new([(from, 0.0), (to, accuracy)], BAR.filled()),
            Rectangle::new([(from, accuracy), (to, confidence)], GAP_LIGHT.filled()),
            Rectangle::new([(from, 0.0), (to, accuracy)], WHITE.stroke_width(1)),
        ])?;
        let level = [(from, accuracy), (to, accuracy)];
        chart.draw_series(LineSeries::new(level, INK.stroke_width(2)))?;
    }
    let diagonal = [(0.0, 0.0), (1.0, 1.0)];
    chart.draw_series(DashedLineSeries::new(diagonal, 6, 4, INK.stroke_width(1)))?;
    chart.draw_series([Text::new(
        "line: accuracy; red: the gap to the mean confidence",
        (0.03, 0.97),
        font(13).color(&GAP),
    )])?;
    sizes(&lower, figures)
}

/// How many images each confidence has.
fn sizes(area: &Area<'_>, figures: &Figures) -> Result<(), Box<dyn std::error::Error>> {
    let share = |b: &Bin| b.images as f64 / figures.images as f64;
    let most = figures.calibration.iter().map(share).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .margin_right(8)
        .build_cartesian_2d(0.0..1.0, 0.0..most.max(0.01))?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(INK)
        .x_labels(6)
        .y_labels(3)
        .x_label_formatter(&|x| format!("{:.0} %", x * 100.0))
        .y_label_formatter(&|y| format!("{:.0} %", y * 100.0))
        .x_desc("confidence")
        .y_desc("images")
        .label_style(font(14))
        .axis_desc_style(font(15))
        .draw()?;
    let bars = figures.calibration.iter().map(|b| {
        let corners = [(b.from, 0.0), (b.to, share(b))];
        Rectangle::new(corners, BAR.mix(0.5).filled())
    });
    chart.draw_series(bars)?;
    Ok(())
}

/// What each class is taken for, as a share of the class's images.
fn confusion(area: &Area<'_>, figures: &Figures) -> Result<(), Box<dyn std::error::Error>> {
    let shown = shown(figures);
    let n = shown.len().max(1) as i32;
    let (left, top) = (150, 48);
    let side = ((WIDTH - RELIABILITY) as i32 - left - 24).min(ROW as i32 - top - 128);
    let cell = (side / n).max(1);
    let title = if shown.len() < figures.classes.len() {
        format!("what is predicted: the {n} classes that are confused most")
    } else {
        "what is predicted, of the images of each class".to_owned()
    };
    area.draw(&Text::new(title, (left, 12), font(20)))?;
    let size = (cell - 2).clamp(7, 14);
    for (row, &class) in shown.iter().enumerate() {
        let y = top + row as i32 * cell;
        let label = &figures.classes[class];
        let name = Text::new(
            shortened(&label.name, NAME),
            (left - 6, y + cell / 2),
            anchored(size, HPos::Right),
        );
        area.draw(&name)?;
        for (column, &predicted) in shown.iter().enumerate() {
            let x = left + column as i32 * cell;
            let share = share_of(figures, class, predicted);
            let square = [(x, y), (x + cell, y + cell)];
            let colour = shade(share, class == predicted);
            area.draw(&Rectangle::new(square, colour.filled()))?;
            area.draw(&Rectangle::new(square, FAINT.stroke_width(1)))?;
            let percent = (share * 100.0).round();
            if shown.len() <= WRITTEN && percent >= 1.0 {
                let ink = if share > 0.5 { WHITE } else { INK };
                let words = Text::new(
                    format!("{percent}"),
                    (x + cell / 2, y + cell / 2),
                    anchored(13, HPos::Center).color(&ink),
                );
                area.draw(&words)?;
            }
        }
    }
    for (column, &predicted) in shown.iter().enumerate() {
        let x = left + column as i32 * cell + cell / 2;
        let style = anchored(size, HPos::Left).transform(FontTransform::Rotate90);
        let name = shortened(&figures.classes[predicted].name, NAME);
        area.draw(&Text::new(name, (x, top + n * cell + 6), style))?;
    }
    Ok(())
}

/// The classes that are shown, by number: all that have images or predictions, or those with the most confused images.
fn shown(figures: &Figures) -> Vec<usize> {
    let confused = |class: usize| {
        let c = &figures.classes[class];
        c.images + c.predicted - 2 * c.correct
    };
    let met = |class: &usize| {
        let c = &figures.classes[*class];
        c.images > 0 || c.predicted > 0
    };
    let mut shown: Vec<usize> = (0..figures.classes.len()).filter(met).collect();
    if shown.len() > CLASSES {
        shown.sort_by_key(|c| (std::cmp::Reverse(confused(*c)), *c));
        shown.truncate(CLASSES);
        shown.sort_unstable();
    }
    shown
}

fn share_of(figures: &Figures, label: usize, predicted: usize) -> f64 {
    let key = (label as u16, predicted as u16);
    let cells = &figures.confusion;
    let found = cells.binary_search_by_key(&key, |c| (c.label, c.predicted));
    let images = found.map_or(0, |at| cells[at].images);
    match figures.classes[label].images {
        0 => 0.0,
        of => images as f64 / of as f64,
    }
}

/// White for none; blue for what is right, red for what is wrong, darker with its share. The root lets small shares be seen.
fn shade(share: f64, right: bool) -> RGBColor {
    let full = if right { BAR } else { GAP };
    let strength = share.sqrt();
    let mix = |channel: u8| (255.0 - (255.0 - f64::from(channel)) * strength).round() as u8;
    RGBColor(mix(full.0), mix(full.1), mix(full.2))
}

fn font(size: i32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn anchored(size: i32, across: HPos) -> TextStyle<'static> {
    font(size).pos(Pos::new(across, VPos::Center))
}

/// The beginning of a name that is too long; of a path its end.
fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    if name.contains('/') {
        let end: String = name.chars().skip(length + 1 - most).collect();
        return format!("…{end}");
    }
    let start: String = name.chars().take(most - 1).collect();
    format!("{start}…")
}
