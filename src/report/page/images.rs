//! What the kept images of a class look like, from the most to the least confident; and how a picture stands in the page.

use maud::{Markup, html};

use super::Section;
use super::classes::name;
use crate::report::figures::Figures;
use crate::report::pictures::{Picture, Pictures};
use crate::report::samples::Strip;
use crate::report::wording::{confidence, count, counted, file_name, plain};

/// Strips of so few images stand side by side.
const SHORT: usize = 3;

/// The strips of images.
pub(super) fn section(figures: &Figures, pictures: &Pictures) -> Section {
    let keys = figures.strips.iter().flat_map(|s| &s.images);
    let all = keys.clone().count() as u64;
    let missing = |key: &str| matches!(pictures.of(key), Picture::Missing { .. });
    let lost = keys.filter(|s| missing(&s.key)).count() as u64;
    let foreign = figures.file.input.dataset.is_none();
    let lead = html! {
        p {
            "Kept images at the deciles of their class’s confidence: the most confident first, the one at the cut-off last. "
            "If the last ones still look right, so does the cut-off."
        }
        @if foreign {
            p.remark { "The images themselves are not known here: labels of another system have keys, and no source to read them from." }
        } @else if lost > 0 {
            p.remark {
                @if lost == all { "None of the images can be read any more; each place says why." }
                @else { (count(lost)) " of " (counted(all, "image", "images")) " cannot be read any more; each place says why." }
            }
        }
    };
    let content = html! {
        div.strips { @for strip in &figures.strips { (class(strip, pictures, foreign)) } }
    };
    (lead, content)
}

fn class(strip: &Strip, pictures: &Pictures, foreign: bool) -> Markup {
    let class = &strip.picked.class;
    html! {
        section.strip.short[strip.images.len() <= SHORT] {
            h3 { (name(class)) @if !strip.picked.why.is_empty() { " " span.note { (strip.picked.why.join(", ")) } } }
            p.small {
                (count(class.kept)) " of " (count(class.available)) " kept"
                @if class.copies > class.kept { ", " (count(class.copies)) " with copies" }
                @if let Some(cut_off) = class.cut_off { "; cut-off " (confidence(cut_off)) }
            }
            @if foreign {
                ol.samples.bare {
                    @for image in &strip.images {
                        li { b.number { (confidence(image.confidence)) } " " bdi { (plain(&image.key)) } }
                    }
                }
            } @else {
                ol.samples {
                    @for image in &strip.images {
                        @let decile = decile(image.place, class.kept);
                        li {
                            figure {
                                (picture(pictures, &image.key, &format!("{decile}, confidence {}", confidence(image.confidence))))
                                figcaption {
                                    b.number { (confidence(image.confidence)) }
                                    " " span.note { (decile) @if image.copies > 1 { " ×" (count(image.copies.into())) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where an image stands among the kept ones of its class.
pub(crate) fn decile(place: u64, kept: u64) -> String {
    let above = (place - 1) as f64 * 100.0 / kept.saturating_sub(1).max(1) as f64;
    // A place lies as near to its decile as there are images for.
    let above = if kept > 10 {
        (above / 10.0).round() * 10.0
    } else {
        above
    };
    match place {
        _ if kept == 1 => "only one".to_owned(),
        1 => "highest".to_owned(),
        _ if place == kept => "lowest".to_owned(),
        _ if (above - 50.0).abs() < 0.5 => "median".to_owned(),
        _ => format!("top {above:.0}\u{a0}%"),
    }
}

/// A thumbnail, or a place that says why there is none.
pub(crate) fn picture(pictures: &Pictures, key: &str, what: &str) -> Markup {
    let (file, key_shown) = (file_name(key), plain(key));
    html! {
        @match pictures.of(key) {
            Picture::Shown { uri, width, height } => {
                img src=(uri) width=(width) height=(height) alt={ (file) ": " (what) } title=(key_shown);
            }
            Picture::Missing { reason, detail } => {
                div.missing role="img" aria-label={ (file) ": " (what) "; not shown, " (reason) } title={ (key_shown) ": " (plain(detail)) } {
                    b { (reason) } span { (plain(detail)) }
                }
            }
        }
    }
}
