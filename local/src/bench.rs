//! What a bench measures, and how it is shown.
//!
//! ```text
//! round ─▶ quantity ─▶ table ─▶ terminal, JSON, report
//!   └────▶ timeline ─▶ figures (plot, axis) ─▶ report
//! ```
//!
//! A round is one process of a function, from its start, and one stream of batches, one after the other, against an
//! endpoint of the round's own.

// In reading order; the empty lines keep rustfmt from sorting them.

pub(crate) mod candidate;

pub mod round;

pub mod process;

pub mod timeline;

pub mod statistics;

pub mod quantity;

pub mod comparison;

pub mod table;

pub mod report;

mod figures;

mod plot;

mod axis;
