//! The ingredients of a run, by which runs are counted.

use super::{Failure, Random, RecordKind, World};

/// The number of ingredients.
pub(crate) const INGREDIENTS: usize = 20;

impl World {
    /// Returns the names of the ingredients that this run has.
    pub(crate) fn ingredients(&self) -> Vec<&'static str> {
        let weather = &self.weather;
        let has =
            |is_kind: &dyn Fn(RecordKind) -> bool| self.shards.iter().flatten().any(|record| is_kind(record.kind));
        let has_outage =
            |is_failure: &dyn Fn(Failure) -> bool| weather.outages.iter().any(|(_, failure)| is_failure(*failure));
        let give_up = self.settings["GIVE_UP_AFTER_S"].as_str();
        let all: [_; INGREDIENTS] = [
            ("missing models", has(&|kind| kind == RecordKind::NamesMissingModel)),
            (
                "poison 4xx",
                has(&|kind| matches!(kind, RecordKind::Poison(failure) if failure.is_refusal())),
            ),
            (
                "poison other",
                has(&|kind| matches!(kind, RecordKind::Poison(failure) if !failure.is_refusal())),
            ),
            ("flaky", has(&|kind| matches!(kind, RecordKind::Flaky(..)))),
            ("outage 4xx", has_outage(&|failure| failure.is_refusal())),
            ("outage other", has_outage(&|failure| !failure.is_refusal())),
            ("half broken", matches!(weather.random, Random::HalfBroken(_))),
            ("throttling", matches!(weather.random, Random::Throttling(..))),
            ("rare faults", matches!(weather.random, Random::Rare(_))),
            ("model outage", weather.model_outage.is_some()),
            ("lone row", weather.lone_row.is_some()),
            ("credentials", !weather.credentials.is_perfect()),
            ("freezes", weather.freezes > 0.0),
            ("perfect weather", weather.is_perfect()),
            ("output refuses", self.output_refuses.is_some()),
            ("multi record", self.records_per_request > 1),
            ("url", !self.is_sagemaker),
            ("give up 0", give_up == "0"),
            ("give up 1", give_up == "1"),
            ("give up 10", give_up == "10"),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
}
