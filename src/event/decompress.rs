//! Compressed bytes in, decompressed bytes out, up to a limit.
//!
//! Kinesis does not record whether data is compressed. So data that starts like a gzip member (RFC 1952) or a zstd
//! frame (RFC 8878) is treated as compressed. The two bytes at the start of a zlib stream (RFC 1950) can be text. So
//! zlib is recognized only by a whole stream with the right checksum.

use std::io::{self, Read as _};

use bytes::Bytes;

use crate::outcome::{Rejection, RejectionKind};

mod inflate;

use inflate::{GZIP_MAGIC, gunzip, inflate_zlib};

/// The first bytes of a zstd frame.
const ZSTD_MAGIC: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];

/// The number of bytes that one Kinesis record may still decompress to.
#[derive(Debug, Clone, Copy)]
pub struct DecompressBudget {
    limit: usize,
    remaining: usize,
}

/// Decompresses all data, and stops after more than this number of bytes. Appends the bytes, even if the data turns out
/// to be broken.
type Unpack = fn(&[u8], usize, &mut Vec<u8>) -> io::Result<()>;

impl DecompressBudget {
    /// Creates a budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            remaining: limit,
        }
    }

    /// Returns the number of bytes that have been decompressed.
    pub fn used(&self) -> usize {
        self.limit - self.remaining
    }

    /// Decompresses all members or frames of `data` and concatenates them. Returns `None` if `data` is not compressed.
    ///
    /// # Errors
    ///
    /// Returns a rejection if `data` is broken or truncated, if other bytes follow the compressed data, or if the
    /// result is larger than the rest of the budget.
    pub fn decompress(&mut self, data: &[u8]) -> Result<Option<Bytes>, Rejection> {
        match format(data) {
            Some((name, unpack)) => self.unpack(name, unpack, data),
            None => Ok(None),
        }
    }

    fn unpack(&mut self, name: &str, unpack: Unpack, data: &[u8]) -> Result<Option<Bytes>, Rejection> {
        let mut decompressed = Vec::new();
        let end = unpack(data, self.remaining, &mut decompressed);
        let fits = decompressed.len() <= self.remaining;
        // Bytes of a failed decompression count too, because they cost the same time.
        self.remaining = self.remaining.saturating_sub(decompressed.len());
        if !fits {
            let message = format!(
                "the record decompresses from {name} to more than the {} bytes that DECOMPRESS_LIMIT_BYTES allows",
                self.limit
            );
            let kind = RejectionKind::UnpackedTooLarge;
            return Err(Rejection { kind, message });
        }
        match end {
            Ok(()) => {
                decompressed.shrink_to_fit();
                Ok(Some(decompressed.into()))
            }
            Err(_) if name == "zlib" => Ok(None),
            Err(error) => Err(Rejection {
                kind: RejectionKind::BrokenRecord,
                message: format!("the record starts like {name}, but cannot be decompressed: {error}"),
            }),
        }
    }
}

/// Returns the format of compressed data by its first bytes.
fn format(data: &[u8]) -> Option<(&'static str, Unpack)> {
    match data {
        _ if data.starts_with(GZIP_MAGIC) => Some(("gzip", gunzip)),
        _ if data.starts_with(ZSTD_MAGIC) => Some(("zstd", unpack_zstd)),
        _ if is_like_zlib(data) => Some(("zlib", inflate_zlib)),
        _ => None,
    }
}

fn unpack_zstd(data: &[u8], max: usize, decompressed: &mut Vec<u8>) -> io::Result<()> {
    let max = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    zstd::Decoder::with_buffer(data)?.take(max).read_to_end(decompressed)?;
    Ok(())
}

/// Returns whether the first two bytes can be the header of a zlib stream: its compression method and window size, with
/// check bits, and no preset dictionary.
fn is_like_zlib(data: &[u8]) -> bool {
    matches!(data, [method, flags, ..] if {
        let header = u16::from_be_bytes([*method, *flags]);
        method & 0x0F == 8 && method >> 4 <= 7 && flags & 0x20 == 0 && header.is_multiple_of(31)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use instream_local::packing::gzip;

    use super::*;

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).unwrap()
    }

    fn decompress(data: &[u8]) -> Result<Option<Bytes>, Rejection> {
        DecompressBudget::new(1000).decompress(data)
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    type Compress = fn(&[u8]) -> Vec<u8>;
    const COMPRESSORS: [Compress; 2] = [gzip, zstd];

    #[test]
    fn compressed_data_is_restored_and_its_members_are_concatenated() {
        for compress in COMPRESSORS {
            for data in [&b""[..], b"{\"amount\":1}", &[7; 1000]] {
                assert_eq!(decompress(&compress(data)).unwrap().unwrap(), data);
            }
            let two = [compress(b"one,"), compress(b""), compress(b"two")].concat();
            assert_eq!(decompress(&two).unwrap().unwrap(), &b"one,two"[..]);
        }
    }

    #[test]
    fn uncompressed_data_is_not_decompressed() {
        for data in [&b""[..], b"{}", b"\x1F\x8B", b"\x1F\x8B\x07rest", b"\x28\xB5\x2F"] {
            assert_eq!(decompress(data), Ok(None), "{data:?}");
        }
    }

    #[test]
    fn truncated_data_and_trailing_bytes_are_broken() {
        for compress in COMPRESSORS {
            let compressed = compress(b"{\"amount\":12.5,\"country\":\"DE\"}");
            for length in 4..compressed.len() {
                let rejection = decompress(&compressed[..length]).unwrap_err();
                assert_eq!(rejection.kind, RejectionKind::BrokenRecord, "{length}");
            }
            for rest in [&b"\0"[..], b"garbage", b"\x1F", &compressed[..10]] {
                let rejection = decompress(&[&compressed, rest].concat()).unwrap_err();
                assert_eq!(rejection.kind, RejectionKind::BrokenRecord, "{rest:?}");
            }
        }
    }

    #[test]
    fn only_a_whole_zlib_stream_is_decompressed() {
        let compressed = zlib(b"{\"amount\":12.5,\"country\":\"DE\"}");
        assert_eq!(
            decompress(&compressed).unwrap().unwrap(),
            &b"{\"amount\":12.5,\"country\":\"DE\"}"[..]
        );
        assert_eq!(decompress(&zlib(b"")).unwrap().unwrap(), &b""[..]);
        for length in 0..compressed.len() {
            assert_eq!(decompress(&compressed[..length]), Ok(None), "{length}");
        }
        let mut wrong_checksum = compressed.clone();
        *wrong_checksum.last_mut().unwrap() ^= 1;
        assert_eq!(decompress(&wrong_checksum), Ok(None));
        assert_eq!(decompress(&[&compressed[..], b"\n"].concat()), Ok(None));
        for text in [&b"x^2,1"[..], b"x\x9C", b"h\x81 text", b"8,1"] {
            assert_eq!(decompress(text), Ok(None), "{text:?}");
        }
        let rejection = decompress(&zlib(&[7; 1001])).unwrap_err();
        assert_eq!(rejection.kind, RejectionKind::UnpackedTooLarge);
    }

    #[test]
    fn a_record_decompresses_to_at_most_its_budget_in_total() {
        for compress in COMPRESSORS {
            let rejection = decompress(&compress(&[7; 1001])).unwrap_err();
            assert_eq!(rejection.kind, RejectionKind::UnpackedTooLarge);
            assert!(
                rejection
                    .message
                    .contains("more than the 1000 bytes that DECOMPRESS_LIMIT_BYTES allows")
            );
            let mut budget = DecompressBudget::new(1000);
            assert!(budget.decompress(&compress(&[7; 600])).is_ok());
            assert!(budget.decompress(&compress(&[7; 400])).is_ok());
            assert!(budget.decompress(&compress(&[7; 1])).is_err());
            let mut failing = DecompressBudget::new(1000);
            assert!(failing.decompress(&compress(&[7; 2000])).is_err());
            assert_eq!(failing.used(), 1000, "bytes of a failed decompression count");
        }
    }
}
