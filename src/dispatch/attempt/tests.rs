//! Tests of the preparation of attempts.

use std::num::NonZeroUsize;

use super::*;
use crate::endpoint::Call;

/// An endpoint that cannot be called: each preparation takes a second and fails, or hangs.
struct UnpreparedEndpoint {
    hangs: bool,
}

impl Endpoint for UnpreparedEndpoint {
    async fn prepare(&self) -> Result<(), Fault> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_secs(1)).await;
        Err(Fault::new(FaultKind::Unreachable, "STS is down"))
    }

    async fn invoke(&self, _: Call<'_>) -> Result<Response, Fault> {
        unreachable!("it is not prepared")
    }

    fn name(&self) -> &'static str {
        "unprepared"
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_time_a_preparation_returns_its_latest_fault() {
    for (hangs, expected) in [(false, "STS is down"), (true, "did not arrive before the deadline")] {
        let capacity = Capacity::new(NonZeroUsize::MIN, true);
        let invoker = Invoker::new(
            UnpreparedEndpoint { hangs },
            Duration::from_millis(400),
            capacity,
            AnswerMemory::new(usize::MAX),
        );
        let end = Instant::now() + Duration::from_secs(30);
        let fault = invoker.prepare(end).await.unwrap_err();
        assert_eq!((fault.kind, Instant::now()), (FaultKind::Unreachable, end));
        assert!(fault.summary.contains(expected), "{fault}");
    }
}
