//! The links between machines of a test are as slow, as lossy and as cut as a test says.

use std::time::{Duration, Instant};

use zenvoy_e2e::etcd::Etcd;
use zenvoy_e2e::folder::Folder;
use zenvoy_e2e::http::get;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::site::{Member, Site};

/// How long a question to the member takes: one round trip to connect, and one to ask.
async fn asked(etcd: &Etcd) -> Duration {
    let address = etcd.endpoint();
    let address = address.trim_start_matches("http://").parse().expect("an address");
    let began = Instant::now();
    get(address, "etcd", "/health").await.expect("etcd answers");
    began.elapsed()
}

#[test]
fn a_slow_link_delays_each_packet_and_loses_none_and_is_as_before_afterwards() {
    const DELAY: Duration = Duration::from_millis(100);
    in_namespace(async || {
        let folder = Folder::new();
        let member = Member::Etcd(0);
        let mut site = Site::join([member]);
        let mut etcd =
            Etcd::member(&folder, "etcd", site.place(member), 2379, &[("etcd", site.place(member))]);
        etcd.until_ready().await;
        let usual = asked(&etcd).await;
        assert!(usual < DELAY * 4, "{usual:?}");
        for _ in 0..2 {
            site.slow(member, DELAY);
            for _ in 0..3 {
                let slowed = asked(&etcd).await;
                assert!(slowed >= DELAY * 4, "two round trips took {slowed:?}");
                assert!(slowed < DELAY * 8, "two round trips took {slowed:?}");
            }
            site.heal();
            let usual = asked(&etcd).await;
            assert!(usual < DELAY * 4, "{usual:?}");
        }
    });
}
