//! The part of Secrets Manager that a caller needs: `GetSecretValue`, in AWS's JSON protocol.
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gateway, locked};

/// The name of the secret whose value is the API key.
pub const SECRET: &str = "gateway-key";

/// The name of the secret whose value is a JSON object with the API key in its member [`JSON_MEMBER`].
pub const SECRET_JSON: &str = "gateway-key-json";

/// The member of [`SECRET_JSON`] that holds the API key.
pub const JSON_MEMBER: &str = "apiKey";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue {
    secret_id: String,
}

/// Answers one request.
pub(super) fn answer(gateway: &Gateway, target: &[u8], body: &[u8]) -> Response<Body> {
    if target != b"secretsmanager.GetSecretValue" {
        return error(
            "UnknownOperationException",
            "The only supported operation is GetSecretValue.",
        );
    }
    let Ok(GetSecretValue { secret_id }) = serde_json::from_slice(body) else {
        return error("InvalidParameterException", "SecretId is required.");
    };
    let text = match &*secret_id {
        SECRET => gateway.key(),
        SECRET_JSON => json!({ JSON_MEMBER: gateway.key() }).to_string(),
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
