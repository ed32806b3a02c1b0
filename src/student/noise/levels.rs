//! Operations that give each value another by itself: autocontrast, equalize, invert, posterize, solarize, solarize-add.

use super::pixels::Pixels;

/// Values below are raised by solarize-add.
const SOLARIZE_ADD_BELOW: u8 = 128;

/// A new value for each of a channel's 256.
pub(super) type Levels = [u8; 256];

/// The levels as they are.
fn identity() -> Levels {
    std::array::from_fn(|level| level as u8)
}

/// Gives each channel's values their new ones.
pub(super) fn look_up(pixels: &mut Pixels<'_>, channels: &[Levels; 3]) {
    let [red, green, blue] = channels;
    for [r, g, b] in pixels.pixels_mut() {
        *r = red[usize::from(*r)];
        *g = green[usize::from(*g)];
        *b = blue[usize::from(*b)];
    }
}

/// How often each value occurs in each channel.
fn histogram(pixels: &Pixels<'_>) -> [[u32; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    let [red, green, blue] = &mut counts;
    for [r, g, b] in pixels.pixels() {
        red[usize::from(*r)] += 1;
        green[usize::from(*g)] += 1;
        blue[usize::from(*b)] += 1;
    }
    counts
}

/// `ImageOps.autocontrast(image)`.
pub(super) fn autocontrast(pixels: &mut Pixels<'_>) {
    let stretch = |counts: &[u32; 256]| {
        let lowest = counts.iter().position(|n| *n > 0).unwrap_or(0);
        let highest = counts.iter().rposition(|n| *n > 0).unwrap_or(0);
        if highest <= lowest {
            return identity();
        }
        // Pillow's own arithmetic, in double precision; a conversion to u8 truncates and clips as it does.
        let scale = 255.0 / (highest - lowest) as f64;
        let offset = -(lowest as f64) * scale;
        std::array::from_fn(|level| (level as f64 * scale + offset) as u8)
    };
    let channels = histogram(pixels).each_ref().map(stretch);
    look_up(pixels, &channels);
}

/// `ImageOps.equalize(image)`.
pub(super) fn equalize(pixels: &mut Pixels<'_>) {
    let even = |counts: &[u32; 256]| {
        let all: u32 = counts.iter().sum();
        let last = counts.iter().rfind(|n| **n > 0).copied().unwrap_or(0);
        let step = (all - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut below = step / 2;
        std::array::from_fn(|level| {
            let new = below / step;
            below += counts[level];
            new.min(255) as u8
        })
    };
    let channels = histogram(pixels).each_ref().map(even);
    look_up(pixels, &channels);
}

/// `ImageOps.invert(image)`.
pub(super) fn invert(pixels: &mut Pixels<'_>) {
    for value in pixels.bytes() {
        *value = 255 - *value;
    }
}

/// `ImageOps.posterize(image, bits)`.
pub(super) fn posterize(pixels: &mut Pixels<'_>, bits: u8) {
    let mask = !(0xFF_u16 >> bits.min(8)) as u8;
    for value in pixels.bytes() {
        *value &= mask;
    }
}

/// `ImageOps.solarize(image, threshold)`.
pub(super) fn solarize(pixels: &mut Pixels<'_>, threshold: u16) {
    let Ok(threshold) = u8::try_from(threshold) else {
        return;
    };
    for value in pixels.bytes() {
        *value = if *value < threshold {
            *value
        } else {
            255 - *value
        };
    }
}

/// Adds to what is darker than the middle.
pub(super) fn solarize_add(pixels: &mut Pixels<'_>, addition: u8) {
    for value in pixels.bytes() {
        *value = if *value < SOLARIZE_ADD_BELOW {
            value.saturating_add(addition)
        } else {
            *value
        };
    }
}
