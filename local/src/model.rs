//! The built-in model: a small logistic regression that scores card transactions for fraud.
//!
//! It adds up what speaks for fraud and turns the sum into a score between 0 and 1 by the logistic function,
//! `1 / (1 + e^-sum)`. The weights are made up, but each says what a person would look at:
//!
//! | what | adds | why |
//! |---|---|---|
//! | every transaction | −6 | most are honest: with nothing else, the score is 0.2 % |
//! | `amount` | 1.2 × log10(1 + amount) | a larger amount is worth the risk: 10 adds 1.2, 1,000 adds 3.6 |
//! | `merchant_category` | 0 to 2 | what is sold again easily: gift cards 2, jewellery 1.2, electronics 0.9 |
//! | `country` other than `card_country` | 1.8 | used abroad |
//! | `source_address` in 203.0.113.0/24 | 2.5 | here, the addresses of an anonymising proxy |
//! | `time` from 00:00 to 05:59 | 1 | the owner sleeps |

use std::fmt::Display;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

const HONEST: f64 = -6.0;
const PER_DIGIT_OF_AMOUNT: f64 = 1.2;
const CATEGORIES: [(&str, f64); 3] = [("gift_cards", 2.0), ("jewellery", 1.2), ("electronics", 0.9)];
const ABROAD: f64 = 1.8;
const PROXY: f64 = 2.5;
const NIGHT: f64 = 1.0;

/// From this score on, the model calls a transaction fraud.
const THRESHOLD: f64 = 0.5;

/// How many values a transaction has.
const COLUMNS: usize = 6;

/// A card transaction, as the model reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// When, in UTC: `2026-03-14T02:11:09Z`.
    pub time: String,
    /// How much, in euros.
    pub amount: f64,
    /// What the merchant sells.
    pub merchant_category: String,
    /// Where the card was used.
    pub country: String,
    /// Where the card was issued.
    pub card_country: String,
    /// Where the order came from.
    pub source_address: Ipv4Addr,
}

/// What the model says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// How likely it is fraud, 0 to 1, to four digits.
    pub score: f64,
    /// Whether the score is high enough to call it fraud.
    pub fraud: bool,
}

/// Scores a transaction in JSON: an object, or an array of its values in the order of [`Transaction`]'s fields.
///
/// # Errors
///
/// The message that goes with status 400: what is wrong with the body.
pub fn score(body: &[u8]) -> Result<Score, String> {
    let transaction = serde_json::from_slice(body).map_err(|error| format!("the body is no transaction: {error}"))?;
    judge(&transaction)
}

/// Scores a transaction as a row of CSV, its values in the order of [`Transaction`]'s fields.
///
/// # Errors
///
/// The message that goes with status 400: what is wrong with the row.
pub fn score_row(row: &[u8]) -> Result<Score, String> {
    let no_transaction = |why: &dyn Display| format!("the row is no transaction: {why}");
    let mut values = csv::StringRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row);
    let read = reader.read_record(&mut values);
    read.map_err(|error| no_transaction(&error))?;
    // More would be passed over.
    if values.len() != COLUMNS {
        return Err(no_transaction(&format!(
            "it has {} columns, not {COLUMNS}",
            values.len()
        )));
    }
    let transaction = values.deserialize(None).map_err(|error| no_transaction(&error))?;
    judge(&transaction)
}

fn judge(transaction: &Transaction) -> Result<Score, String> {
    let hour = hour(&transaction.time).ok_or_else(|| "time is not like 2026-03-14T02:11:09Z".to_owned())?;
    if !(transaction.amount.is_finite() && transaction.amount >= 0.0) {
        return Err("amount is not a number from 0 up".to_owned());
    }
    let probability = 1.0 / (1.0 + (-sum(transaction, hour)).exp());
    let score = (probability * 10_000.0).round() / 10_000.0;
    Ok(Score {
        score,
        fraud: score >= THRESHOLD,
    })
}

fn sum(transaction: &Transaction, hour: u8) -> f64 {
    let category = CATEGORIES
        .iter()
        .find(|(name, _)| *name == transaction.merchant_category);
    let when = |holds: bool, weight: f64| if holds { weight } else { 0.0 };
    HONEST
        + PER_DIGIT_OF_AMOUNT * (1.0 + transaction.amount).log10()
        + category.map_or(0.0, |(_, weight)| *weight)
        + when(transaction.country != transaction.card_country, ABROAD)
        + when(transaction.source_address.octets().starts_with(&[203, 0, 113]), PROXY)
        + when(hour < 6, NIGHT)
}

/// The hour of `2026-03-14T02:11:09Z`.
fn hour(time: &str) -> Option<u8> {
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
    fn what_is_no_transaction_is_refused_with_a_reason() {
        for (body, expected) in [
            (b"not json".to_vec(), "the body is no transaction"),
            (b"{\"amount\":1}".to_vec(), "missing field"),
            (body(|transaction| transaction.amount = -1.0), "amount is not a number"),
            (
                body(|transaction| transaction.time = "noon".to_owned()),
                "time is not like",
            ),
            (
                body(|transaction| transaction.time = "2026-03-14T24:00:00Z".to_owned()),
                "time is not like",
            ),
        ] {
            let message = score(&body).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
