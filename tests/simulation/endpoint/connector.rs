//! The network between the function and the endpoint.

use std::future::pending;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use tokio::time::sleep;

use super::reply::{Reply, answer};
use super::{EnvironmentCalls, PLANNED_PANIC, Service};

/// The connections of one environment.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) service: Arc<Service>,
    pub(super) calls: Arc<Mutex<EnvironmentCalls>>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.send(request).await })
    }
}

impl Connector {
    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let records: Vec<_> = std::str::from_utf8(request.body().bytes().unwrap())
            .unwrap()
            .lines()
            .collect();
        let model = request.headers().get("x-amzn-sagemaker-target-model");
        let failure = self.service.next_failure(&records, model);
        let latency = self.service.latency();
        self.service.trace(|| format!("{records:?} {failure:?}"));
        let Some(failure) = failure else {
            sleep(latency).await;
            self.service.count_answer(&records);
            let answered = records.iter().map(|record| (*record).to_owned());
            self.calls.lock().unwrap().answered.extend(answered);
            return Ok(answer(&records));
        };
        match Reply::new(failure, self.service.world.is_sagemaker, records[0]) {
            Reply::None => pending().await,
            Reply::Panic => panic!("{PLANNED_PANIC}"),
            Reply::Error(kind) => {
                sleep(latency / 2).await;
                Err(ConnectorError::io(std::io::Error::from(kind).into()))
            }
            Reply::Response(response) => {
                sleep(latency / 2).await;
                Ok(*response)
            }
        }
    }
}
