//! A wake's phases as spans, as a subscriber sees them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::world::World;

/// What happened to spans of wakes, in order.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// Sees the spans of this thread as long as the guard lives.
    fn begin() -> (Self, DefaultGuard) {
        let seen = Self::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(seen.clone()));
        (seen, guard)
    }

    fn note(&self, name: &str, what: &str) {
        // The scale write has a span of its own.
        if name.starts_with("wake") && name != "wake.scale" {
            self.0.lock().expect("not poisoned").push(format!("{name} {what}"));
        }
    }

    /// Since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("not poisoned"))
    }
}

/// Fields as text.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("[{field}={value:?}]"));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("it is new");
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        let within = span.parent().map_or_else(String::new, |parent| format!(" in {}", parent.name()));
        self.note(span.name(), &format!("begins{within}{}", fields.0));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields(String::new());
        record.record(&mut fields);
        self.note(context.span(id).expect("it is open").name(), &fields.0);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.note(context.span(&id).expect("it is still there").name(), "ends");
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn each_phase_of_a_wake_is_a_span_within_that_of_the_wake() {
    let (seen, _guard) = Seen::begin();
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    let begun = seen.take();
    let (whole, phases) = begun.split_first().expect("a span");
    assert!(whole.starts_with("wake begins[workload=shop/Deployment.apps/cart]"), "{whole}");
    for field in ["[upstream=shop/cart:80]", "[episode=", "[traceparent="] {
        assert!(whole.contains(field), "{whole}");
    }
    let expected = [
        "wake.intent begins in wake",
        "wake.intent [since_held_ms=0.0]",
        "wake.scaled begins in wake",
        "wake.intent ends",
        "wake.scaled [since_held_ms=0.0]",
        "wake.started begins in wake",
        "wake.scaled ends",
    ];
    assert_eq!(phases, expected);
    world.wait(SECOND).await;
    world.pod_starts().await;
    world.wait(SECOND).await;
    world.pod_ready("pod-1").await;
    let expected = [
        "wake.started [since_held_ms=1000.0]",
        "wake.ready begins in wake",
        "wake.started ends",
        "wake.ready [since_held_ms=2000.0]",
        "wake.switched begins in wake",
        "wake.first_byte begins in wake",
        "wake.ready ends",
    ];
    assert_eq!(seen.take(), expected);
    world.wait(SECOND).await;
    world.first_byte("node-1", Duration::from_millis(2_500)).await;
    world.applied("node-1").await;
    let expected = [
        "wake.first_byte [since_held_ms=2500.0]",
        "wake.first_byte ends",
        "wake.switched [since_held_ms=3000.0]",
        "wake.switched ends",
        "wake ends",
    ];
    assert_eq!(seen.take(), expected);
}

#[tokio::test]
async fn a_phase_that_was_not_seen_ends_without_its_time_and_a_wake_that_came_to_nothing_ends_too() {
    let (seen, _guard) = Seen::begin();
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    world.pod_ready("pod-1").await;
    let said = seen.take();
    assert!(said.contains(&"wake.started ends".into()), "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("wake.started [")), "{said:?}");
    world.holds("node-1", false).await;
    world.pods_end().await;
    assert_eq!(seen.take(), ["wake.switched ends", "wake.first_byte ends", "wake ends"]);
}
