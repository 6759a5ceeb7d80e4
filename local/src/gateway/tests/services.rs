//! STS and Secrets Manager, and the responses to calls with their sessions and keys.

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::ProvideCredentials as _;
use serde_json::json;

use super::*;

const ROLE: &str = "arn:aws:iam::123456789012:role/team/caller";

/// Assumes a role with the AWS SDK, as the function does.
async fn assume(endpoint: &SageMakerRuntime, role: &str) -> Result<Credentials, String> {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint.url())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(static_credentials());
    let provider = AssumeRoleProvider::builder(role).session_name("run-1");
    let provider = provider.configure(&config.load().await).build().await;
    provider
        .provide_credentials()
        .await
        .map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn a_role_can_be_assumed_and_calls_are_signed_with_its_credentials() {
    let endpoint = start(GatewayOptions::default()).await;
    let session = assume(&endpoint, ROLE).await.unwrap();
    assert_eq!(session.account_id().unwrap().as_str(), "123456789012");
    let left = session.expiry().unwrap().duration_since(SystemTime::now()).unwrap();
    assert!((3590..=3600).contains(&left.as_secs()), "{left:?}");
    assert_eq!(send(call(&endpoint, RECORD, &session)).await.status, 200);
    // An access key ID is known only together with its own session token.
    let other = assume(&endpoint, ROLE).await.unwrap();
    let mixed = Credentials::builder()
        .access_key_id(session.access_key_id())
        .secret_access_key(session.secret_access_key())
        .session_token(other.session_token().unwrap());
    let mixed = mixed.provider_name("test").build();
    assert_eq!(send(call(&endpoint, RECORD, &mixed)).await, unknown_credentials());
    let counts = gateway(&endpoint).counts();
    assert_eq!((counts.sessions, counts.signature, counts.expired), (2, 1, 0));
}

#[tokio::test]
async fn a_session_that_has_ended_is_refused_as_expired_and_the_next_is_accepted() {
    let endpoint = start(GatewayOptions::default()).await;
    let session = assume(&endpoint, ROLE).await.unwrap();
    gateway(&endpoint).end_sessions();
    let expired = forbidden(
        "ExpiredTokenException",
        "The security token included in the request is expired",
    );
    assert_eq!(send(call(&endpoint, RECORD, &session)).await, expired);
    let next = assume(&endpoint, ROLE).await.unwrap();
    assert_eq!(send(call(&endpoint, RECORD, &next)).await.status, 200);
    let counts = gateway(&endpoint).counts();
    assert_eq!((counts.sessions, counts.signature, counts.expired), (2, 0, 1));
}

#[tokio::test]
async fn a_role_that_trusts_nobody_cannot_be_assumed_and_the_arn_must_be_a_roles() {
    let endpoint = start(GatewayOptions::default()).await;
    for (role, code) in [
        ("arn:aws:iam::123456789012:role/not-allowed", "AccessDenied"),
        ("arn:aws:iam::123456789012:role/a<b", "ValidationError"),
        ("arn:aws:iam::123456789012:user/caller", "ValidationError"),
    ] {
        let error = assume(&endpoint, role).await.unwrap_err();
        assert!(error.contains(code), "{error}");
    }
    let other = Request::post(endpoint.url()).body(Full::from("Action=GetCallerIdentity"));
    let other = send(other.unwrap()).await;
    assert!(
        String::from_utf8_lossy(&other.body).contains("<Code>InvalidAction</Code>"),
        "{other:?}"
    );
    assert_eq!(gateway(&endpoint).counts().sessions, 0);
}

async fn secret(endpoint: &SageMakerRuntime, operation: &str, body: &Value) -> GatewayResponse {
    let request = Request::post(endpoint.url())
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("secretsmanager.{operation}"));
    send(request.body(Full::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn two_secrets_hold_the_current_key() {
    let endpoint = start(GatewayOptions::default()).await;
    let get = async |id: &str| secret(&endpoint, "GetSecretValue", &json!({ "SecretId": id })).await;
    for _ in 0..2 {
        let key = gateway(&endpoint).key();
        let plain = get(SECRET).await;
        assert_eq!(
            (plain.status, &*plain.content_type),
            (200, "application/x-amz-json-1.1")
        );
        assert_eq!(plain.json()["SecretString"], json!(key));
        let object = get(SECRET_JSON).await.json()["SecretString"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            serde_json::from_str::<Value>(&object).unwrap(),
            json!({ JSON_MEMBER: key })
        );
        gateway(&endpoint).replace_key();
    }
    let none = get("another").await;
    assert_eq!(
        (none.status, &none.json()["__type"]),
        (400, &json!("ResourceNotFoundException"))
    );
    let nothing = secret(&endpoint, "GetSecretValue", &json!({})).await;
    assert_eq!(
        (nothing.status, &nothing.json()["__type"]),
        (400, &json!("InvalidParameterException"))
    );
    let other = secret(&endpoint, "PutSecretValue", &json!({ "SecretId": SECRET })).await;
    assert_eq!(
        (other.status, &other.json()["__type"]),
        (400, &json!("UnknownOperationException"))
    );
    assert_eq!(gateway(&endpoint).counts().keys_fetched, 4);
}
