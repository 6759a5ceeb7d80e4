//! Generates card transactions: most are honest, some are clearly fraudulent. The same seed gives the same
//! transactions.
//!
//! They are spread evenly over one day of shopping. About one transaction in forty is fraud: an expensive order of gift
//! cards, electronics or jewellery, from abroad and through an anonymising proxy.

use std::net::Ipv4Addr;

use fastrand::Rng;

use crate::model::Transaction;

pub(crate) const DAY_S: u64 = 24 * 60 * 60;
const FRAUD_SHARE: f64 = 0.025;
const COUNTRIES: [&str; 6] = ["DE", "FR", "NL", "AT", "ES", "IT"];
/// The categories of honest transactions, each with a typical amount in euros.
const HONEST: [(&str, f64); 6] = [
    ("groceries", 40.0),
    ("restaurants", 35.0),
    ("fuel", 60.0),
    ("clothing", 70.0),
    ("electronics", 150.0),
    ("travel", 220.0),
];
const FRAUDULENT: [(&str, f64); 3] = [("gift_cards", 900.0), ("electronics", 1800.0), ("jewellery", 2600.0)];

/// Returns `count` transactions in the order of their time.
pub fn generate(count: u64, seed: u64) -> Vec<Transaction> {
    let mut rng = Rng::with_seed(seed);
    (0..count)
        .map(|number| transaction(&mut rng, number * DAY_S / count.max(1)))
        .collect()
}

fn transaction(rng: &mut Rng, second: u64) -> Transaction {
    let fraud = rng.f64() < FRAUD_SHARE;
    let (category, typical) = if fraud {
        pick(rng, &FRAUDULENT)
    } else {
        pick(rng, &HONEST)
    };
    let card_country = pick(rng, &COUNTRIES);
    let abroad = fraud || rng.f64() < 0.03;
    let country = if abroad { pick(rng, &COUNTRIES) } else { card_country };
    let network = if fraud {
        [203, 0, 113]
    } else {
        pick(rng, &[[192, 0, 2], [198, 51, 100]])
    };
    Transaction {
        time: time(second),
        amount: (typical * (0.2 + 1.6 * rng.f64()) * 100.0).round() / 100.0,
        merchant_category: category.to_owned(),
        country: country.to_owned(),
        card_country: card_country.to_owned(),
        source_address: Ipv4Addr::new(network[0], network[1], network[2], rng.u8(1..255)),
    }
}

/// Returns the time of this second of the sample day.
pub(crate) fn time(second: u64) -> String {
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("2026-03-14T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    *rng.choice(from).expect("the list is not empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    #[test]
    fn the_committed_sample_equals_the_generators_output() {
        let committed = include_str!("../../events/transactions.jsonl");
        let made: Vec<_> = generate(1000, 1)
            .iter()
            .map(|made| serde_json::to_string(made).unwrap())
            .collect();
        assert_eq!(committed.lines().collect::<Vec<_>>(), made);
    }

    #[test]
    fn some_of_the_sample_is_clearly_fraudulent() {
        let scores = generate(1000, 1)
            .into_iter()
            .map(|made| model::score(&serde_json::to_vec(&made).unwrap()).unwrap());
        let fraud = scores.filter(|score| score.fraud).count();
        assert!((10..=50).contains(&fraud), "{fraud}");
    }
}
