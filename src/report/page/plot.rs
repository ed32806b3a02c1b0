//! A drawing with its axes: the numbers beside it are HTML, as large on a phone as on a wide screen.

use maud::{Markup, PreEscaped, html};

use crate::report::charts::{Plot, WIDTH};
use crate::report::palette::Ink;

/// What stands around a drawing.
pub(crate) struct Around<'a> {
    /// The drawing in a sentence, for those who do not see it.
    pub(crate) label: &'a str,
    /// Below: where, in per cent of the width, and what.
    pub(crate) below: &'a [(f64, String)],
    /// Above, at places that are marked.
    pub(crate) above: &'a [(f64, String)],
    /// How a tick of the values is written.
    pub(crate) scale: fn(f64) -> String,
    /// What a pointer is told over equal stripes of the width, from the left on.
    pub(crate) stripes: &'a [String],
}

/// A drawing with its axes.
pub(crate) fn plot(plot: &Plot, around: &Around<'_>) -> Markup {
    html! {
        div.plot style={ "--height:" (plot.height) "px" } {
            @if !around.above.is_empty() {
                div.above aria-hidden="true" {
                    // A label on the right half lies on the left of its mark, so that it stays on the page.
                    @for (at, text) in around.above {
                        span.late[*at > 60.0] style={ "left:" (percent(*at)) } { (text) }
                    }
                }
            }
            div.field {
                div.beside aria-hidden="true" {
                    @for tick in &plot.ticks {
                        span style={ "bottom:" (percent(tick.at)) } { ((around.scale)(tick.value)) }
                    }
                }
                (drawing(&plot.svg, plot.height, around.label))
                @if !around.stripes.is_empty() {
                    div.stripes aria-hidden="true" { @for text in around.stripes { span title=(text) {} } }
                }
            }
            div.below aria-hidden="true" {
                @for (at, text) in around.below { span style={ "left:" (percent(*at)) } { (text) } }
            }
        }
    }
}

/// The `svg` element of a drawing that says something by itself.
pub(super) fn drawing(svg: &str, height: u32, label: &str) -> Markup {
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (height) } preserveAspectRatio="none" role="img" aria-label=(label) {
            (PreEscaped(svg))
        }
    }
}

/// The `svg` element of a drawing beside the number that it shows.
pub(crate) fn ornament(class: &str, svg: &str, height: u32) -> Markup {
    html! {
        svg class=(class) viewBox={ "0 0 " (WIDTH) " " (height) } preserveAspectRatio="none" aria-hidden="true" {
            (PreEscaped(svg))
        }
    }
}

/// What the colours mean.
pub(super) fn legend(entries: &[(Ink, String)]) -> Markup {
    html! {
        ul.legend {
            @for (ink, text) in entries {
                li { (swatch(*ink)) (text) }
            }
        }
    }
}

/// A spot of a colour.
pub(super) fn swatch(ink: Ink) -> Markup {
    html! { span class={ "swatch " (ink.class()) } aria-hidden="true" {} }
}

fn percent(at: f64) -> String {
    format!("{at:.1}%")
}
