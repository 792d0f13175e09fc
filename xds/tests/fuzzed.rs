//! The fuzz targets on random bytes, so that every test run touches them; the fuzzer itself is in `xds/fuzz`.

#[path = "../fuzz/src/drive.rs"]
mod drive;
#[path = "../fuzz/src/frames.rs"]
mod frames;

use proptest::prelude::*;
use proptest::test_runner::Config;

proptest! {
    #![proptest_config(Config { cases: 5000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_bytes_harm_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drive::drive(&bytes);
    }

    #[test]
    fn no_bytes_on_the_wire_harm_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        frames::drive(&bytes);
    }
}
