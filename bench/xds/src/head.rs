//! The outermost fields of a response: the benchmark's own work must not be what is measured.

use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};

/// What a client needs to know of a `DeltaDiscoveryResponse`.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) resources: usize,
    pub(crate) type_url: String,
    pub(crate) nonce: String,
}

/// Looks at the outermost fields only.
pub(crate) fn head(mut message: Bytes) -> anyhow::Result<Head> {
    let mut head = Head::default();
    while message.has_remaining() {
        let (field, wire) = decode_key(&mut message)?;
        anyhow::ensure!(wire == WireType::LengthDelimited, "an unknown field {field}");
        let length = usize::try_from(decode_varint(&mut message)?)?;
        let value = message.split_to(length);
        match field {
            2 => head.resources += 1,
            4 => head.type_url = String::from_utf8_lossy(&value).into_owned(),
            5 => head.nonce = String::from_utf8_lossy(&value).into_owned(),
            _ => {}
        }
    }
    Ok(head)
}
