//! The part of STS that a caller needs: `AssumeRole`, in AWS's query protocol.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
//!
//! A session has the duration of the gateway's options. The requested duration is ignored.

use std::collections::HashMap;

use aws_credential_types::Credentials;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::body::Body;
use axum::http::{Response, StatusCode};

use super::{Gateway, locked};

/// The end of the ARN of a role that nobody is allowed to assume.
const DENIED_ROLE_SUFFIX: &str = "/not-allowed";

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers one request.
pub(super) fn answer(gateway: &Gateway, body: &[u8]) -> Response<Body> {
    let form: HashMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
    let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if value("Action") != "AssumeRole" {
        let why = "The only supported action is AssumeRole.";
        return error(StatusCode::BAD_REQUEST, "InvalidAction", why);
    }
    let (role, session) = (value("RoleArn"), value("RoleSessionName"));
    let Some(assumed) = AssumedRole::new(role, session) else {
        let why = "RoleArn must be like arn:aws:iam::123456789012:role/name, and RoleSessionName like name.";
        return error(StatusCode::BAD_REQUEST, "ValidationError", why);
    };
    if role.ends_with(DENIED_ROLE_SUFFIX) {
        let why = format!(
            "User: arn:aws:iam::000000000000:user/local is not authorized to perform: sts:AssumeRole on resource: {role}"
        );
        return error(StatusCode::FORBIDDEN, "AccessDenied", &why);
    }
    locked(&gateway.counts).sessions += 1;
    assumed.response(&gateway.sessions.issue())
}

/// The identity of a caller with an assumed role.
struct AssumedRole<'r> {
    account: &'r str,
    name: &'r str,
    session: &'r str,
}

impl<'r> AssumedRole<'r> {
    /// Parses a role's ARN and a session name. Returns `None` if AWS does not allow one of them. So neither needs
    /// escaping in the response.
    fn new(role: &'r str, session: &'r str) -> Option<Self> {
        let is_plain = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-:/".contains(&byte);
            !text.is_empty() && text.bytes().all(plain)
        };
        if !is_plain(role) || !is_plain(session) {
            return None;
        }
        let parts: Vec<_> = role.splitn(6, ':').collect();
        let ["arn", _, "iam", "", account, path] = *parts else {
            return None;
        };
        let (_, name) = path.strip_prefix("role")?.rsplit_once('/')?;
        Some(Self { account, name, session })
    }

    fn response(&self, credentials: &Credentials) -> Response<Body> {
        let Self { account, name, session } = self;
        let expiry = credentials.expiry().expect("a session has an expiry");
        // AWS reports whole seconds. Rounding down never reports a time after the end.
        let expiration = DateTime::from_secs(DateTime::from(expiry).secs());
        let expiration = expiration.fmt(Format::DateTime).expect("the end is a valid date");
        let (id, secret) = (credentials.access_key_id(), credentials.secret_access_key());
        let token = credentials.session_token().unwrap_or_default();
        let xml = format!(
            "<AssumeRoleResponse xmlns=\"{NAMESPACE}\"><AssumeRoleResult>\
             <AssumedRoleUser><AssumedRoleId>AROALOCAL:{session}</AssumedRoleId>\
             <Arn>arn:aws:sts::{account}:assumed-role/{name}/{session}</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
             </AssumeRoleResult><ResponseMetadata><RequestId>local</RequestId></ResponseMetadata>\
             </AssumeRoleResponse>"
        );
        response(StatusCode::OK, xml)
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let xml = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>local</RequestId></ErrorResponse>"
    );
    response(status, xml)
}

fn response(status: StatusCode, xml: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("Content-Type", "text/xml")
        .body(Body::from(xml))
        .expect("the headers are constants")
}
