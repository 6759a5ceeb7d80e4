//! Properties that must hold for any untrusted bytes, one module for each fuzzer. `tests/corpora.rs` also checks them,
//! with the inputs that the fuzzers have found.

#![allow(dead_code, reason = "each fuzzer uses one of the modules")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use instream::event::DecompressOptions;

pub(crate) mod answer;
pub(crate) mod compression;
pub(crate) mod event;
pub(crate) mod kpl;
pub(crate) mod pattern;
pub(crate) mod split;

const DECOMPRESS: DecompressOptions = DecompressOptions {
    enabled: true,
    limit_bytes: 65_536,
};

/// Runs a future that waits for nothing, but may yield.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}
