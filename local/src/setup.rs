//! What every command needs: the function's program, its environment, and an endpoint to call.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;

use crate::build::{self, Profile};
use crate::environment::{self, Settings, Target};
use crate::function::{Launch, Line, Program};
use crate::sagemaker::SageMakerRuntime;

pub use crate::environment::OwnEndpoint;
pub use crate::sagemaker::EndpointOptions;

/// How to run the function.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The function's program; built with cargo if there is none.
    pub program: Option<Program>,
    /// An endpoint of the user's, instead of one on this machine.
    pub own_endpoint: Option<OwnEndpoint>,
    /// The endpoint on this machine.
    pub local_endpoint: EndpointOptions,
    /// Time for one invocation.
    pub timeout: Duration,
    /// Environment variables for the function.
    pub settings: Settings,
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
    /// If the function does not compile, the endpoint cannot be started, AWS credentials are missing, or the settings are
    /// of another endpoint.
    pub async fn new(options: Options) -> Result<Self> {
        let (endpoint, target) = if let Some(own) = options.own_endpoint {
            (None, Target::Own(own))
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
