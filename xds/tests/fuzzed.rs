//! The fuzz target on random bytes, so that every test run touches it; the fuzzer itself is in `xds/fuzz`.

#[path = "../fuzz/src/drive.rs"]
mod drive;

use proptest::prelude::*;
use proptest::test_runner::Config;

proptest! {
    #![proptest_config(Config { cases: 5000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_bytes_harm_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drive::drive(&bytes);
    }
}
