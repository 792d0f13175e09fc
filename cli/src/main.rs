//! The `zenvoy` command.

fn main() {}
