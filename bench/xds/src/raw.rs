//! Messages as bytes: the benchmark's own work must not be what is measured.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Bytes in, bytes out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

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
