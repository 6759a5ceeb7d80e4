//! An HTTP response with any status, and the rule for a whole response.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use http::HeaderName;
use http::header::{CONTENT_ENCODING, TRANSFER_ENCODING};
use http_body::Body as _;
use serde::Deserialize;
use tokio::time::timeout;

use crate::endpoint::Response;
use crate::endpoint::call_error::CallError;
use crate::outcome::{AnswerReservation, NoRoom};

/// The maximum size of a response body, in bytes. `InvokeEndpoint` returns no larger body. The limit also keeps an
/// endless response from using up the memory.
const RESPONSE_BODY_MAX: usize = 25 * 1024 * 1024;
/// The maximum number of bytes read of an error response.
const ERROR_BODY_MAX: usize = 1024 * 1024;
/// The maximum length of the custom attributes of a response, in characters. `SageMaker` allows no longer ones:
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html>. A longer value is cut.
const CUSTOM_ATTRIBUTES_CHARS_MAX: usize = 1024;
/// The maximum time for reading the body of an error response.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// The header in which AWS services send an error code.
static ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// The content codings that a log may name. Other values of the header may be any text.
const CONTENT_CODINGS: [&str; 7] = ["br", "compress", "deflate", "gzip", "utf-8", "x-gzip", "zstd"];

/// An HTTP response whose body has been read.
#[derive(Debug)]
pub(in crate::endpoint) struct HttpAnswer {
    pub(in crate::endpoint) status: u16,
    headers: Headers,
    /// True if the model answered with a prediction. Its whole body has been read.
    pub(in crate::endpoint) is_prediction: bool,
    /// The body. Unless it is a prediction, up to [`ERROR_BODY_MAX`] bytes.
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
    /// Reads a response. It is a prediction if it has one of `prediction_statuses` and no AWS error code.
    ///
    /// # Errors
    ///
    /// [`CallError`] if it would be a prediction, but its body is compressed, too large or not whole, or there is no
    /// room for it in `memory`.
    pub(super) async fn read(
        mut response: HttpResponse,
        prediction_statuses: &[u16],
        memory: Option<&AnswerReservation>,
    ) -> Result<Self, CallError> {
        let headers = std::mem::take(response.headers_mut());
        let status = response.status().as_u16();
        let body = response.into_body();
        let is_prediction =
            prediction_statuses.contains(&status) && headers.get_all_bytes_by_name(&ERROR_TYPE).next().is_none();
        let body = if is_prediction {
            reject_content_coding(&headers)?;
            read_whole(body, &headers, memory).await?
        } else {
            read_beginning(body).await
        };
        Ok(Self {
            status,
            headers,
            is_prediction,
            body,
        })
    }

    /// Returns the error that a response of the SDK is, whose body has been read.
    #[cfg(feature = "sdk-client")]
    pub(in crate::endpoint) fn of_error(response: &HttpResponse) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            is_prediction: false,
            body: Bytes::copy_from_slice(response.body().bytes().unwrap_or_default()),
        }
    }

    /// Converts this into a response with the whole body.
    #[cfg(feature = "sdk-client")]
    pub(in crate::endpoint) fn into_http(self) -> HttpResponse {
        let status = self.status.try_into().expect("it was a status before");
        let mut response = HttpResponse::new(status, SdkBody::from(self.body));
        *response.headers_mut() = self.headers;
        response
    }

    pub(in crate::endpoint) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Returns the AWS error code from the header `x-amzn-errortype` or the body. Returns an empty string without one.
    pub(in crate::endpoint) fn error_code(&self) -> String {
        let code = self.header(ERROR_TYPE.as_str()).map(ToOwned::to_owned).or_else(|| {
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
        !self.is_prediction && ["ExpiredToken", "ExpiredTokenException"].contains(&&*self.error_code())
    }

    /// Returns whether the endpoint may have rejected the API key.
    pub(super) fn is_key_rejection(&self) -> bool {
        [401, 403].contains(&self.status)
    }

    fn custom_attributes(&self) -> Option<String> {
        shorten_attributes(self.header("x-amzn-sagemaker-custom-attributes")?)
    }

    /// Converts this into the response of the model.
    pub(in crate::endpoint) fn into_response(self) -> Response {
        Response {
            content_type: self.header("content-type").map(ToOwned::to_owned),
            variant: self.header("x-amzn-invoked-production-variant").map(Arc::from),
            custom_attributes: self.custom_attributes(),
            body: self.body,
        }
    }
}

/// Returns at most the first [`CUSTOM_ATTRIBUTES_CHARS_MAX`] characters of custom attributes. Returns `None` if there
/// are none.
pub(in crate::endpoint) fn shorten_attributes(attributes: &str) -> Option<String> {
    let shortened: String = attributes.chars().take(CUSTOM_ATTRIBUTES_CHARS_MAX).collect();
    (!shortened.is_empty()).then_some(shortened)
}

/// Rejects a compressed body. No request asks for one.
fn reject_content_coding(headers: &Headers) -> Result<(), CallError> {
    let mut codings = headers.get_all_bytes_by_name(&CONTENT_ENCODING);
    let Some(coding) = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")) else {
        return Ok(());
    };
    let is_coding = |known: &&&str| coding.eq_ignore_ascii_case(known.as_bytes());
    Err(CallError::ContentCoding(
        CONTENT_CODINGS.iter().find(is_coding).copied(),
    ))
}

/// Reads a body to its marked end: all of its content-length, `END_STREAM` over HTTP/2, or the last chunk. The client
/// also ends a body without an error if an HTTP/1 connection without a length is closed, or if HTTP/2 closes the stream
/// or the connection with `NO_ERROR`. Such a body may be incomplete.
async fn read_whole(
    mut body: SdkBody,
    headers: &Headers,
    memory: Option<&AnswerReservation>,
) -> Result<Bytes, CallError> {
    let reserve = |bytes| {
        memory.map_or(Ok(()), |memory| {
            memory.expect(bytes).map_err(|NoRoom| CallError::NoRoom)
        })
    };
    // A body whose length is known is read only if there is room for all of it.
    let stated: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap_or_default());
    let stated = stated.min(RESPONSE_BODY_MAX);
    reserve(stated)?;
    let mut length = 0;
    // Most bodies arrive in one piece, which is not copied.
    let (mut first, mut buffer) = (Bytes::new(), None::<BytesMut>);
    while let Some(piece) = next_piece(&mut body).await? {
        let known = length.max(stated);
        length += piece.len();
        reserve(length.saturating_sub(known))?;
        if first.is_empty() && buffer.is_none() {
            first = piece;
        } else {
            let buffer = buffer.get_or_insert_with(|| BytesMut::from(std::mem::take(&mut first)));
            buffer.extend_from_slice(&piece);
        }
        if length > RESPONSE_BODY_MAX {
            return Err(CallError::TooLarge(RESPONSE_BODY_MAX));
        }
    }
    let bytes = buffer.map_or(first, BytesMut::freeze);
    let is_whole = body.is_end_stream() || is_whole_chunked(headers, bytes.len());
    is_whole.then_some(bytes).ok_or(CallError::LengthUnknown)
}

/// Returns whether a body that was read without an error is chunked and so ended with its last chunk, and has the
/// content-length if there is one as well.
fn is_whole_chunked(headers: &Headers, length: usize) -> bool {
    let last_coding = headers.get_all_bytes_by_name(&TRANSFER_ENCODING).last();
    let is_chunked = last_coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let stated_length = headers.get("content-length");
    is_chunked && stated_length.is_none_or(|stated| stated.parse() == Ok(length))
}

/// Returns the next data of a body, without trailers.
async fn next_piece(body: &mut SdkBody) -> Result<Option<Bytes>, CallError> {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        if let Ok(data) = frame.map_err(|_| CallError::Unreadable)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads as much of an error body as arrives in time. An incomplete body is not an error, since the status is known.
async fn read_beginning(mut body: SdkBody) -> Bytes {
    let mut buffer = BytesMut::new();
    let read = async {
        while buffer.len() < ERROR_BODY_MAX
            && let Ok(Some(piece)) = next_piece(&mut body).await
        {
            buffer.extend_from_slice(&piece);
        }
    };
    _ = timeout(ERROR_BODY_TIMEOUT, read).await;
    buffer.truncate(ERROR_BODY_MAX);
    buffer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::AnswerMemory;

    #[tokio::test]
    async fn a_body_of_known_length_is_read_only_if_there_is_room_for_it() {
        let mut headers = Headers::new();
        headers.insert("content-length", "10");
        for (bytes_max, is_read) in [(9, false), (10, true)] {
            let reservation = AnswerMemory::new(bytes_max).reserve(false);
            let body = read_whole(SdkBody::from("0123456789"), &headers, Some(&reservation)).await;
            assert_eq!(body.is_ok(), is_read, "{body:?}");
        }
    }
}
