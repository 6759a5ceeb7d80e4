//! Reads the settings for the endpoint: its name or URL, the authentication of calls, and further headers.

use super::reader::Reader;
use super::resource_name;
use super::variables::{
    ENDPOINT_ALLOW_HTTP, ENDPOINT_API_KEY, ENDPOINT_API_KEY_HEADER, ENDPOINT_AUTH, ENDPOINT_HEADERS, ENDPOINT_METHOD,
    ENDPOINT_NAME, ENDPOINT_REGION, ENDPOINT_ROLE_ARN, ENDPOINT_SERVICE, ENDPOINT_URL,
};
use crate::endpoint::KeySettings;
use crate::endpoint::credentials::Role;
use crate::endpoint::http::{HttpTarget, SigV4Settings};
use crate::endpoint::sagemaker::SageMakerTarget;
use crate::endpoint::signature::SigningScope;
use crate::endpoint::target::Target;
use crate::endpoint::url::{EndpointUrl, is_unencrypted};

mod values;

pub(super) use values::method;
use values::{endpoint_url, headers, key_header, region, role_arn, secret, service};

/// The settings that have a meaning only with `ENDPOINT_URL`.
const URL_ONLY: [super::Variable; 6] = [
    ENDPOINT_METHOD,
    ENDPOINT_AUTH,
    ENDPOINT_SERVICE,
    ENDPOINT_API_KEY,
    ENDPOINT_API_KEY_HEADER,
    ENDPOINT_HEADERS,
];

/// The form of a URL that a signature covers. A URL with placeholders has this form as well, so that a value cannot
/// change it.
const SIGNABLE: &str = "allowed: a path without empty segments and dot segments, a query with special characters \
                        encoded like %2F";

/// The variables of the AWS SDK with the URLs of the services that get records or secrets.
const SERVICE_URLS: [&str; 9] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",
    "AWS_ENDPOINT_URL_KINESIS",
    "AWS_ENDPOINT_URL_FIREHOSE",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_EVENTBRIDGE",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_STS",
];

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// Checks the URLs of AWS services, which the AWS SDK reads.
    fn check_service_urls(&mut self) {
        for name in SERVICE_URLS {
            let is_unencrypted = (self.lookup)(name).is_some_and(|url| is_unencrypted(&url));
            self.check_encryption(name, is_unencrypted);
        }
    }

    /// Adds a fault if a URL is unencrypted and the settings do not allow it. Returns whether it may be used.
    fn check_encryption(&mut self, setting: &str, is_unencrypted: bool) -> bool {
        let is_refused = is_unencrypted && self.value(ENDPOINT_ALLOW_HTTP).is_none();
        if is_refused {
            self.faults.push(format!(
                "{setting} would send every record unencrypted; allowed: https, http to this machine, or \
                 ENDPOINT_ALLOW_HTTP=1 if the network is trusted"
            ));
        }
        !is_refused
    }

    /// Reads the endpoint, by its name or by its URL, and checks the URLs of AWS services.
    pub(super) fn target(&mut self) -> Option<Target> {
        self.check_service_urls();
        let (name, url) = (self.value(ENDPOINT_NAME), self.value(ENDPOINT_URL));
        match (name, url) {
            (Some(_), None) => self.sagemaker_target().map(Target::SageMaker),
            (None, Some(_)) => self.http_target().map(Box::new).map(Target::Http),
            (None, None) => {
                let (name, url) = (ENDPOINT_NAME.allowed, ENDPOINT_URL.allowed);
                self.fail(format!(
                    "neither ENDPOINT_NAME nor ENDPOINT_URL is set; allowed: one of them, {name}, or {url}"
                ))
            }
            (Some(_), Some(_)) => {
                self.fail("ENDPOINT_NAME and ENDPOINT_URL are both set; allowed: one of them".to_owned())
            }
        }
    }

    /// Adds a fault. Returns `None`, so that the caller can end with it.
    fn fail<T>(&mut self, fault: String) -> Option<T> {
        self.faults.push(fault);
        None
    }

    fn sagemaker_target(&mut self) -> Option<SageMakerTarget> {
        for variable in URL_ONLY {
            let value = self.value(variable);
            if value.is_some_and(|value| variable.default != Some(&value)) {
                self.faults
                    .push(format!("{} is for ENDPOINT_URL, not for ENDPOINT_NAME", variable.name));
            }
        }
        let name = self.optional(ENDPOINT_NAME, resource_name);
        let region = self.optional(ENDPOINT_REGION, region);
        let role = self.role();
        let allow_http = self.allow_http();
        Some(SageMakerTarget {
            name: name?,
            region,
            role,
            allow_http,
        })
    }

    fn allow_http(&mut self) -> bool {
        let allowed = self.optional(ENDPOINT_ALLOW_HTTP, |value| (value == "1").then_some(()));
        allowed.is_some()
    }

    fn http_target(&mut self) -> Option<HttpTarget> {
        let url = self.url();
        let method = self.required(ENDPOINT_METHOD, method);
        let sigv4 = self.sigv4(url.as_ref());
        let key = self.key(matches!(sigv4, Some(Some(_))));
        let headers = self.headers();
        if let Some(key) = key
            .as_ref()
            .filter(|key| headers.iter().any(|(name, _)| *name == key.header))
        {
            let name = &key.header;
            return self.fail(format!(
                "ENDPOINT_HEADERS has {name}, which is ENDPOINT_API_KEY_HEADER; allowed: one of them"
            ));
        }
        Some(HttpTarget {
            url: url?,
            method: method?,
            sigv4: sigv4?,
            key,
            headers,
        })
    }

    /// Reads the further headers. Faults do not show their values, which may be secrets although they should not be.
    fn headers(&mut self) -> Vec<(String, String)> {
        let Some(value) = self.value(ENDPOINT_HEADERS) else {
            return Vec::new();
        };
        headers(&value).unwrap_or_else(|fault| {
            let allowed = ENDPOINT_HEADERS.allowed;
            self.faults
                .push(format!("ENDPOINT_HEADERS {fault}; allowed: {allowed}"));
            Vec::new()
        })
    }

    fn url(&mut self) -> Option<EndpointUrl> {
        // A password or a query may be a secret.
        let may_be_secret = self.value(ENDPOINT_URL)?.contains(['@', '?']);
        let (url, has_placeholders) = if may_be_secret {
            self.optional_secret(ENDPOINT_URL, endpoint_url)
        } else {
            self.optional(ENDPOINT_URL, endpoint_url)
        }?;
        self.allow_http();
        let shown = url.name();
        if url.is_sagemaker() {
            let fault =
                format!("ENDPOINT_URL={shown:?} is SageMaker itself; allowed: the endpoint's name in ENDPOINT_NAME");
            return self.fail(fault);
        }
        if has_placeholders && !url.is_signable() {
            return self.fail(format!("ENDPOINT_URL={shown:?} has placeholders; {SIGNABLE}"));
        }
        self.check_encryption(&format!("ENDPOINT_URL={shown:?}"), url.is_unencrypted())
            .then_some(url)
    }

    /// Reads the settings for signatures of calls to the URL. `Some(None)` means that calls are not signed.
    #[expect(clippy::option_option, reason = "the outer `None` is settings that do not fit")]
    fn sigv4(&mut self, url: Option<&EndpointUrl>) -> Option<Option<SigV4Settings>> {
        let is_signed = self.required(ENDPOINT_AUTH, |value| match value {
            "sigv4" => Some(true),
            "none" => Some(false),
            _ => None,
        });
        let region = self.optional(ENDPOINT_REGION, region);
        let service = self.optional(ENDPOINT_SERVICE, service);
        let role = self.role();
        if !is_signed? {
            for variable in [ENDPOINT_REGION, ENDPOINT_SERVICE, ENDPOINT_ROLE_ARN] {
                if self.value(variable).is_some() {
                    let fault = format!(
                        "{} without ENDPOINT_AUTH=\"sigv4\"; allowed: both or neither",
                        variable.name
                    );
                    self.faults.push(fault);
                }
            }
            return Some(None);
        }
        if !url?.is_signable() {
            return self.fail(format!(
                "ENDPOINT_URL with ENDPOINT_AUTH=\"sigv4\" cannot be signed; {SIGNABLE}"
            ));
        }
        let scope_of_host = url?.signing_scope();
        let (host_region, host_service) = scope_of_host.map(|scope| (scope.region, scope.service)).unzip();
        let scope = region.or(host_region).zip(service.or(host_service));
        let Some((region, service)) = scope else {
            // An invalid region or service has already added its fault.
            if self.value(ENDPOINT_REGION).and(self.value(ENDPOINT_SERVICE)).is_some() {
                return None;
            }
            return self.fail(
                "ENDPOINT_AUTH=\"sigv4\", but the host of ENDPOINT_URL does not name a region and a service to sign for; \
                 allowed: with ENDPOINT_REGION and ENDPOINT_SERVICE, such as eu-central-1 and execute-api"
                    .to_owned(),
            );
        };
        let scope = SigningScope { region, service };
        Some(Some(SigV4Settings { scope, role }))
    }

    fn role(&mut self) -> Option<Role> {
        let arn = self.optional(ENDPOINT_ROLE_ARN, role_arn)?;
        let function = (self.lookup)("AWS_LAMBDA_FUNCTION_NAME").filter(|name| name.len() >= 2);
        let session_name = function.unwrap_or_else(|| "instream".to_owned());
        Some(Role { arn, session_name })
    }

    fn key(&mut self, is_signed: bool) -> Option<KeySettings> {
        let (header, scheme) = self.required(ENDPOINT_API_KEY_HEADER, key_header)?;
        let own_header = self.value(ENDPOINT_API_KEY_HEADER);
        if self.value(ENDPOINT_API_KEY).is_none() && own_header.as_deref() != ENDPOINT_API_KEY_HEADER.default {
            own_header?;
            return self.fail("ENDPOINT_API_KEY_HEADER without ENDPOINT_API_KEY; allowed: both or neither".to_owned());
        }
        let (secret, member) = self.optional_secret(ENDPOINT_API_KEY, secret)?;
        if !cfg!(feature = "secretsmanager") {
            return self.fail(
                "ENDPOINT_API_KEY is in Secrets Manager, which this build of the function leaves out; build it with the \
                 feature secretsmanager"
                    .to_owned(),
            );
        }
        if is_signed && header == "authorization" {
            return self.fail(
                "ENDPOINT_API_KEY_HEADER=\"authorization\" with ENDPOINT_AUTH=\"sigv4\", which sets this header itself; \
                 allowed: one of them"
                    .to_owned(),
            );
        }
        Some(KeySettings {
            secret,
            member,
            header,
            scheme,
        })
    }
}

#[cfg(test)]
mod tests;
