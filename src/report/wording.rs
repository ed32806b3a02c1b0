//! Numbers and names as a person reads them.

use crate::say::steers;

/// `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 image`, `1,234 images`.
pub(crate) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// `850`, `12k`, `1.5M`: the label of an axis.
pub(crate) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // 2 digits after the point tell ticks apart; zeros at the end say nothing.
    let text = format!("{scaled:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// `0`, `0.00002`, `0.013`, `1.386`, `12`: a loss, a rate. 4 digits, zeros at the end left out.
pub(crate) fn real(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let whole = value.abs().log10().floor() as i32;
    let digits = usize::try_from((3 - whole).clamp(0, 12)).unwrap_or_default();
    let text = format!("{value:.digits$}");
    if digits == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A part from 0 to 1: `87.5 %`.
pub(crate) fn per_cent(part: f64) -> String {
    format!("{:.1}\u{a0}%", part * 100.0)
}

/// A part from 0 to 1 at an axis: `50 %`.
pub(crate) fn whole_per_cent(part: f64) -> String {
    format!("{:.0}\u{a0}%", part * 100.0)
}

/// A part of a whole: `36 %`, `3.4 %`, `<0.1 %`, with a space that does not break.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if part > 0 && percent < 0.1 {
        "<0.1\u{a0}%".to_owned()
    } else if percent < 9.95 && part > 0 {
        format!("{percent:.1}\u{a0}%")
    } else if part < whole && percent >= 99.5 {
        ">99\u{a0}%".to_owned()
    } else {
        format!("{percent:.0}\u{a0}%")
    }
}

/// A confidence; one that is not quite 1 does not look like it.
pub(crate) fn confidence(p: f32) -> String {
    match format!("{p:.3}") {
        one if one == "1.000" && p < 1.0 => ">0.999".to_owned(),
        other => other,
    }
}

/// Text of strangers, on one line: what would steer a terminal, a line or the direction of reading becomes visible.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if steers(c) { '\u{FFFD}' } else { c })
        .collect()
}

/// The end of a key that tells images of a folder apart.
pub(crate) fn file_name(key: &str) -> String {
    let name = key.rsplit('/').find(|part| !part.is_empty());
    plain(name.unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_easily() {
        assert_eq!(
            [0, 12, 999, 1000, 20_000_000].map(count),
            ["0", "12", "999", "1,000", "20,000,000"]
        );
        assert_eq!(
            [0.0, 850.0, 12_000.0, 1_500_000.0, 2e9].map(short),
            ["0", "850", "12k", "1.5M", "2G"]
        );
        let shares = [
            (0, 5),
            (1, 3),
            (1, 30),
            (1, 5000),
            (4999, 5000),
            (5, 5),
            (1, 0),
        ];
        assert_eq!(
            shares.map(|(part, whole)| share(part, whole).replace('\u{a0}', " ")),
            ["0 %", "33 %", "3.3 %", "<0.1 %", ">99 %", "100 %", "–"]
        );
    }

    #[test]
    fn a_small_rate_is_more_than_nothing() {
        let reals = [0.0, 0.000_02, 0.012_345, 1.386_29, 12.0, 12_345.6];
        assert_eq!(
            reals.map(real),
            ["0", "0.00002", "0.01235", "1.386", "12", "12346"]
        );
        assert_eq!(
            per_cent(0.875).replace('\u{a0}', " ") + &whole_per_cent(0.5),
            "87.5 %50\u{a0}%"
        );
    }

    #[test]
    fn a_confidence_is_1_where_it_is_1() {
        assert_eq!(
            [0.0, 0.300_000_1, 0.999_7, 1.0].map(confidence),
            ["0.000", "0.300", ">0.999", "1.000"]
        );
    }

    #[test]
    fn text_cannot_turn_the_line_around() {
        assert_eq!(
            plain("a\u{202E}gpj.\n\0b"),
            "a\u{FFFD}gpj.\u{FFFD}\u{FFFD}b"
        );
        assert_eq!(file_name("s3://b/c/d.jpg"), "d.jpg");
        assert_eq!(file_name("s3://b/x.tar#c/d.jpg"), "d.jpg");
        assert_eq!(file_name("plain"), "plain");
    }
}
