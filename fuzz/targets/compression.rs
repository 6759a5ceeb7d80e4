//! Compressed data.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::{GzEncoder, MultiGzDecoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};
use instream::event::decompress::DecompressBudget;
use instream::outcome::RejectionKind;

use super::DECOMPRESS;

const GZIP: &[u8] = b"\x1F\x8B\x08";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";
/// The header of most zlib streams. It is also text: `x^`.
const ZLIB: &[u8] = b"x^";

/// Decompresses any bytes, bytes with the first bytes of a format, and compressed bytes. The result must not exceed the
/// limit, and compressed bytes must give the original bytes.
pub(crate) fn check(data: &[u8]) {
    let (mode, data) = data.split_first().unwrap_or((&0, data));
    let mut packed = Vec::new();
    let packed = match mode % 7 {
        0 => return drop(unpack(data)),
        1 => return drop(unpack(&[GZIP, data].concat())),
        2 => return drop(unpack(&[ZSTD, data].concat())),
        3 => return drop(unpack(&[ZLIB, data].concat())),
        4 => std::io::copy(&mut GzEncoder::new(data, Compression::fast()), &mut packed).map(|_| packed),
        5 => std::io::copy(&mut ZlibEncoder::new(data, Compression::fast()), &mut packed).map(|_| packed),
        _ => zstd::encode_all(data, 1),
    };
    let packed = packed.unwrap();
    assert!(data.len() > DECOMPRESS.limit_bytes || unpack(&packed).unwrap() == data);
    if mode % 7 == 5 {
        check_broken_zlib(packed);
    }
}

/// Checks that a zlib stream that is not whole is treated as uncompressed.
fn check_broken_zlib(mut stream: Vec<u8>) {
    stream.push(b'\n');
    unpack(&stream);
    stream.pop();
    *stream.last_mut().unwrap() ^= 1;
    unpack(&stream);
    stream.pop();
    unpack(&stream);
}

fn unpack(data: &[u8]) -> Option<Bytes> {
    let decompress = |limit| DecompressBudget::new(limit).decompress(data);
    let unpacked = decompress(DECOMPRESS.limit_bytes);
    let is_other = data.starts_with(GZIP) || data.starts_with(ZSTD);
    assert_eq!(unpacked == Ok(None), !is_other && !is_zlib(data));
    if data.starts_with(GZIP) {
        let mut by_flate2 = Vec::new();
        let end = MultiGzDecoder::new(data)
            .take(1 + DECOMPRESS.limit_bytes as u64)
            .read_to_end(&mut by_flate2);
        let is_whole = end.is_ok() && by_flate2.len() <= DECOMPRESS.limit_bytes;
        assert_eq!(
            unpacked.as_ref().ok().cloned().flatten(),
            is_whole.then(|| by_flate2.into())
        );
    }
    let all = unpacked.ok().flatten()?;
    assert!(all.len() <= DECOMPRESS.limit_bytes);
    assert_eq!(decompress(all.len()), Ok(Some(all.clone())));
    if let Some(less) = all.len().checked_sub(1) {
        assert_eq!(decompress(less).unwrap_err().kind, RejectionKind::UnpackedTooLarge);
    }
    Some(all)
}

/// Returns whether the data is one zlib stream and nothing else, or the start of one that is larger than the limit.
fn is_zlib(data: &[u8]) -> bool {
    let mut stream = Decompress::new(true);
    let mut unpacked = Vec::with_capacity(DECOMPRESS.limit_bytes + 1);
    let end = stream.decompress_vec(data, &mut unpacked, FlushDecompress::None);
    let is_large = unpacked.len() > DECOMPRESS.limit_bytes;
    is_large || matches!(end, Ok(Status::StreamEnd)) && stream.total_in() == data.len() as u64
}
