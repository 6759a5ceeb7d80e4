//! What the function does with a batch, story by story, on a paused clock against a scripted endpoint.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

mod capacity;
mod delivery;
mod one_outcome;
mod sagemaker;
mod timeout;
