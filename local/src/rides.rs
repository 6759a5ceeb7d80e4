//! Generates the events of taxi trips: ride requests among starts, positions and ends of rides. The same seed gives the
//! same events.

use fastrand::Rng;
use serde::Serialize;

use crate::transactions::{DAY_S, time};

/// The share of rides to the airport and other places far away.
const FAR_SHARE: f64 = 0.06;

/// An event of a trip.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum TripEvent {
    RideRequest {
        ride_request_id: String,
        time: String,
        distance_km: f64,
        passengers: u8,
    },
    RideStart {
        ride_request_id: String,
        time: String,
        vehicle_id: u16,
    },
    Position {
        time: String,
        vehicle_id: u16,
        latitude: f64,
        longitude: f64,
    },
    RideEnd {
        ride_request_id: String,
        time: String,
        vehicle_id: u16,
    },
}

/// Returns `count` events in the order of their time, spread evenly over one day.
pub fn generate(count: u64, seed: u64) -> Vec<TripEvent> {
    let mut rng = Rng::with_seed(seed);
    (0..count)
        .map(|number| trip_event(&mut rng, number * DAY_S / count.max(1)))
        .collect()
}

fn trip_event(rng: &mut Rng, second: u64) -> TripEvent {
    let time = time(second);
    let ride_request_id = format!("r-{:06}", rng.u32(..1_000_000));
    let vehicle_id = rng.u16(1..500);
    match rng.u8(..6) {
        0 | 1 => TripEvent::RideRequest {
            ride_request_id,
            time,
            distance_km: distance_km(rng),
            passengers: rng.u8(1..=6),
        },
        2 => TripEvent::RideStart {
            ride_request_id,
            time,
            vehicle_id,
        },
        3 => TripEvent::RideEnd {
            ride_request_id,
            time,
            vehicle_id,
        },
        _ => TripEvent::Position {
            time,
            vehicle_id,
            latitude: round(52.4 + 0.2 * rng.f64(), 10_000.0),
            longitude: round(13.2 + 0.4 * rng.f64(), 10_000.0),
        },
    }
}

fn distance_km(rng: &mut Rng) -> f64 {
    let (least, most) = if rng.f64() < FAR_SHARE {
        (30.0, 60.0)
    } else {
        (0.8, 14.0)
    };
    round(least + (most - least) * rng.f64(), 10.0)
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_sample_equals_the_generators_output() {
        let committed = include_str!("../../events/rides.jsonl");
        let made: Vec<_> = generate(240, 1)
            .iter()
            .map(|made| serde_json::to_string(made).unwrap())
            .collect();
        assert_eq!(committed.lines().collect::<Vec<_>>(), made);
    }
}
