//! Benchmarks report ratios measured in one run: machines are noisy, and a bare write on the same machine at the same
//! time is as noisy as ours.

pub mod figure;
