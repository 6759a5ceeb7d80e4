//! The container behind the endpoint.

use anyhow::Result;
use axum::http::HeaderMap;
use bytes::Bytes;

use super::recorder::Outcome;
use crate::bodies::Bodies;
use crate::model_server::ModelServer;

/// What answers behind the endpoint.
#[derive(Debug)]
pub(super) enum Container {
    /// The built-in fraud model.
    FraudModel,
    /// A model server on this machine.
    ModelServer(Box<ModelServer>),
}

/// A container's answer.
#[derive(Debug)]
pub(crate) struct ContainerAnswer {
    /// The HTTP status; 0 if the container died or did not answer.
    pub(crate) status: u16,
    /// The media type, where the container told one.
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

impl Container {
    /// The model server at `url`, or the built-in model if there is none.
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
    pub(crate) fn outcome(&self) -> Outcome {
        match self.status {
            200..300 => Outcome::Answered,
            400..500 => Outcome::Refused,
            _ => Outcome::Error,
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
    let answer = Bodies::split(content_type(headers), body).and_then(|bodies| bodies.answer());
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
