//! Durations as people write them, in flags, annotations and files: `90s`, `5m`, `1h30m`, `250ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration that reads and prints as text: numbers with units, from the largest to the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A duration's text has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: give numbers with units (d, h, m, s, ms), as 90s, 5m or 1h30m")]
pub struct InvalidSpan(pub String);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        parse(text).map(|millis| Self(Duration::from_millis(millis))).ok_or_else(|| InvalidSpan(text.into()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut left) = (text, 0u64, UNITS.as_slice());
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, next) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let at = left.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(left[at].1)?)?;
        left = &left[at + 1..];
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

impl fmt::Display for Span {
    /// Whole milliseconds; what reads back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            let number = millis / u128::from(size);
            if number > 0 {
                write!(f, "{number}{unit}")?;
                millis %= u128::from(size);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_what_they_print() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("90s", 90_000), ("1h30m", 5_400_000), ("1d2h3m4s5ms", 93_784_005)]
        {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        assert_eq!(Span(Duration::from_secs(90)).to_string(), "1m30s");
    }

    #[test]
    fn what_has_no_unit_or_units_out_of_order_is_refused_with_an_example() {
        for text in ["", "5", "m", "5 m", "-5s", "1.5s", "30s5m", "5m5m", "5y", "99999999999999999999s"] {
            let error = text.parse::<Span>().expect_err(text);
            assert!(error.to_string().contains("1h30m"), "{error}");
        }
    }
}
