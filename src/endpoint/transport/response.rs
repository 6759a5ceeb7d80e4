//! What came back, whatever its status.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tokio::time::timeout;

use crate::endpoint::Response;
use crate::endpoint::call_error::CallError;

/// The largest answer that is read, in bytes: `InvokeEndpoint` gives no larger one, and a server that never ends must not
/// take the memory of all others.
const ANSWER_MAX: usize = 25 * 1024 * 1024;
/// And how much of an answer that tells of an error.
const ERROR_MAX: usize = 1024 * 1024;
/// And how long that is waited for.
const ERROR_WAIT_MAX: Duration = Duration::from_secs(1);

/// An answer.
#[derive(Debug)]
pub(in crate::endpoint) struct Answer {
    pub(in crate::endpoint) status: u16,
    headers: Headers,
    /// Of one that tells of an error, the beginning.
    pub(in crate::endpoint) body: Bytes,
}

/// Where AWS's protocols for JSON have the code of an error, if not in a header.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    code: Option<String>,
    #[serde(rename = "__type")]
    kind: Option<String>,
}

impl Answer {
    pub(super) async fn read(mut answer: HttpResponse) -> Result<Self, CallError> {
        let is_success = answer.status().is_success();
        let headers = std::mem::take(answer.headers_mut());
        let status = answer.status().as_u16();
        let body = ByteStream::new(answer.into_body());
        let body = if is_success {
            whole(body).await?
        } else {
            beginning(body).await
        };
        Ok(Self { status, headers, body })
    }

    pub(in crate::endpoint) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(in crate::endpoint) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The name of AWS's error, by its header `x-amzn-errortype` or its body; empty where it has none.
    pub(in crate::endpoint) fn error_code(&self) -> String {
        let code = self.header("x-amzn-errortype").map(ToOwned::to_owned).or_else(|| {
            let said: Said = serde_json::from_slice(&self.body).unwrap_or_default();
            said.code.or(said.kind)
        });
        let code = code.unwrap_or_default();
        // `com.amazonaws…#ValidationError:http://…`, as AWS's protocols for JSON have it.
        let code = code.split(':').next().unwrap_or_default();
        code.rsplit('#').next().unwrap_or_default().to_owned()
    }

    /// Whether the service finds the credentials expired, which new ones settle.
    pub(super) fn has_expired_credentials(&self) -> bool {
        !self.is_success() && ["ExpiredToken", "ExpiredTokenException"].contains(&&*self.error_code())
    }

    /// Whether it may be for want of the right key.
    pub(super) fn rejects_a_key(&self) -> bool {
        [401, 403].contains(&self.status)
    }

    /// What the model said.
    pub(in crate::endpoint) fn into_response(self) -> Response {
        let header = |name: &str| self.header(name).map(ToOwned::to_owned);
        Response {
            content_type: header("content-type"),
            variant: header("x-amzn-invoked-production-variant"),
            body: self.body,
        }
    }
}

async fn whole(mut body: ByteStream) -> Result<Bytes, CallError> {
    let mut next = async || body.try_next().await.map_err(|_| CallError::Unreadable);
    let Some(mut first) = next().await? else {
        return Ok(Bytes::new());
    };
    // Mostly it comes in one piece, which is not copied.
    let mut all = None::<BytesMut>;
    while let Some(piece) = next().await? {
        let all = all.get_or_insert_with(|| BytesMut::from(std::mem::take(&mut first)));
        all.extend_from_slice(&piece);
        if all.len() > ANSWER_MAX {
            return Err(CallError::TooLarge(ANSWER_MAX));
        }
    }
    let all = all.map_or(first, BytesMut::freeze);
    (all.len() <= ANSWER_MAX)
        .then_some(all)
        .ok_or(CallError::TooLarge(ANSWER_MAX))
}

/// As much as comes: the status has said the rest.
async fn beginning(mut body: ByteStream) -> Bytes {
    let mut all = BytesMut::new();
    let read = async {
        while all.len() < ERROR_MAX
            && let Ok(Some(piece)) = body.try_next().await
        {
            all.extend_from_slice(&piece);
        }
    };
    _ = timeout(ERROR_WAIT_MAX, read).await;
    all.truncate(ERROR_MAX);
    all.freeze()
}
