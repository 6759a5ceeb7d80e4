//! The measurements of a bench and their presentation.
//!
//! ```text
//! round ─▶ quantity ─▶ table ─▶ terminal, JSON, report
//!   └────▶ timeline ─▶ figures (plot, axis) ─▶ report
//! ```
//!
//! A round measures one process of a function from its start. The process gets the batches one after the other and
//! calls an endpoint that is started for this round.

// In reading order. The empty lines stop rustfmt from sorting them.

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
