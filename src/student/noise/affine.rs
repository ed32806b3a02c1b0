//! Operations that move pixels: rotate, shear, translate. Nearest neighbour, as in the paper's published code, so that no value is made up.

use std::ops::Range;

use super::pixels::Pixels;

/// Where in the source an output pixel (x, y) lies: each row's sum of x, y and 1 times its numbers.
type Matrix = [[f64; 3]; 2];

/// Pillow's fixed point: 16 bits after the point.
const FIXED_BITS: u32 = 16;
/// 1 in fixed point.
const ONE: f64 = 65_536.0;
/// The step from pixel to pixel where a row of the output is a piece of a row of the source, as in a shear along it.
const ALONG_A_ROW: [i64; 2] = [1 << FIXED_BITS, 0];

/// `Image.rotate(degrees, NEAREST, fillcolor=fill)`: counter-clockwise about the centre.
pub(super) fn rotate(pixels: &mut Pixels<'_>, degrees: f64, fill: [u8; 3]) {
    // Pillow takes the angle modulo a full turn, and rounds so that quarter turns are exact.
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let rounded = |x: f64| (x * 1e15).round() / 1e15;
    let (sin, cos) = (rounded(libm::sin(angle)), rounded(libm::cos(angle)));
    let centre = [pixels.width(), pixels.height()].map(|side| f64::from(side) / 2.0);
    let [cx, cy] = centre;
    let right = cos * -cx + sin * -cy + cx;
    let down = -sin * -cx + cos * -cy + cy;
    transform(pixels, [[cos, sin, right], [-sin, cos, down]], fill);
}

/// `Image.transform(size, AFFINE, (1, slope, 0, 0, 1, 0), NEAREST, fillcolor=fill)`.
pub(super) fn shear_x(pixels: &mut Pixels<'_>, slope: f64, fill: [u8; 3]) {
    transform(pixels, [[1.0, slope, 0.0], [0.0, 1.0, 0.0]], fill);
}

/// `Image.transform(size, AFFINE, (1, 0, 0, slope, 1, 0), NEAREST, fillcolor=fill)`.
pub(super) fn shear_y(pixels: &mut Pixels<'_>, slope: f64, fill: [u8; 3]) {
    transform(pixels, [[1.0, 0.0, 0.0], [slope, 1.0, 0.0]], fill);
}

/// `Image.transform(size, AFFINE, (1, 0, by, 0, 1, 0), NEAREST, fillcolor=fill)`.
pub(super) fn translate_x(pixels: &mut Pixels<'_>, by: i32, fill: [u8; 3]) {
    let width = pixels.width() as usize;
    let distance = (by.unsigned_abs() as usize).min(width);
    for row in pixels.rows() {
        if by >= 0 {
            row.copy_within(distance.., 0);
            row[width - distance..].fill(fill);
        } else {
            row.copy_within(..width - distance, distance);
            row[..distance].fill(fill);
        }
    }
}

/// `Image.transform(size, AFFINE, (1, 0, 0, 0, 1, by), NEAREST, fillcolor=fill)`.
pub(super) fn translate_y(pixels: &mut Pixels<'_>, by: i32, fill: [u8; 3]) {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let distance = (by.unsigned_abs() as usize).min(height) * width;
    let all = pixels.pixels_mut();
    let kept = all.len() - distance;
    if by >= 0 {
        all.copy_within(distance.., 0);
        all[kept..].fill(fill);
    } else {
        all.copy_within(..kept, distance);
        all[..distance].fill(fill);
    }
}

/// Pillow's `ImagingTransformAffine` without a filter: the centre of each output pixel, in fixed point.
fn transform(pixels: &mut Pixels<'_>, matrix: Matrix, fill: [u8; 3]) {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let fixed = |x: f64| (x * ONE + 0.5).floor() as i64;
    let [right, below] = [0, 1].map(|n| matrix.map(|row| fixed(row[n])));
    // The first row's first pixel.
    let mut first = matrix.map(|row| fixed(row[2] + row[0] * 0.5 + row[1] * 0.5));
    let (source, out) = pixels.copied();
    let (source, out): (&[[u8; 3]], &mut [[u8; 3]]) = (source.as_chunks().0, out.as_chunks_mut().0);
    for out in out.chunks_exact_mut(width) {
        let across = inside(first[0], right[0], width);
        let down = inside(first[1], right[1], height);
        let start = across.start.max(down.start).min(width);
        let end = across.end.min(down.end).clamp(start, width);
        out[..start].fill(fill);
        out[end..].fill(fill);
        let mut x = first[0] + right[0] * start as i64;
        let mut y = first[1] + right[1] * start as i64;
        let at = |x: i64, y: i64| (y >> FIXED_BITS) as usize * width + (x >> FIXED_BITS) as usize;
        let out = &mut out[start..end];
        if right == ALONG_A_ROW && !out.is_empty() {
            out.copy_from_slice(&source[at(x, y)..][..out.len()]);
        } else {
            for pixel in out {
                *pixel = source[at(x, y)];
                x += right[0];
                y += right[1];
            }
        }
        first[0] += below[0];
        first[1] += below[1];
    }
}

/// The numbers n from 0 on for which `start` + n × `step` lies from 0 on and below `side`, in fixed point.
fn inside(start: i64, step: i64, side: usize) -> Range<usize> {
    let limit = (side as i64) << FIXED_BITS;
    let not_negative = |n: i64| usize::try_from(n).unwrap_or(0);
    // The first n with start + n × step ≥ bound, where step is above 0.
    let first = |bound: i64, start: i64, step: i64| not_negative(-(start - bound).div_euclid(step));
    match step {
        0 if (0..limit).contains(&start) => 0..usize::MAX,
        0 => 0..0,
        1.. => first(0, start, step)..first(limit, start, step),
        // Mirrored: from −limit on, exclusively, to 0, inclusively.
        _ => first(1 - limit, -start, -step)..first(1, -start, -step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_lies_inside_is_found_without_looking_at_each(
            start in -20_000_000_i64..20_000_000,
            step in -300_000_i64..300_000,
            side in 1_usize..200,
        ) {
            let limit = (side as i64) << FIXED_BITS;
            let found = inside(start, step, side);
            for n in 0..300 {
                let at = start + n as i64 * step;
                prop_assert_eq!(found.contains(&n), (0..limit).contains(&at), "{}", n);
            }
        }
    }
}
