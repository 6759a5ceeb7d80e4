//! The built-in model: a small logistic regression that scores card transactions for fraud.
//!
//! It adds up the signs of fraud and turns the sum into a score between 0 and 1 with the logistic function,
//! `1 / (1 + e^-sum)`. The weights are made up, but a person would look at the same signs:
//!
//! | sign | adds | why |
//! |---|---|---|
//! | every transaction | −6 | most are honest: with nothing else, the score is 0.2 % |
//! | `amount` | 1.2 × log10(1 + amount) | a larger amount is worth the risk: 10 adds 1.2, 1,000 adds 3.6 |
//! | `merchant_category` | 0 to 2 | easy to resell: gift cards 2, jewellery 1.2, electronics 0.9 |
//! | `country` other than `card_country` | 1.8 | the card is used abroad |
//! | `source_address` in 203.0.113.0/24 | 2.5 | in this model, the addresses of an anonymising proxy |
//! | `time` from 00:00 to 05:59 | 1 | the owner sleeps |

use std::fmt::Display;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

const INTERCEPT: f64 = -6.0;
const WEIGHT_PER_AMOUNT_DIGIT: f64 = 1.2;
const CATEGORY_WEIGHTS: [(&str, f64); 3] = [("gift_cards", 2.0), ("jewellery", 1.2), ("electronics", 0.9)];
const ABROAD_WEIGHT: f64 = 1.8;
const PROXY_WEIGHT: f64 = 2.5;
const NIGHT_WEIGHT: f64 = 1.0;

/// The lowest score that the model classifies as fraud.
const FRAUD_THRESHOLD: f64 = 0.5;

/// The number of values in a transaction.
const COLUMN_COUNT: usize = 6;

/// A card transaction, the model's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// The time in UTC, such as `2026-03-14T02:11:09Z`.
    pub time: String,
    /// The amount in euros.
    pub amount: f64,
    /// The category of goods that the merchant sells.
    pub merchant_category: String,
    /// The country in which the card was used.
    pub country: String,
    /// The country in which the card was issued.
    pub card_country: String,
    /// The IP address that the order came from.
    pub source_address: Ipv4Addr,
}

/// The model's prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// The probability of fraud, from 0 to 1, rounded to four digits.
    pub score: f64,
    /// Whether the score is high enough to classify the transaction as fraud.
    pub fraud: bool,
}

/// Scores a transaction in JSON: an object, or an array of its values in the order of [`Transaction`]'s fields.
///
/// # Errors
///
/// The message for a response with status 400: the error in the body.
pub fn score(body: &[u8]) -> Result<Score, String> {
    let transaction =
        serde_json::from_slice(body).map_err(|error| format!("the body is not a transaction: {error}"))?;
    score_transaction(&transaction)
}

/// Scores a transaction in a CSV row, with its values in the order of [`Transaction`]'s fields.
///
/// # Errors
///
/// The message for a response with status 400: the error in the row.
pub fn score_row(row: &[u8]) -> Result<Score, String> {
    let not_a_transaction = |why: &dyn Display| format!("the row is not a transaction: {why}");
    let mut values = csv::StringRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row);
    let read = reader.read_record(&mut values);
    read.map_err(|error| not_a_transaction(&error))?;
    // Deserialization would ignore further columns.
    if values.len() != COLUMN_COUNT {
        return Err(not_a_transaction(&format!(
            "it has {} columns, not {COLUMN_COUNT}",
            values.len()
        )));
    }
    let transaction = values.deserialize(None).map_err(|error| not_a_transaction(&error))?;
    score_transaction(&transaction)
}

fn score_transaction(transaction: &Transaction) -> Result<Score, String> {
    let hour = hour(&transaction.time).ok_or_else(|| "time must have the form 2026-03-14T02:11:09Z".to_owned())?;
    if !(transaction.amount.is_finite() && transaction.amount >= 0.0) {
        return Err("amount must be a number of at least 0".to_owned());
    }
    let probability = 1.0 / (1.0 + (-sum_of_signs(transaction, hour)).exp());
    let score = (probability * 10_000.0).round() / 10_000.0;
    Ok(Score {
        score,
        fraud: score >= FRAUD_THRESHOLD,
    })
}

fn sum_of_signs(transaction: &Transaction, hour: u8) -> f64 {
    let category = CATEGORY_WEIGHTS
        .iter()
        .find(|(name, _)| *name == transaction.merchant_category);
    let weight_if = |holds: bool, weight: f64| if holds { weight } else { 0.0 };
    INTERCEPT
        + WEIGHT_PER_AMOUNT_DIGIT * (1.0 + transaction.amount).log10()
        + category.map_or(0.0, |(_, weight)| *weight)
        + weight_if(transaction.country != transaction.card_country, ABROAD_WEIGHT)
        + weight_if(
            transaction.source_address.octets().starts_with(&[203, 0, 113]),
            PROXY_WEIGHT,
        )
        + weight_if(hour < 6, NIGHT_WEIGHT)
}

/// Parses the hour of a time such as `2026-03-14T02:11:09Z`.
pub(crate) fn hour(time: &str) -> Option<u8> {
    let hour = time.split_once('T')?.1.get(..2)?.parse().ok()?;
    (hour < 24).then_some(hour)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(change: impl FnOnce(&mut Transaction)) -> Vec<u8> {
        let mut transaction = Transaction {
            time: "2026-03-14T12:00:00Z".to_owned(),
            amount: 9.0,
            merchant_category: "groceries".to_owned(),
            country: "DE".to_owned(),
            card_country: "DE".to_owned(),
            source_address: Ipv4Addr::new(192, 0, 2, 1),
        };
        change(&mut transaction);
        serde_json::to_vec(&transaction).unwrap()
    }

    #[test]
    fn each_sign_of_fraud_raises_the_score() {
        let honest = score(&body(|_| ())).unwrap();
        // −6 + 1.2 × log10(10) = −4.8
        assert_eq!(
            honest,
            Score {
                score: 0.0082,
                fraud: false
            }
        );
        let signs: [fn(&mut Transaction); 5] = [
            |transaction| transaction.amount = 900.0,
            |transaction| transaction.merchant_category = "gift_cards".to_owned(),
            |transaction| transaction.country = "FR".to_owned(),
            |transaction| transaction.source_address = Ipv4Addr::new(203, 0, 113, 9),
            |transaction| transaction.time = "2026-03-14T03:00:00Z".to_owned(),
        ];
        for sign in signs {
            assert!(score(&body(sign)).unwrap().score > honest.score);
        }
        assert!(
            score(&body(|transaction| signs.iter().for_each(|sign| sign(transaction))))
                .unwrap()
                .fraud
        );
    }

    #[test]
    fn an_invalid_transaction_is_refused_with_a_reason() {
        for (body, expected) in [
            (b"not json".to_vec(), "the body is not a transaction"),
            (b"{\"amount\":1}".to_vec(), "missing field"),
            (body(|transaction| transaction.amount = -1.0), "amount must be a number"),
            (
                body(|transaction| transaction.time = "noon".to_owned()),
                "time must have the form",
            ),
            (
                body(|transaction| transaction.time = "2026-03-14T24:00:00Z".to_owned()),
                "time must have the form",
            ),
        ] {
            let message = score(&body).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
