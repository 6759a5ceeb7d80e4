//! The container behind the endpoint.

use anyhow::Result;
use axum::http::HeaderMap;
use bytes::Bytes;

use super::recorder::CallOutcome;
use crate::bodies::RequestBody;
use crate::model_server::ModelServer;

/// The container that answers requests behind the endpoint.
#[derive(Debug)]
pub(super) enum Container {
    /// The built-in fraud model.
    FraudModel,
    /// A model server on this machine.
    ModelServer(Box<ModelServer>),
}

/// A container's HTTP response.
#[derive(Debug)]
pub(crate) struct ContainerAnswer {
    /// The HTTP status; 0 if the container died or did not answer.
    pub(crate) status: u16,
    /// The response's content type, if the container sent one.
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

impl Container {
    /// Connects to the model server at `url`. Uses the built-in model if `url` is `None`.
    pub(super) async fn connect(url: Option<&str>) -> Result<Self> {
        Ok(match url {
            Some(url) => Self::ModelServer(Box::new(ModelServer::connect(url).await?)),
            None => Self::FraudModel,
        })
    }

    pub(super) async fn invoke(&self, headers: &HeaderMap, body: Bytes) -> ContainerAnswer {
        match self {
            Self::FraudModel => fraud_model(headers, &body),
            Self::ModelServer(server) => server.invoke(headers, body).await,
        }
    }
}

impl ContainerAnswer {
    pub(crate) fn outcome(&self) -> CallOutcome {
        match self.status {
            200..300 => CallOutcome::Answered,
            400..500 => CallOutcome::Refused,
            _ => CallOutcome::Error,
        }
    }

    pub(crate) fn text(status: u16, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Some("text/plain".to_owned()),
            body: text.into(),
        }
    }
}

fn fraud_model(headers: &HeaderMap, body: &[u8]) -> ContainerAnswer {
    let answer = RequestBody::split(content_type(headers), body).and_then(|request| request.answer());
    match answer {
        Ok((content_type, body)) => ContainerAnswer {
            status: 200,
            content_type: Some(content_type.to_owned()),
            body: body.into(),
        },
        Err(message) => ContainerAnswer::text(400, message),
    }
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get("content-type").and_then(|value| value.to_str().ok())
}
