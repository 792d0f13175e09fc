//! Single values from text. `None` where the text has not the form or the range.

use std::ops::RangeInclusive;
use std::time::Duration;

use zenvoy_shared::duration::Span;
use zenvoy_shared::id::Protocol;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn protocol(text: &str) -> Option<Protocol> {
    text.parse().ok()
}

pub(super) fn port(text: &str) -> Option<u16> {
    whole(text)?.try_into().ok().filter(|port| *port > 0)
}

pub(super) fn wake_replicas(text: &str) -> Option<u32> {
    number(text, 1..=1_000)
}

pub(super) fn max_held(text: &str) -> Option<u32> {
    number(text, 1..=1_000_000)
}

pub(super) fn idle_after(text: &str) -> Option<Duration> {
    within(text, SECOND..=HOUR * 168)
}

pub(super) fn wake_timeout(text: &str) -> Option<Duration> {
    within(text, SECOND..=HOUR)
}

/// Digits only: no sign, no spaces.
fn whole(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn number(text: &str, range: RangeInclusive<u32>) -> Option<u32> {
    let value = whole(text)?.try_into().ok()?;
    range.contains(&value).then_some(value)
}

fn within(text: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
    let Span(value) = text.parse().ok()?;
    range.contains(&value).then_some(value)
}

/// A DNS name in lower case; `*.` may stand for the first label, if two more follow.
pub(super) fn host(text: &str) -> Option<String> {
    let host = text.trim().to_ascii_lowercase();
    let name = match host.strip_prefix("*.") {
        Some(rest) if rest.contains('.') => rest,
        Some(_) => return None,
        None => &host,
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (host.len() <= 253 && name.split('.').all(is_label)).then_some(host)
}
