//! Spreads over a time what would happen at one moment. In: the time, and what it is about; out: a part of it, the same for
//! the same thing and another for others. Pure: what looks like chance is a hash.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Less than `span`, by the hash of `name` and `number`.
pub fn jitter(span: Duration, name: &str, number: u64) -> Duration {
    let hash = xxh3_64_with_seed(name.as_bytes(), number);
    let share = u32::try_from(hash >> 32).unwrap_or_default();
    let nanos = span.as_nanos() * u128::from(share) / (u128::from(u32::MAX) + 1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(200);

    #[test]
    fn the_same_thing_waits_for_the_same_time_and_others_for_others() {
        assert_eq!(jitter(SPAN, "cart", 7), jitter(SPAN, "cart", 7));
        assert_ne!(jitter(SPAN, "cart", 7), jitter(SPAN, "web", 7));
        assert_ne!(jitter(SPAN, "cart", 7), jitter(SPAN, "cart", 8));
        assert_eq!(jitter(Duration::ZERO, "cart", 7), Duration::ZERO);
    }

    #[test]
    fn a_thousand_things_are_spread_evenly_over_the_whole_time() {
        let mut tenths = [0; 10];
        for thing in 0..1_000 {
            let waits = jitter(SPAN, &format!("service-{thing}"), 1);
            assert!(waits < SPAN, "{waits:?}");
            tenths[usize::try_from(waits.as_millis() / 20).expect("few")] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
