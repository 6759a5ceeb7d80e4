//! What every command needs: the function's program, its environment, and an endpoint to call.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use crate::build;
use crate::environment::{self, Settings, Target};
use crate::faults::Rates;
use crate::function::{Launch, Line, Program};
use crate::model_server::ModelServer;
use crate::sagemaker::{Container, SageMakerRuntime};

/// How to run the function.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The function's program; built with cargo if there is none.
    pub program: Option<Program>,
    /// A `SageMaker` endpoint of the user's, instead of one on this machine.
    pub aws_endpoint: Option<String>,
    /// The endpoint on this machine.
    pub local_endpoint: EndpointOptions,
    /// Time for one invocation.
    pub timeout: Duration,
    /// Environment variables for the function.
    pub settings: Settings,
}

/// An endpoint on this machine.
#[derive(Debug, Clone, Default)]
pub struct EndpointOptions {
    /// URL of a model server on this machine, instead of the built-in model.
    pub model_server: Option<String>,
    /// What each call takes beyond the model's own time.
    pub latency: Duration,
    /// How often calls fail on purpose.
    pub rates: Rates,
}

/// Everything in place but the function itself.
#[derive(Debug)]
pub struct Setup {
    /// The endpoint on this machine, where that is what the function calls.
    pub endpoint: Option<SageMakerRuntime>,
    /// How to start the function.
    pub launch: Launch,
    /// What it will write.
    pub lines: mpsc::UnboundedReceiver<Line>,
}

impl Setup {
    /// Builds the function if need be, and starts the endpoint.
    ///
    /// # Errors
    ///
    /// If the function does not compile, the model server is not up, no port can be had, or AWS credentials are missing.
    pub async fn new(options: Options) -> Result<Self> {
        let (endpoint, target) = if let Some(name) = options.aws_endpoint {
            (None, Target::Aws(name))
        } else {
            let endpoint = start_endpoint(0, &options.local_endpoint).await?;
            let target = Target::Local(endpoint.address());
            (Some(endpoint), target)
        };
        let environment = environment::for_function(options.settings, &target).await?;
        let program = match options.program {
            Some(program) => program,
            None => Program::Binary(build::function()?),
        };
        let (sender, lines) = mpsc::unbounded_channel();
        let launch = Launch {
            program,
            environment,
            timeout: options.timeout,
            lines: sender,
        };
        Ok(Self {
            endpoint,
            launch,
            lines,
        })
    }
}

/// Starts an endpoint on `port`, or on a free one if it is 0.
///
/// # Errors
///
/// If the model server is not up or the port cannot be had.
pub async fn start_endpoint(port: u16, options: &EndpointOptions) -> Result<SageMakerRuntime> {
    let container = match &options.model_server {
        Some(url) => Container::ModelServer(Box::new(ModelServer::connect(url).await?)),
        None => Container::FraudModel,
    };
    let started = SageMakerRuntime::start(port, container, options.latency, options.rates).await;
    started.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))
}
