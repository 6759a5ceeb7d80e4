//! The throttling of a usage plan, a token bucket:
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html>.

use std::sync::Mutex;

use tokio::time::Instant;

use super::locked;

/// The rate limit of an API key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsagePlan {
    /// The steady rate, in calls per second; more than 0.
    pub rate: f64,
    /// The capacity of the token bucket, in calls; at least 1.
    pub burst: f64,
}

impl Default for UsagePlan {
    /// 20 calls per second with a burst of 100.
    fn default() -> Self {
        Self {
            rate: 20.0,
            burst: 100.0,
        }
    }
}

/// The token bucket of a plan. It starts full.
#[derive(Debug)]
pub(super) struct TokenBucket {
    plan: UsagePlan,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    updated: Instant,
}

impl TokenBucket {
    pub(super) fn new(plan: UsagePlan) -> Self {
        let level = Level {
            tokens: plan.burst,
            updated: Instant::now(),
        };
        Self {
            plan,
            level: Mutex::new(level),
        }
    }

    /// Takes a token if at least one is left. Returns whether it did.
    pub(super) fn try_take(&self) -> bool {
        let mut level = locked(&self.level);
        let now = Instant::now();
        let refilled = (now - level.updated).as_secs_f64() * self.plan.rate;
        let tokens = (level.tokens + refilled).min(self.plan.burst);
        let is_taken = tokens >= 1.0;
        *level = Level {
            tokens: if is_taken { tokens - 1.0 } else { tokens },
            updated: now,
        };
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    /// Takes all whole tokens and returns their number.
    fn take_all(bucket: &TokenBucket) -> usize {
        (0..1000).take_while(|_| bucket.try_take()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_starts_full_and_refills_at_its_rate_up_to_the_burst() {
        let bucket = TokenBucket::new(UsagePlan { rate: 4.0, burst: 10.0 });
        assert_eq!(take_all(&bucket), 10);
        advance(Duration::from_secs(1)).await;
        assert_eq!(take_all(&bucket), 4);
        advance(Duration::from_millis(125)).await;
        assert_eq!(take_all(&bucket), 0, "half a token is not enough");
        advance(Duration::from_millis(125)).await;
        assert_eq!(take_all(&bucket), 1, "a refused call takes no token");
        advance(Duration::from_mins(1)).await;
        assert_eq!(take_all(&bucket), 10);
    }
}
