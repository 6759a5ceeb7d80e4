//! An HTTP response with any status.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tokio::time::timeout;

use crate::endpoint::Response;
use crate::endpoint::call_error::CallError;

/// The maximum size of a response body, in bytes. `InvokeEndpoint` returns no larger body. The limit also keeps an
/// endless response from using up the memory.
const RESPONSE_BODY_MAX: usize = 25 * 1024 * 1024;
/// The maximum number of bytes read of an error response.
const ERROR_BODY_MAX: usize = 1024 * 1024;
/// The maximum time for reading the body of an error response.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// An HTTP response whose body has been read.
#[derive(Debug)]
pub(in crate::endpoint) struct HttpAnswer {
    pub(in crate::endpoint) status: u16,
    headers: Headers,
    /// The body. Of an error response, up to [`ERROR_BODY_MAX`] bytes.
    pub(in crate::endpoint) body: Bytes,
}

/// The error code in the body, where AWS's JSON protocols put it if no header contains it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<String>,
    #[serde(rename = "__type")]
    kind: Option<String>,
}

impl HttpAnswer {
    pub(super) async fn read(mut response: HttpResponse) -> Result<Self, CallError> {
        let is_success = response.status().is_success();
        let headers = std::mem::take(response.headers_mut());
        let status = response.status().as_u16();
        let body = ByteStream::new(response.into_body());
        let body = if is_success {
            read_whole(body).await?
        } else {
            read_beginning(body).await
        };
        Ok(Self { status, headers, body })
    }

    pub(in crate::endpoint) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(in crate::endpoint) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Returns the AWS error code from the header `x-amzn-errortype` or the body. Returns an empty string without one.
    pub(in crate::endpoint) fn error_code(&self) -> String {
        let code = self.header("x-amzn-errortype").map(ToOwned::to_owned).or_else(|| {
            let error: ErrorBody = serde_json::from_slice(&self.body).unwrap_or_default();
            error.code.or(error.kind)
        });
        let code = code.unwrap_or_default();
        // AWS's JSON protocols allow `com.amazonaws…#ValidationError:http://…`.
        let code = code.split(':').next().unwrap_or_default();
        code.rsplit('#').next().unwrap_or_default().to_owned()
    }

    /// Returns whether the service rejected the credentials as expired.
    pub(super) fn has_expired_credentials(&self) -> bool {
        !self.is_success() && ["ExpiredToken", "ExpiredTokenException"].contains(&&*self.error_code())
    }

    /// Returns whether the endpoint may have rejected the API key.
    pub(super) fn is_key_rejection(&self) -> bool {
        [401, 403].contains(&self.status)
    }

    /// Converts this into the response of the model.
    pub(in crate::endpoint) fn into_response(self) -> Response {
        let header = |name: &str| self.header(name).map(ToOwned::to_owned);
        Response {
            content_type: header("content-type"),
            variant: header("x-amzn-invoked-production-variant"),
            body: self.body,
        }
    }
}

async fn read_whole(mut body: ByteStream) -> Result<Bytes, CallError> {
    let mut next = async || body.try_next().await.map_err(|_| CallError::Unreadable);
    let Some(mut first) = next().await? else {
        return Ok(Bytes::new());
    };
    // Most bodies arrive in one piece, which is not copied.
    let mut buffer = None::<BytesMut>;
    while let Some(piece) = next().await? {
        let buffer = buffer.get_or_insert_with(|| BytesMut::from(std::mem::take(&mut first)));
        buffer.extend_from_slice(&piece);
        if buffer.len() > RESPONSE_BODY_MAX {
            return Err(CallError::TooLarge(RESPONSE_BODY_MAX));
        }
    }
    let buffer = buffer.map_or(first, BytesMut::freeze);
    (buffer.len() <= RESPONSE_BODY_MAX)
        .then_some(buffer)
        .ok_or(CallError::TooLarge(RESPONSE_BODY_MAX))
}

/// Reads as much of an error body as arrives in time. An incomplete body is not an error, since the status is known.
async fn read_beginning(mut body: ByteStream) -> Bytes {
    let mut buffer = BytesMut::new();
    let read = async {
        while buffer.len() < ERROR_BODY_MAX
            && let Ok(Some(piece)) = body.try_next().await
        {
            buffer.extend_from_slice(&piece);
        }
    };
    _ = timeout(ERROR_BODY_TIMEOUT, read).await;
    buffer.truncate(ERROR_BODY_MAX);
    buffer.freeze()
}
