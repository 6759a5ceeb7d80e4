//! What the function does with a batch, story by story, on a paused clock against a scripted endpoint.

mod support;

mod capacity;
mod delivery;
mod one_outcome;
mod timeout;
