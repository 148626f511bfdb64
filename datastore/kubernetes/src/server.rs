//! One API server: requests out, answers in, and what went wrong in words.

use std::path::PathBuf;
use std::time::Duration;

use corduroy_datastore::last_cause;
use futures_util::stream::{BoxStream, StreamExt};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::{Client, Config};
use serde::de::DeserializeOwned;

use crate::object::Object;

/// The longest a request other than a watch may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest that making a connection may take.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// How to reach the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file, of which the current context counts; `None` for the service account of the pod we are in.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of our own objects (Secrets, Leases); `None` for that of the context or service account.
    pub namespace: Option<String>,
    /// The node whose pods and endpoints are meant; without it there are none.
    pub node: Option<String>,
}

/// Why there is no way to the API server. Its not answering is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig file can't be used.
    #[error("kubeconfig {path}: {why}; it must be a readable kubeconfig file with a current context")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no service account here.
    #[error("no service account: {why}; outside a pod a kubeconfig file must be named")]
    ServiceAccount {
        /// What is missing.
        why: String,
    },
    /// Certificates or keys can't be used.
    #[error("the API server's client can't be set up: {why}")]
    Client {
        /// As the library says.
        why: String,
    },
}

/// A client of the API server. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
}

/// A request that did not do what it was for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server answered: this code, reason (`AlreadyExists`) and message. `named`: it speaks of one object.
    Answer { code: u16, reason: String, message: String, named: bool },
    /// It did not answer. The request may have been carried out.
    Silence(String),
}

impl Failure {
    /// The server's code.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Answer { code, .. } => Some(*code),
            Self::Silence(_) => None,
        }
    }

    /// In words for an operator.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Answer { code: 404, named: false, .. } => {
                "the API server does not know this kind: its CustomResourceDefinition is missing".to_owned()
            }
            Self::Answer { code, message, .. } if !message.is_empty() => {
                format!("the API server says {code}: {}", message.trim())
            }
            Self::Answer { code, reason, .. } => format!("the API server says {code} {reason}"),
            Self::Silence(why) => format!("the API server can't be reached: {why}"),
        }
    }
}

impl From<kube::core::Status> for Failure {
    fn from(status: kube::core::Status) -> Self {
        let named = status.details.is_some_and(|details| !details.name.is_empty());
        Self::Answer { code: status.code, reason: status.reason, message: status.message, named }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => (*status).into(),
            other => Self::Silence(last_cause(&other)),
        }
    }
}

impl Server {
    /// The server behind a client.
    pub(crate) fn over(client: Client) -> Self {
        Self { client }
    }

    /// Sets a client up; nothing is sent yet. Also returns the namespace.
    pub(crate) async fn new(access: &Access) -> Result<(Self, String), ConnectError> {
        let mut config = match &access.kubeconfig {
            Some(path) => {
                let shown = path.display().to_string();
                let wrong = |why: String| ConnectError::Kubeconfig { path: shown.clone(), why };
                let file = Kubeconfig::read_from(path).map_err(|e| wrong(e.to_string()))?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(file, &options).await.map_err(|e| wrong(e.to_string()))?
            }
            None => {
                Config::incluster_env().map_err(|e| ConnectError::ServiceAccount { why: e.to_string() })?
            }
        };
        config.connect_timeout = Some(CONNECT);
        // The library would repeat a creation that was carried out and whose answer was lost; we look first.
        config.default_retry = false;
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|e| ConnectError::Client { why: e.to_string() })?;
        Ok((Self::over(client), namespace))
    }

    /// One request and its whole answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Failure> {
        let request = call.request()?;
        let answer = tokio::time::timeout(PATIENCE, self.client.request::<T>(request)).await;
        let late = || Failure::Silence(format!("no answer within {} s", PATIENCE.as_secs()));
        Ok(answer.map_err(|_| late())??)
    }

    /// One request whose answer is no object.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let request = Call::get(path).request()?;
        let answer = tokio::time::timeout(PATIENCE, self.client.request_text(request)).await;
        let late = || Failure::Silence(format!("no answer within {} s", PATIENCE.as_secs()));
        Ok(answer.map_err(|_| late())??)
    }

    /// A watch. Its first answer must come in time; what comes after is the reader's to wait for.
    pub(crate) async fn events<T>(&self, path: &str) -> Result<Events<T>, Failure>
    where
        T: Object,
    {
        let request = Call::get(path).accepting(T::PARTIAL.map(|partial| partial.watched)).request()?;
        let answer = tokio::time::timeout(PATIENCE, self.client.request_events::<T>(request)).await;
        let late = || Failure::Silence(format!("no answer within {} s", PATIENCE.as_secs()));
        let stream = answer.map_err(|_| late())??;
        Ok(stream.map(|event| event.map_err(Failure::from)).boxed())
    }
}

/// What a watch says.
pub(crate) type Events<T> = BoxStream<'static, Result<WatchEvent<T>, Failure>>;

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// The body's type and the body.
    pub(crate) body: Option<(&'static str, serde_json::Value)>,
    /// The form of the answer, where that is not the whole.
    pub(crate) accept: Option<&'static str>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, accept: None }
    }

    pub(crate) fn accepting(mut self, form: Option<&'static str>) -> Self {
        self.accept = form;
        self
    }

    fn request(self) -> Result<Request<Vec<u8>>, Failure> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        if let Some(form) = self.accept {
            request = request.header(http::header::ACCEPT, form);
        }
        let mut bytes = Vec::new();
        if let Some((media, body)) = self.body {
            request = request.header(http::header::CONTENT_TYPE, media);
            bytes = body.to_string().into_bytes();
        }
        // Paths are made of names that the server gave or that were checked.
        request.body(bytes).map_err(|e| Failure::Silence(e.to_string()))
    }
}
