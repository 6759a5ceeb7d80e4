//! A usage plan's throttle, which is a token bucket:
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html>.

use std::sync::Mutex;

use tokio::time::Instant;

use super::locked;

/// How many calls a key may make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsagePlan {
    /// Calls a second in the long run, more than 0.
    pub rate: f64,
    /// Calls at once after a time with few, 1 at least.
    pub burst: f64,
}

impl Default for UsagePlan {
    /// 20 calls a second, 100 at once.
    fn default() -> Self {
        Self {
            rate: 20.0,
            burst: 100.0,
        }
    }
}

/// The tokens of a plan, full to begin with.
#[derive(Debug)]
pub(super) struct Bucket {
    plan: UsagePlan,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(plan: UsagePlan) -> Self {
        let level = Level {
            tokens: plan.burst,
            at: Instant::now(),
        };
        Self {
            plan,
            level: Mutex::new(level),
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&self) -> bool {
        let mut level = locked(&self.level);
        let now = Instant::now();
        let new = (now - level.at).as_secs_f64() * self.plan.rate;
        let tokens = (level.tokens + new).min(self.plan.burst);
        let is_taken = tokens >= 1.0;
        *level = Level {
            tokens: if is_taken { tokens - 1.0 } else { tokens },
            at: now,
        };
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    /// How many can be taken now.
    fn taken(bucket: &Bucket) -> usize {
        (0..1000).take_while(|_| bucket.take()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_full_to_begin_with_and_fills_at_its_rate_up_to_the_burst() {
        let bucket = Bucket::new(UsagePlan { rate: 4.0, burst: 10.0 });
        assert_eq!(taken(&bucket), 10);
        advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&bucket), 4);
        advance(Duration::from_millis(125)).await;
        assert_eq!(taken(&bucket), 0, "half a token");
        advance(Duration::from_millis(125)).await;
        assert_eq!(taken(&bucket), 1, "whoever is refused takes nothing");
        advance(Duration::from_mins(1)).await;
        assert_eq!(taken(&bucket), 10);
    }
}
