//! Generates the messages and services of `proto/`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tonic_prost_build::configure()
        .compile_protos(&["proto/zenvoy/v1/held.proto", "proto/zenvoy/v1/session.proto"], &["proto"])?;
    Ok(())
}
