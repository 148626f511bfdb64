//! Metrics and health over HTTP.
//!
//! | Path | Answer |
//! |---|---|
//! | `/metrics` | Prometheus text (version 0.0.4) |
//! | `/healthz` | 200 `ok` while the program's parts answer, else 503 and why: restart it |
//! | `/readyz` | 200 `ok` when everything the datastore said is in force, else 503 and why: wait |

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// How long the program may take to say how it is before it counts as not alive.
const PATIENCE: Duration = Duration::from_secs(5);

/// A future that a trait object can return.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A program that can be asked how it is.
pub trait Observed: Send + Sync + 'static {
    /// Everything it counts, as Prometheus text.
    fn metrics(&self) -> Pending<'_, String>;
    /// Do all its parts still work? Else which does not.
    fn alive(&self) -> Pending<'_, Result<(), String>>;
    /// Does it do what it is there for? Else what it waits for.
    fn ready(&self) -> Pending<'_, Result<(), String>>;
}

/// Listens at `address`; answers until the returned future is dropped.
///
/// # Errors
/// The address can't be had.
pub async fn serve(
    address: SocketAddr,
    program: Arc<dyn Observed>,
) -> io::Result<(SocketAddr, impl Future<Output = io::Result<()>> + Send)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(program);
    Ok((bound, async move { axum::serve(listener, router).await }))
}

async fn metrics(State(program): State<Arc<dyn Observed>>) -> Response {
    match tokio::time::timeout(PATIENCE, program.metrics()).await {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response(),
    }
}

async fn healthz(State(program): State<Arc<dyn Observed>>) -> Response {
    verdict(program.alive()).await
}

async fn readyz(State(program): State<Arc<dyn Observed>>) -> Response {
    verdict(program.ready()).await
}

async fn verdict(asked: Pending<'_, Result<(), String>>) -> Response {
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())));
    match answer {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    struct Waiting;

    impl Observed for Waiting {
        fn metrics(&self) -> Pending<'_, String> {
            Box::pin(async { "up 1\n".to_owned() })
        }
        fn alive(&self) -> Pending<'_, Result<(), String>> {
            Box::pin(async { Ok(()) })
        }
        fn ready(&self) -> Pending<'_, Result<(), String>> {
            Box::pin(async { Err("IPPool: waiting".to_owned()) })
        }
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_path_says_what_it_is_there_for() {
        let (address, serving) = serve("127.0.0.1:0".parse().unwrap(), Arc::new(Waiting)).await.unwrap();
        let task = tokio::spawn(serving);
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("200 OK") && metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.ends_with("up 1\n"));
        assert!(get(address, "/healthz").await.contains("200 OK"));
        let ready = get(address, "/readyz").await;
        assert!(ready.contains("503") && ready.ends_with("IPPool: waiting\n"), "{ready}");
        assert!(get(address, "/").await.contains("404"));
        task.abort();
    }
}
