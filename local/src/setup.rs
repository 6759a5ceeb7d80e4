//! The setup that all commands share: the function's program, its environment, and the endpoint that it calls.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use crate::build::{self, Profile};
use crate::environment::{self, Settings, Target};
use crate::function::{Launch, Line, Program};
use crate::sagemaker::SageMakerRuntime;

pub use crate::environment::UserEndpoint;
pub use crate::sagemaker::EndpointOptions;

/// The options for running the function.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The function's program. If `None`, the function is built with cargo.
    pub program: Option<Program>,
    /// The user's endpoint. If `None`, the function calls an endpoint on this machine.
    pub user_endpoint: Option<UserEndpoint>,
    /// The options of the endpoint on this machine.
    pub local_endpoint: EndpointOptions,
    /// The timeout of one invocation.
    pub timeout: Duration,
    /// Environment variables for the function.
    pub settings: Settings,
}

/// Everything that is needed to start the function.
#[derive(Debug)]
pub struct Setup {
    /// The endpoint on this machine. `None` if the function calls the user's endpoint.
    pub endpoint: Option<SageMakerRuntime>,
    /// The start options of the function.
    pub launch: Launch,
    /// The lines that the function writes.
    pub lines: mpsc::UnboundedReceiver<Line>,
}

impl Setup {
    /// Builds the function if `options` has no program, and starts the endpoint.
    ///
    /// # Errors
    ///
    /// If the function does not compile, the endpoint cannot be started, AWS credentials are missing, or the settings
    /// name another endpoint.
    pub async fn new(options: Options) -> Result<Self> {
        let (endpoint, target) = if let Some(endpoint) = options.user_endpoint {
            (None, Target::User(endpoint))
        } else {
            let endpoint = SageMakerRuntime::start(0, &options.local_endpoint).await?;
            let target = Target::Local {
                url: endpoint.url(),
                certificate: endpoint.certificate().map(Path::to_owned),
                is_gateway: endpoint.gateway().is_some(),
            };
            (Some(endpoint), target)
        };
        let environment = environment::for_function(options.settings, &target).await?;
        let program = match options.program {
            Some(program) => program,
            None => Program::Binary(build::function(Profile::Dev)?),
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
