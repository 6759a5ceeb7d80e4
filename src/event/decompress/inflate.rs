//! Decompresses gzip members (RFC 1952) and zlib streams (RFC 1950).
//!
//! A record is short, so that a new decoder would cost more than the decompression: its tables and its window take
//! about 40 KB. So each thread has one decoder for all records. It decompresses a whole stream from memory to memory
//! and needs no window. `flate2` has no gzip decoder that can be used again, so the header and the trailer of a member
//! are read here.

use std::cell::RefCell;
use std::io;

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// The first bytes of a gzip member: its two magic bytes, and the only compression method that is defined.
pub(super) const GZIP_MAGIC: &[u8] = &[0x1F, 0x8B, 8];
/// The flags of a member's header: a checksum of the header, and an extra field, a file name and a comment in it.
const HAS_HEADER_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA_FIELD: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
/// The flags that are not defined.
const RESERVED: u8 = 0b1110_0000;
/// The length of a buffer for the first decompressed bytes. Most records fit, so that they are decompressed at once.
const FIRST_BUFFER_BYTES: usize = 1024;

thread_local! {
    static DECODER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Decompresses all gzip members of `data`, but at most one byte more than `max`.
pub(super) fn gunzip(mut data: &[u8], max: usize, decompressed: &mut Vec<u8>) -> io::Result<()> {
    while decompressed.len() <= max && !data.is_empty() {
        skip_header(&mut data)?;
        let start = decompressed.len();
        inflate(&mut data, false, max, decompressed)?;
        if decompressed.len() <= max {
            let mut checksum = Crc::new();
            checksum.update(decompressed.get(start..).unwrap_or_default());
            let trailer = [checksum.sum(), checksum.amount()].map(u32::to_le_bytes);
            if take::<8>(&mut data)? != trailer.as_flattened() {
                return Err(broken("its checksum is wrong"));
            }
        }
    }
    Ok(())
}

/// Decompresses the zlib stream that all of `data` is, but at most one byte more than `max`.
pub(super) fn inflate_zlib(mut data: &[u8], max: usize, decompressed: &mut Vec<u8>) -> io::Result<()> {
    inflate(&mut data, true, max, decompressed)?;
    if data.is_empty() {
        Ok(())
    } else {
        Err(broken("other bytes follow it"))
    }
}

/// Decompresses the deflate stream that `data` begins with, but at most one byte more than `max`. Leaves the rest.
fn inflate(data: &mut &[u8], has_zlib_header: bool, max: usize, decompressed: &mut Vec<u8>) -> io::Result<()> {
    DECODER.with_borrow_mut(|decoder| {
        decoder.reset(has_zlib_header);
        loop {
            if decompressed.len() == decompressed.capacity() {
                let more = decompressed.len().max(FIRST_BUFFER_BYTES);
                decompressed.reserve_exact(more.min(max.saturating_add(1) - decompressed.len()));
            }
            let read_before = decoder.total_in();
            let status = decoder.decompress_vec(data, decompressed, FlushDecompress::Finish)?;
            let read = usize::try_from(decoder.total_in() - read_before).unwrap_or(usize::MAX);
            *data = data.get(read..).unwrap_or_default();
            match status {
                Status::StreamEnd => return Ok(()),
                Status::Ok | Status::BufError if decompressed.len() > max => return Ok(()),
                Status::Ok | Status::BufError if decompressed.len() < decompressed.capacity() => {
                    return Err(truncated());
                }
                Status::Ok | Status::BufError => {}
            }
        }
    })
}

/// Skips the header of a gzip member.
fn skip_header(data: &mut &[u8]) -> io::Result<()> {
    let start = *data;
    let [fixed @ .., _, _, _, _, _, _] = take::<10>(data)?;
    let [magic @ .., flags] = fixed;
    if magic != GZIP_MAGIC || flags & RESERVED != 0 {
        return Err(broken("it does not begin with a gzip header"));
    }
    if flags & HAS_EXTRA_FIELD != 0 {
        let length = u16::from_le_bytes(take(data)?);
        *data = data.get(usize::from(length)..).ok_or_else(truncated)?;
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            let end = memchr::memchr(0, data).ok_or_else(truncated)?;
            *data = data.get(end + 1..).unwrap_or_default();
        }
    }
    if flags & HAS_HEADER_CHECKSUM != 0 {
        let mut checksum = Crc::new();
        checksum.update(start.get(..start.len() - data.len()).unwrap_or_default());
        if u32::from(u16::from_le_bytes(take(data)?)) != checksum.sum() & 0xFFFF {
            return Err(broken("the checksum of its header is wrong"));
        }
    }
    Ok(())
}

/// Takes the first bytes of the data.
fn take<const N: usize>(data: &mut &[u8]) -> io::Result<[u8; N]> {
    let (first, rest) = data.split_first_chunk().ok_or_else(truncated)?;
    *data = rest;
    Ok(*first)
}

fn truncated() -> io::Error {
    broken("it is truncated")
}

fn broken(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
