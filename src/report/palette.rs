//! The colours of the charts, once: each has a light and a dark tone, which the page's style takes as variables.

use plotters::style::RGBColor;

/// What a colour means, the same in every chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// What was kept.
    Kept,
    /// Copies that fill a class up.
    Copies,
    /// What was there.
    Available,
    /// Left out beyond K.
    Beyond,
    /// Left out by a sample.
    Sampled,
    /// Left out as seen before: duplicates.
    Duplicate,
    /// Left out as not sure enough.
    Unsure,
    /// Left out without a label that could be used.
    Invalid,
    /// Thresholds, cut-offs, leaks.
    Mark,
    /// What a step minimises.
    Total,
    /// Of images with real labels.
    Labelled,
    /// Of images with pseudo-labels.
    Pseudo,
    /// Of held-out images.
    HeldOut,
    /// Lines to read values at.
    Grid,
}

/// The name of the style's variable, and the colour in the light and in the dark.
type Tone = (Ink, &'static str, [u8; 3], [u8; 3]);

const TONES: [Tone; 14] = [
    (Ink::Kept, "kept", [0x1E, 0x5A, 0x7D], [0x6C, 0xB4, 0xD9]),
    (
        Ink::Copies,
        "copies",
        [0xA9, 0xCB, 0xDB],
        [0x2F, 0x5F, 0x78],
    ),
    (
        Ink::Available,
        "available",
        [0xD5, 0xD3, 0xCC],
        [0x4A, 0x4C, 0x50],
    ),
    (
        Ink::Beyond,
        "beyond",
        [0xA7, 0xA5, 0x9D],
        [0x8A, 0x8B, 0x8F],
    ),
    (
        Ink::Sampled,
        "sampled",
        [0xC4, 0xC2, 0xBA],
        [0x6A, 0x6C, 0x70],
    ),
    (
        Ink::Invalid,
        "invalid",
        [0x54, 0x52, 0x4D],
        [0xD8, 0xD8, 0xDA],
    ),
    (
        Ink::Duplicate,
        "duplicate",
        [0x7B, 0x79, 0x72],
        [0xB3, 0xB3, 0xB5],
    ),
    (
        Ink::Unsure,
        "unsure",
        [0xDC, 0xDA, 0xD3],
        [0x45, 0x47, 0x4B],
    ),
    (Ink::Mark, "mark", [0xC2, 0x4E, 0x1D], [0xF0, 0x93, 0x5F]),
    (Ink::Total, "total", [0x8C, 0x8A, 0x84], [0x9A, 0x9B, 0xA0]),
    (
        Ink::Labelled,
        "labelled",
        [0x1F, 0x6F, 0xB2],
        [0x6F, 0xB1, 0xF0],
    ),
    (
        Ink::Pseudo,
        "pseudo",
        [0x7A, 0x4F, 0xA3],
        [0xC0, 0x9B, 0xE8],
    ),
    (
        Ink::HeldOut,
        "held-out",
        [0xC2, 0x51, 0x0F],
        [0xF3, 0x97, 0x5A],
    ),
    (Ink::Grid, "grid", [0xE6, 0xE4, 0xDE], [0x2E, 0x30, 0x34]),
];

impl Ink {
    fn tone(self) -> Tone {
        let found = TONES.into_iter().find(|tone| tone.0 == self);
        found.unwrap_or(TONES[0])
    }

    /// For the drawing library.
    pub(super) fn rgb(self) -> RGBColor {
        let [r, g, b] = self.tone().2;
        RGBColor(r, g, b)
    }

    /// The style's class for a swatch of this colour.
    pub(super) fn class(self) -> &'static str {
        self.tone().1
    }
}

/// CSS: the variables in the light and in the dark, and the rules by which drawings and swatches take them. The drawing library writes a colour
/// as an attribute, over which a rule wins.
pub(crate) fn style() -> String {
    let hex = |[r, g, b]: [u8; 3]| format!("#{r:02X}{g:02X}{b:02X}");
    let variables = |tone: fn(&Tone) -> [u8; 3]| {
        let each = TONES.iter().map(|t| format!("--{}:{};", t.1, hex(tone(t))));
        each.collect::<String>()
    };
    let rules = TONES.iter().map(|(_, name, light, _)| {
        let light = hex(*light);
        format!(
            "svg [fill=\"{light}\"]{{fill:var(--{name})}}svg [stroke=\"{light}\"]{{stroke:var(--{name})}}.swatch.{name}{{background:var(--{name})}}\n"
        )
    });
    format!(
        ":root{{{}}}\n@media (prefers-color-scheme:dark){{:root{{{}}}}}\n{}",
        variables(|t| t.2),
        variables(|t| t.3),
        rules.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_ink_has_a_colour_of_its_own() {
        let light: HashSet<_> = TONES.iter().map(|t| t.2).collect();
        let inks = TONES
            .iter()
            .all(|t| t.0.rgb() == RGBColor(t.2[0], t.2[1], t.2[2]));
        assert!(light.len() == TONES.len() && inks);
    }
}
