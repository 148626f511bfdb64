//! Reading for people's tools: any collection, once, as it is. Nothing is watched and nothing written.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use crate::Kubernetes;
use crate::object::{Page, Scope};
use crate::server::{Call, ConnectError, Server};

/// Whose rights a tool uses: as kubectl decides it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// A kubeconfig file; `None` for those of `KUBECONFIG`, else `~/.kube/config`, else the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it; `None` for the current one.
    pub context: Option<String>,
}

impl Kubernetes {
    /// As [`Kubernetes::connect`], for a person's tool.
    ///
    /// # Errors
    /// No kubeconfig and no service account can be used.
    pub async fn connect_as(identity: &Identity) -> Result<Self, ConnectError> {
        let config = config(identity).await?;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|e| ConnectError::Client { why: e.to_string() })?;
        Ok(Self::over(Server::over(client), Scope { namespace, node: None }))
    }

    /// Everything below a path such as `/api/v1/nodes`, as the server has it. A query may follow the path.
    ///
    /// # Errors
    /// In words: the server can't be reached or refuses.
    pub async fn objects(&self, path: &str) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        let mut next = String::new();
        let mark = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = format!("{path}{mark}limit=500{next}");
            let page: Page<Value> =
                self.inner.server.call(Call::get(&page)).await.map_err(|failure| failure.words())?;
            all.extend(page.items);
            if page.metadata.r#continue.is_empty() {
                return Ok(all);
            }
            next = format!("&continue={}", page.metadata.r#continue);
        }
    }

    /// What is at a path, as text: a log, or `/version`.
    ///
    /// # Errors
    /// In words: the server can't be reached or refuses.
    pub async fn text(&self, path: &str) -> Result<String, String> {
        self.inner.server.text(path).await.map_err(|failure| failure.words())
    }
}

async fn config(identity: &Identity) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions { context: identity.context.clone(), ..KubeConfigOptions::default() };
    let shown = |path: Option<&Path>| {
        path.map_or_else(|| "of the environment".to_owned(), |p| p.display().to_string())
    };
    let wrong = |why: String| ConnectError::Kubeconfig { path: shown(identity.kubeconfig.as_deref()), why };
    let file = match &identity.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map_err(|e| wrong(e.to_string()))?,
        None => match Kubeconfig::read() {
            Ok(file) => file,
            // In a pod there is none, and need not be.
            Err(error) => {
                let account = Config::incluster_env();
                return account
                    .map_err(|_| wrong(format!("{error}, and this is no pod with a service account")));
            }
        },
    };
    let mut config =
        Config::from_custom_kubeconfig(file, &options).await.map_err(|e| wrong(e.to_string()))?;
    config.connect_timeout = Some(crate::server::CONNECT);
    Ok(config)
}
