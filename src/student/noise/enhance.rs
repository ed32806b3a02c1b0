//! Operations that blend the image with a degenerate one: color, contrast, brightness, sharpness.
//!
//! `degenerate + factor × (image − degenerate)` in single precision, truncated and clipped, as `Image.blend` has it.

use super::levels::{Levels, look_up};
use super::pixels::Pixels;

/// Pillow's weights of red, green and blue in grey (ITU-R 601-2), times 2¹⁶.
const GREY: [u32; 3] = [19_595, 38_470, 7_471];

/// From 2²³ on a single-precision number is an integer.
const INTEGERS_FROM: f32 = 8_388_608.0;
/// Pixels that are turned grey before they are blended: both loops are then simple enough for vector instructions.
const BLOCK: usize = 64;

/// `Image.convert("L")`.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    let sum = GREY[0] * u32::from(r) + GREY[1] * u32::from(g) + GREY[2] * u32::from(b);
    ((sum + 0x8000) >> 16) as u8
}

/// Clipped where the factor goes beyond the image, then truncated.
fn blend(degenerate: u8, value: u8, factor: f32) -> u8 {
    let difference = f32::from(i16::from(value) - i16::from(degenerate));
    let blended = (f32::from(degenerate) + factor * difference).clamp(0.0, 255.0);
    // A sum of 2²³ and more has no digits after the point, and the integer in its lowest bits: half the time that a conversion takes.
    let nearest = blended + INTEGERS_FROM;
    let up = u32::from(nearest - INTEGERS_FROM > blended);
    (nearest.to_bits() - up) as u8
}

/// `ImageEnhance.Color(image).enhance(factor)`.
pub(super) fn color(pixels: &mut Pixels<'_>, factor: f32) {
    for block in pixels.pixels_mut().chunks_mut(BLOCK) {
        let mut degenerate = [[0; 3]; BLOCK];
        for (degenerate, pixel) in degenerate.iter_mut().zip(&*block) {
            *degenerate = [grey(*pixel); 3];
        }
        let values = block.as_flattened_mut().iter_mut();
        for (value, degenerate) in values.zip(degenerate.as_flattened()) {
            *value = blend(*degenerate, *value, factor);
        }
    }
}

/// `ImageEnhance.Contrast(image).enhance(factor)`.
pub(super) fn contrast(pixels: &mut Pixels<'_>, factor: f32) {
    let count = pixels.pixels().len() as u64;
    let sum: u64 = pixels.pixels().iter().map(|p| u64::from(grey(*p))).sum();
    // Rounded, halves up.
    let mean = ((2 * sum + count) / (2 * count)) as u8;
    away_from(pixels, mean, factor);
}

/// `ImageEnhance.Brightness(image).enhance(factor)`.
pub(super) fn brightness(pixels: &mut Pixels<'_>, factor: f32) {
    away_from(pixels, 0, factor);
}

/// Blends with one level of grey.
fn away_from(pixels: &mut Pixels<'_>, level: u8, factor: f32) {
    let levels: Levels = std::array::from_fn(|value| blend(level, value as u8, factor));
    look_up(pixels, &[levels; 3]);
}

/// `ImageEnhance.Sharpness(image).enhance(factor)`: the degenerate image is Pillow's `ImageFilter.SMOOTH`, whose outermost pixels are the image's own.
pub(super) fn sharpness(pixels: &mut Pixels<'_>, factor: f32) {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    if width < 3 || height < 3 {
        return;
    }
    let row = 3 * width;
    let (image, out) = pixels.copied();
    for (above, out) in image
        .windows(3 * row)
        .step_by(row)
        .zip(out[row..].chunks_exact_mut(row))
    {
        let (above, rest) = above.split_at(row);
        let (middle, below) = rest.split_at(row);
        // The same colour of the pixel to the left, of this one and of the one to the right are 3 bytes apart.
        let three = |line: &[u8]| -> [u16; 3] { [line[0], line[3], line[6]].map(u16::from) };
        let windows = above
            .windows(7)
            .zip(middle.windows(7))
            .zip(below.windows(7));
        for (((above, middle), below), out) in windows.zip(&mut out[3..row - 3]) {
            let sum: u16 = [above, middle, below]
                .iter()
                .flat_map(|line| three(line))
                .sum();
            let sum = sum + 4 * u16::from(middle[3]);
            // The kernel's weights are 1, 5 in the middle, over 13. No thirteenth is a half: adding 6 rounds.
            let smooth = ((sum + 6) / 13) as u8;
            *out = blend(smooth, middle[3], factor);
        }
    }
}
