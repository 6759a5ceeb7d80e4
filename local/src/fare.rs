//! The second built-in model: the expected fare of a ride, by its distance, its time and the number of passengers.
//!
//! The tariff is made up: a price to start with and one for each kilometre, a quarter more from 22:00 to 05:59, and a
//! fixed price for a van, which more than four passengers need.

use serde::{Deserialize, Serialize};

use crate::model::hour;

const START: f64 = 3.0;
const PER_KM: f64 = 1.7;
const NIGHT_FACTOR: f64 = 1.25;
const VAN: f64 = 4.0;
const CAR_PASSENGERS: u8 = 4;

/// A request for a ride, the model's input.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Ride {
    /// The distance in kilometres.
    distance_km: f64,
    /// The time in UTC, such as `2026-03-14T02:11:09Z`.
    time: String,
    passengers: u8,
}

/// The model's prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fare {
    /// The expected fare in euros, rounded to cents.
    pub fare: f64,
}

/// Returns whether a record in JSON is a ride, and not a transaction.
pub fn is_ride(record: &[u8]) -> bool {
    memchr::memmem::find(record, b"\"distance_km\"").is_some()
}

/// Predicts the fare of a ride in JSON.
///
/// # Errors
///
/// The message for a response with status 400: the error in the record.
pub fn fare(record: &[u8]) -> Result<Fare, String> {
    let ride: Ride = serde_json::from_slice(record).map_err(|error| format!("the record is not a ride: {error}"))?;
    let hour = hour(&ride.time).ok_or_else(|| "time must have the form 2026-03-14T02:11:09Z".to_owned())?;
    if !(ride.distance_km.is_finite() && ride.distance_km >= 0.0) {
        return Err("distance_km must be a number of at least 0".to_owned());
    }
    let is_night = !(6..22).contains(&hour);
    let by_distance = (START + PER_KM * ride.distance_km) * if is_night { NIGHT_FACTOR } else { 1.0 };
    let fare = by_distance + if ride.passengers > CAR_PASSENGERS { VAN } else { 0.0 };
    Ok(Fare {
        fare: (fare * 100.0).round() / 100.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fare_of(distance_km: &str, time: &str, passengers: u8) -> Result<f64, String> {
        let record = format!(r#"{{"distance_km":{distance_km},"time":"{time}","passengers":{passengers}}}"#);
        assert!(is_ride(record.as_bytes()));
        fare(record.as_bytes()).map(|fare| fare.fare)
    }

    #[test]
    fn distance_night_and_a_van_raise_the_fare() {
        let [noon, night] = ["2026-03-14T12:00:00Z", "2026-03-14T23:00:00Z"];
        assert_eq!(fare_of("10", noon, 1), Ok(20.0));
        assert_eq!(fare_of("10", night, 4), Ok(25.0));
        assert_eq!(fare_of("10", night, 5), Ok(29.0));
    }

    #[test]
    fn an_invalid_ride_is_refused_with_a_reason() {
        for (ride, expected) in [
            (fare_of("-1", "2026-03-14T12:00:00Z", 1), "distance_km must be"),
            (fare_of("1", "noon", 1), "time must have the form"),
            (
                fare_of("\"far\"", "2026-03-14T12:00:00Z", 1),
                "the record is not a ride",
            ),
        ] {
            let message = ride.unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
