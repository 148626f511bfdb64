//! etcd as it is spoken to: JSON over HTTP, which every member serves beside gRPC.
//!
//! One of the endpoints is asked until it fails, then the next. Where etcd wants users, a token is got for name and
//! password, and got anew when it is not good any more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corduroy_datastore::last_cause;
use futures_util::io::{AsyncBufRead, AsyncBufReadExt as _};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client as Https, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::wire;

/// The longest that a request other than a watch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How to reach etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The client URLs of its members: `https://host:2379`.
    pub endpoints: Vec<String>,
    /// A file with the certificates (PEM) of who signed the members'; `None` for those the system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A user and the file that holds the password.
    pub user: Option<(String, PathBuf)>,
    /// What all our keys begin with, as `/corduroy`.
    pub prefix: String,
}

/// Why there is no way to etcd. Its not answering is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No endpoint is named.
    #[error("no endpoint of etcd is named")]
    NoEndpoint,
    /// A file or a URL can't be used.
    #[error("etcd at {endpoint} can't be spoken to: {why}")]
    Client {
        /// Which.
        endpoint: String,
        /// As the library says.
        why: String,
    },
    /// The password can't be read.
    #[error("password file {path}: {why}")]
    Password {
        /// The file.
        path: String,
        /// As the system says.
        why: std::io::Error,
    },
}

/// A request that did not do what it was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// etcd answered: its code (of gRPC, or of HTTP from what stands before it), and its words.
    Answer { code: u16, words: String },
    /// It did not answer. The request may have been carried out.
    Silence(String),
}

impl Failure {
    /// In words for an operator.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Answer { code, words } if words.is_empty() => format!("etcd answers with code {code}"),
            Self::Answer { words, .. } => format!("etcd says: {words}"),
            Self::Silence(why) => format!("etcd can't be reached: {why}"),
        }
    }

    /// Is it for somebody to mend, rather than trouble that passes?
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Answer { code: 3 | 7 | 9 | 16 | 400 | 401 | 403, .. })
    }

    fn is_token_bad(&self) -> bool {
        matches!(self, Self::Answer { words, .. } if words.contains("invalid auth token")
            || words.contains("user name is empty") || words.contains("revision of auth store is old"))
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::Answer { code: status.code, words: status.message.trim().to_owned() }
            }
            other => Self::Silence(last_cause(&other)),
        }
    }
}

/// A client. Clones share connections and token.
#[derive(Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    members: Vec<Https>,
    /// The one that is asked.
    current: AtomicUsize,
    user: Option<(String, String)>,
    token: Mutex<Option<String>>,
}

/// The lines of a watch's answer.
pub(crate) type Lines = futures_util::io::Lines<std::pin::Pin<Box<dyn AsyncBufRead + Send>>>;

impl Client {
    /// Sets it up; nothing is asked yet.
    pub(crate) async fn new(access: &Access) -> Result<Self, ConnectError> {
        let user = match &access.user {
            Some((name, path)) => {
                let wrong = |why| ConnectError::Password { path: path.display().to_string(), why };
                let password = std::fs::read_to_string(path).map_err(wrong)?;
                Some((name.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
            }
            None => None,
        };
        let mut members = Vec::new();
        for endpoint in &access.endpoints {
            let wrong = |why: String| ConnectError::Client { endpoint: endpoint.clone(), why };
            members.push(member(endpoint, access).await.map_err(wrong)?);
        }
        if members.is_empty() {
            return Err(ConnectError::NoEndpoint);
        }
        let (current, token) = (AtomicUsize::new(0), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { members, current, user, token }) })
    }

    /// One request and its whole answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        let attempt = || async {
            let (https, request) = self.request(path, body).await?;
            let text = late(https.request_text(request)).await?;
            serde_json::from_str::<T>(&text).map_err(|e| Failure::Silence(format!("its answer: {e}")))
        };
        self.settled(attempt().await, attempt).await
    }

    /// A watch: its answer comes line by line.
    pub(crate) async fn lines(&self, path: &str, body: &Value) -> Result<Lines, Failure> {
        let attempt = || async {
            let (https, request) = self.request(path, body).await?;
            let reader: std::pin::Pin<Box<dyn AsyncBufRead + Send>> =
                Box::pin(late(https.request_stream(request)).await?);
            Ok(reader.lines())
        };
        self.settled(attempt().await, attempt).await
    }

    /// Once more with a new token where the old one was not good; at another member next time where this one failed.
    async fn settled<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        first: Result<T, Failure>,
        again: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let result = match first {
            Err(failure) if failure.is_token_bad() && self.inner.user.is_some() => {
                *self.token() = None;
                again().await
            }
            result => result,
        };
        if matches!(result, Err(Failure::Silence(_))) {
            self.inner.current.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn token(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // Nothing panics while it holds the lock.
        self.inner.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request(&self, path: &str, body: &Value) -> Result<(&Https, Request<Vec<u8>>), Failure> {
        let current = self.inner.current.load(Ordering::Relaxed);
        let member = self.inner.members.get(current % self.inner.members.len().max(1));
        let member = member.ok_or_else(|| Failure::Silence("no endpoint".to_owned()))?;
        let mut request = post(path, body)?;
        if let Some((name, password)) = &self.inner.user {
            let known = self.token().clone();
            let token = match known {
                Some(token) => token,
                None => {
                    let ask = post("/v3/auth/authenticate", &json!({ "name": name, "password": password }))?;
                    let granted: wire::Granted = late(member.request(ask)).await?;
                    *self.token() = Some(granted.token.clone());
                    granted.token
                }
            };
            let value = http::HeaderValue::from_str(&token).map_err(|e| Failure::Silence(e.to_string()))?;
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        Ok((member, request))
    }
}

fn post(path: &str, body: &Value) -> Result<Request<Vec<u8>>, Failure> {
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header(http::header::CONTENT_TYPE, "application/json");
    request.body(body.to_string().into_bytes()).map_err(|e| Failure::Silence(e.to_string()))
}

async fn late<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Silence(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The HTTPS client knows its server and certificates by a kubeconfig.
async fn member(endpoint: &str, access: &Access) -> Result<Https, String> {
    let (certificate, key) = access.certificate.clone().unzip();
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "etcd",
        "clusters": [{ "name": "etcd", "cluster": { "server": endpoint, "certificate-authority": access.ca } }],
        "users": [{ "name": "etcd", "user": { "client-certificate": certificate, "client-key": key } }],
        "contexts": [{ "name": "etcd", "context": { "cluster": "etcd", "user": "etcd" } }],
    });
    let file: Kubeconfig = serde_json::from_value(file).map_err(|e| e.to_string())?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|e| e.to_string())?;
    config.connect_timeout = Some(CONNECT);
    // A watch may be silent for as long as nothing changes; we look after that ourselves.
    config.read_timeout = None;
    config.default_retry = false;
    Https::try_from(config).map_err(|e| e.to_string())
}
