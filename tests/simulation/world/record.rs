//! The records of a stream.

use super::dice::Dice;
use super::failure::Failure;
use crate::logs::MARKER;

/// A record of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) kind: RecordKind,
    /// The number of the model that the record names, if records name models.
    pub(crate) model: Option<usize>,
}

/// The endpoint's treatment of a record while the endpoint is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Every call is answered.
    Good,
    /// Every call fails in this way.
    Poison(Failure),
    /// The given number of calls fail, later ones are answered.
    Flaky(u32, Failure),
    /// The record names a model that does not exist.
    NamesMissingModel,
}

/// The name of the model that does not exist.
pub(crate) const MISSING_MODEL: &str = "missing";

impl Record {
    /// Returns the record's data, which is also its name.
    pub(crate) fn name(self, shard: usize, number: usize) -> String {
        let model = match (self.kind, self.model) {
            (RecordKind::NamesMissingModel, _) => format!(",{MISSING_MODEL}"),
            (_, Some(model)) => format!(",model-{model}"),
            (_, None) => String::new(),
        };
        format!("{MARKER}{shard}-{number}{model}")
    }
}

/// Returns the shard and the number of the record with this name.
pub(crate) fn shard_and_number(name: &str) -> (usize, usize) {
    let id = name.split(',').next().unwrap().strip_prefix(MARKER).unwrap();
    let (shard, number) = id.split_once('-').unwrap();
    (shard.parse().unwrap(), number.parse().unwrap())
}

/// Returns the number of the model with this name.
pub(crate) fn model_number(name: &str) -> Option<usize> {
    name.strip_prefix("model-")?.parse().ok()
}

impl Dice {
    /// Returns a record for a stream whose records name this number of models. If `is_healthy`, no record fails. If
    /// `is_plain`, a record fails only in ways of poison.
    pub(super) fn record(&mut self, models: usize, is_healthy: bool, is_plain: bool) -> Record {
        let kind = match self.0.u32(..100) {
            _ if is_healthy => RecordKind::Good,
            0..7 => RecordKind::Poison(self.poison()),
            7..12 if models > 0 => RecordKind::NamesMissingModel,
            12..22 if is_plain => RecordKind::Flaky(self.0.u32(1..6), self.poison()),
            12..22 => RecordKind::Flaky(self.0.u32(1..6), self.hiccup()),
            _ => RecordKind::Good,
        };
        let model = (models > 0).then(|| self.0.usize(..models));
        Record { kind, model }
    }
}
