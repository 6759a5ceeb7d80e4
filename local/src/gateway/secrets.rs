//! Secrets Manager, as far as a caller needs it: `GetSecretValue`, in AWS's JSON protocol.
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gateway, locked};

/// The secret that is the key.
pub const SECRET: &str = "gateway-key";

/// The secret with the key as a member, [`MEMBER`].
pub const SECRET_JSON: &str = "gateway-key-json";

/// Where the key is in [`SECRET_JSON`].
pub const MEMBER: &str = "apiKey";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue {
    secret_id: String,
}

/// Answers one request.
pub(super) fn answer(gateway: &Gateway, target: &[u8], body: &[u8]) -> Response<Body> {
    if target != b"secretsmanager.GetSecretValue" {
        return error("UnknownOperationException", "Only GetSecretValue is known here.");
    }
    let Ok(GetSecretValue { secret_id }) = serde_json::from_slice(body) else {
        return error("InvalidParameterException", "SecretId must be told.");
    };
    let text = match &*secret_id {
        SECRET => gateway.key(),
        SECRET_JSON => json!({ MEMBER: gateway.key() }).to_string(),
        _ => {
            let why = "Secrets Manager can't find the specified secret.";
            return error("ResourceNotFoundException", why);
        }
    };
    locked(&gateway.counts).keys_fetched += 1;
    let value = json!({
        "ARN": format!("arn:aws:secretsmanager:us-east-1:000000000000:secret:{secret_id}-local1"),
        "Name": secret_id,
        "SecretString": text,
        "VersionStages": ["AWSCURRENT"],
    });
    response(StatusCode::OK, &value)
}

fn error(error_type: &str, message: &str) -> Response<Body> {
    response(
        StatusCode::BAD_REQUEST,
        &json!({ "__type": error_type, "Message": message }),
    )
}

fn response(status: StatusCode, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("Content-Type", "application/x-amz-json-1.1")
        .body(Body::from(body.to_string()))
        .expect("the headers are constants")
}
