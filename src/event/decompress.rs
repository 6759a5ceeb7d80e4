//! Compressed bytes in, what they hold out, as far as it may be held.
//!
//! Kinesis knows nothing of compression, so what begins like a gzip member (RFC 1952) or a zstd frame (RFC 8878) is taken
//! for one.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use crate::outcome::{Rejection, RejectionKind};

/// What a gzip member begins with: its two magic bytes, and the only method of compression that there is.
const GZIP: &[u8] = &[0x1F, 0x8B, 8];
/// What a zstd frame begins with.
const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];

/// How many bytes one Kinesis record may still unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    limit: usize,
    left: usize,
}

impl Allowance {
    /// All of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    /// How many bytes have been unpacked.
    pub fn used(&self) -> usize {
        self.limit - self.left
    }

    /// What `data` holds, all members or frames of it one after the other; `None` if it is not compressed.
    ///
    /// # Errors
    ///
    /// A rejection if it is broken or truncated, if something else follows it, or if it holds more than is left.
    pub fn unpack(&mut self, data: &[u8]) -> Result<Option<Bytes>, Rejection> {
        let (name, unpacked) = if data.starts_with(GZIP) {
            ("gzip", self.read(MultiGzDecoder::new(data)))
        } else if data.starts_with(ZSTD) {
            let decoder = zstd::Decoder::with_buffer(data);
            let unpacked = decoder.map_or_else(|error| (Vec::new(), Err(error)), |decoder| self.read(decoder));
            ("zstd", unpacked)
        } else {
            return Ok(None);
        };
        let (mut unpacked, end) = unpacked;
        let fits = unpacked.len() <= self.left;
        // What was unpacked in vain has cost its time as well.
        self.left = self.left.saturating_sub(unpacked.len());
        if !fits {
            let message = format!(
                "the record unpacks from {name} to more than DECOMPRESS_LIMIT_BYTES allows, {}",
                self.limit
            );
            let kind = RejectionKind::UnpackedTooLarge;
            return Err(Rejection { kind, message });
        }
        end.map_err(|error| Rejection {
            kind: RejectionKind::BrokenRecord,
            message: format!("the record begins like {name}, but cannot be unpacked: {error}"),
        })?;
        unpacked.shrink_to_fit();
        Ok(Some(unpacked.into()))
    }

    /// Reads one byte more than is left at most, which is enough to see that it is too much. Returns what came, and how it
    /// ended.
    fn read(self, decoder: impl Read) -> (Vec<u8>, io::Result<usize>) {
        let mut unpacked = Vec::new();
        let most = u64::try_from(self.left).unwrap_or(u64::MAX).saturating_add(1);
        let end = decoder.take(most).read_to_end(&mut unpacked);
        (unpacked, end)
    }
}

#[cfg(test)]
mod tests {
    use instream_local::packing::gzip;

    use super::*;

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).unwrap()
    }

    fn unpack(data: &[u8]) -> Result<Option<Bytes>, Rejection> {
        Allowance::new(1000).unpack(data)
    }

    type Pack = fn(&[u8]) -> Vec<u8>;
    const PACKERS: [Pack; 2] = [gzip, zstd];

    #[test]
    fn what_was_packed_comes_out_and_members_follow_one_another() {
        for pack in PACKERS {
            for data in [&b""[..], b"{\"amount\":1}", &[7; 1000]] {
                assert_eq!(unpack(&pack(data)).unwrap().unwrap(), data);
            }
            let two = [pack(b"one,"), pack(b""), pack(b"two")].concat();
            assert_eq!(unpack(&two).unwrap().unwrap(), &b"one,two"[..]);
        }
    }

    #[test]
    fn what_is_not_compressed_is_left_alone() {
        for data in [&b""[..], b"{}", b"\x1F\x8B", b"\x1F\x8B\x07rest", b"\x28\xB5\x2F"] {
            assert_eq!(unpack(data), Ok(None), "{data:?}");
        }
    }

    #[test]
    fn every_truncation_and_whatever_follows_is_broken() {
        for pack in PACKERS {
            let packed = pack(b"{\"amount\":12.5,\"country\":\"DE\"}");
            for length in 4..packed.len() {
                let rejection = unpack(&packed[..length]).unwrap_err();
                assert_eq!(rejection.kind, RejectionKind::BrokenRecord, "{length}");
            }
            for rest in [&b"\0"[..], b"garbage", b"\x1F", &packed[..10]] {
                let rejection = unpack(&[&packed, rest].concat()).unwrap_err();
                assert_eq!(rejection.kind, RejectionKind::BrokenRecord, "{rest:?}");
            }
        }
    }

    #[test]
    fn no_more_is_unpacked_than_the_record_may_hold_in_all() {
        for pack in PACKERS {
            let rejection = unpack(&pack(&[7; 1001])).unwrap_err();
            assert_eq!(rejection.kind, RejectionKind::UnpackedTooLarge);
            assert!(rejection.message.contains("DECOMPRESS_LIMIT_BYTES allows, 1000"));
            let mut allowance = Allowance::new(1000);
            assert!(allowance.unpack(&pack(&[7; 600])).is_ok());
            assert!(allowance.unpack(&pack(&[7; 400])).is_ok());
            assert!(allowance.unpack(&pack(&[7; 1])).is_err());
            let mut in_vain = Allowance::new(1000);
            assert!(in_vain.unpack(&pack(&[7; 2000])).is_err());
            assert_eq!(in_vain.used(), 1000, "what was unpacked in vain counts");
        }
    }
}
