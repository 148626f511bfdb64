//! Against a server that says what it is told to: what a real one does only in rare moments.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use corduroy_api::{Asked, Event, IpamBlock, Key, Kind, Resource, Source, Version, Write, WriteError};
use corduroy_datastore::{Datastore, Watch};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Inner, Kubernetes, Scope, Server};

/// What is expected (method, part of the path) and what is answered.
type Turn = (&'static str, &'static str, u16, String);

/// A server that plays turns and then answers no more.
#[derive(Clone, Default)]
pub(crate) struct Script {
    turns: Arc<Mutex<VecDeque<Turn>>>,
    bodies: Arc<Mutex<Vec<Value>>>,
    played: Arc<Notify>,
}

impl tower_service::Service<Request<Body>> for Script {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let script = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // Definitions are looked at beside everything else.
            if head.uri.path().ends_with("/customresourcedefinitions") {
                return std::future::pending().await;
            }
            let Some((method, path, code, answer)) = script.turns.lock().unwrap().pop_front() else {
                return std::future::pending().await;
            };
            script.played.notify_one();
            let asked = format!("{} {}", head.method, head.uri);
            assert!(asked.starts_with(method) && asked.contains(path), "{asked} instead of {method} …{path}");
            let bytes = body.collect_bytes().await.unwrap();
            script.bodies.lock().unwrap().push(serde_json::from_slice(&bytes).unwrap_or_default());
            if code == 0 {
                return std::future::pending().await;
            }
            Ok(Response::builder().status(code).body(Body::from(answer.into_bytes())).unwrap())
        })
    }
}

impl Script {
    pub(crate) fn store(turns: Vec<Turn>) -> (Kubernetes, Self) {
        let script = Self {
            turns: Arc::new(Mutex::new(turns.into())),
            bodies: Arc::default(),
            played: Arc::default(),
        };
        let server = Server::over(Client::new(script.clone(), "corduroy"));
        let runtime = tokio::runtime::Handle::current();
        let scope = Scope { namespace: "corduroy".to_owned(), node: Some("a".to_owned()) };
        let (feeds, definitions) = (Mutex::default(), OnceLock::new());
        let asked = tokio::sync::watch::Sender::default();
        let inner = Inner { server, scope, runtime, feeds, definitions, asked };
        (Kubernetes { inner: Arc::new(inner) }, script)
    }

    /// Waits until only so many turns are left.
    async fn left(&self, number: usize) {
        while self.turns.lock().unwrap().len() > number {
            let played = tokio::time::timeout(Duration::from_secs(600), self.played.notified());
            played.await.unwrap_or_else(|_| panic!("more than {number} turns are left"));
        }
    }
}

fn pool(name: &str, cidr: &str, version: &str) -> Value {
    json!({ "metadata": { "name": name, "uid": "u", "resourceVersion": version }, "spec": { "cidr": cidr } })
}

fn page(from: &str, pool: &Value) -> String {
    json!({ "metadata": { "resourceVersion": "7", "continue": from }, "items": [pool] }).to_string()
}

fn lines(events: &[(&str, Value)]) -> String {
    events
        .iter()
        .map(|(r#type, object)| format!("{}\n", json!({ "type": r#type, "object": object })))
        .collect()
}

fn bookmark(version: &str, annotations: &Value) -> Value {
    let metadata = json!({ "resourceVersion": version, "annotations": annotations });
    json!({ "apiVersion": "corduroy.dev/v1alpha1", "kind": "IPPool", "metadata": metadata })
}

fn end_of_replay(version: &str) -> (&'static str, Value) {
    ("BOOKMARK", bookmark(version, &json!({ "k8s.io/initial-events-end": "true" })))
}

fn status(code: u16, reason: &str, message: &str, name: &str) -> String {
    json!({
        "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
        "details": { "name": name },
    })
    .to_string()
}

/// The next events in a few words each.
async fn told(watch: &mut Watch, number: usize) -> Vec<String> {
    let mut out = Vec::new();
    while out.len() < number {
        let event = tokio::time::timeout(Duration::from_secs(600), watch.next()).await;
        out.push(match event.unwrap_or_else(|_| panic!("after {out:?} nothing more comes")) {
            Event::Put(Resource::IpPool(pool)) => format!("{} {}", pool.metadata.name, pool.cidr),
            Event::Put(Resource::ServiceEndpoints(service)) => {
                let at = service.endpoints.iter().map(|it| it.address.to_string()).collect::<Vec<_>>();
                format!("{} at [{}]", service.metadata.name, at.join(", "))
            }
            Event::Put(other) => other.key().to_string(),
            Event::Gone(key) => format!("{} gone", key.name),
            Event::InSync { from: Source::Live, .. } => "in sync".to_owned(),
            Event::Unavailable { why, .. } => why,
            other => format!("{other:?}"),
        });
    }
    out
}

const LIST: &str = "/apis/corduroy.dev/v1alpha1/ippools?limit=500";
const REPLAY: &str = "ippools?watch=1&allowWatchBookmarks=true&sendInitialEvents=true";

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_is_asked_for_pages_and_watched_from_their_version() {
    // In the answer, as servers without the feature do, or in the stream, as those with an old etcd do.
    let old = serde_json::from_str(&status(500, "InternalError", "etcd is too old", "")).unwrap();
    let refusals = [
        (422, status(422, "Invalid", "sendInitialEvents: Forbidden", "")),
        (500, status(500, "InternalError", "etcd is too old", "")),
        (200, lines(&[("ERROR", old)])),
    ];
    for (code, refusal) in refusals {
        let (store, script) = Script::store(vec![
            ("GET", REPLAY, code, refusal),
            ("GET", LIST, 200, page("next", &pool("a", "10.1.0.0/16", "5"))),
            ("GET", "ippools?limit=500&continue=next", 200, page("", &pool("b", "10.2.0.0/16", "5"))),
            ("GET", "&resourceVersion=7", 200, String::new()),
            ("GET", "&resourceVersion=7", 200, lines(&[("DELETED", pool("a", "10.1.0.0/16", "8"))])),
            ("GET", "&resourceVersion=8", 0, String::new()),
        ]);
        let mut watch = store.watch(&[Kind::IpPool]);
        let all = ["a 10.1.0.0/16", "b 10.2.0.0/16", "in sync", "a gone"];
        assert_eq!(told(&mut watch, 4).await, all);
        // The watch goes on from where it ended.
        script.left(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_may_be_listed_as_null() {
    let (store, _) = Script::store(vec![
        ("GET", REPLAY, 422, status(422, "Invalid", "sendInitialEvents: Forbidden", "")),
        ("GET", LIST, 200, json!({ "metadata": { "resourceVersion": "7" }, "items": null }).to_string()),
        ("GET", "&resourceVersion=7", 200, String::new()),
    ]);
    let mut watch = store.watch(&[Kind::IpPool]);
    assert_eq!(told(&mut watch, 1).await, ["in sync"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_version_is_forgotten_everything_is_said_again_and_what_is_gone_goes() {
    let gone: Value = serde_json::from_str(&status(410, "Expired", "too old resource version", "")).unwrap();
    let (store, _) = Script::store(vec![
        (
            "GET",
            REPLAY,
            200,
            lines(&[
                ("ADDED", pool("a", "10.1.0.0/16", "3")),
                ("ADDED", pool("b", "10.2.0.0/16", "4")),
                end_of_replay("9"),
                ("BOOKMARK", bookmark("12", &json!({}))),
            ]),
        ),
        ("GET", "&resourceVersion=12", 200, lines(&[("ERROR", gone.clone())])),
        // Half a replay is none.
        ("GET", REPLAY, 200, lines(&[("ADDED", pool("b", "10.2.0.0/16", "4"))])),
        ("GET", REPLAY, 200, lines(&[("ADDED", pool("b", "10.3.0.0/16", "20")), end_of_replay("21")])),
        ("GET", "&resourceVersion=21", 410, status(410, "Expired", "too old", "")),
        ("GET", REPLAY, 200, lines(&[end_of_replay("30")])),
    ]);
    let mut watch = store.watch(&[Kind::IpPool]);
    assert_eq!(told(&mut watch, 3).await, ["a 10.1.0.0/16", "b 10.2.0.0/16", "in sync"]);
    assert_eq!(told(&mut watch, 2).await, ["b 10.3.0.0/16", "a gone"]);
    assert_eq!(told(&mut watch, 1).await, ["b gone"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_or_missing_is_unavailable_in_the_servers_words_until_it_is_not() {
    let denied = "ippools.corduroy.dev is forbidden: User \"u\" cannot list resource";
    let (store, _) = Script::store(vec![
        ("GET", REPLAY, 403, status(403, "Forbidden", denied, "")),
        ("GET", REPLAY, 404, "404 page not found\n".to_owned()),
        ("GET", REPLAY, 200, lines(&[end_of_replay("9")])),
    ]);
    let mut watch = store.watch(&[Kind::IpPool]);
    assert_eq!(told(&mut watch, 1).await, [format!("the API server says 403: {denied}")]);
    let missing = "the API server does not know this kind: its CustomResourceDefinition is missing";
    assert_eq!(told(&mut watch, 2).await, [missing, "in sync"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_and_trouble_is_told_only_when_it_lasts() {
    let busy = || status(429, "TooManyRequests", "too many", "");
    let (store, script) = Script::store(vec![
        ("GET", REPLAY, 200, lines(&[end_of_replay("9")])),
        ("GET", "&resourceVersion=9", 429, busy()),
        ("GET", "&resourceVersion=9", 200, String::new()),
        ("GET", "&resourceVersion=9", 429, busy()),
        ("GET", "&resourceVersion=9", 429, busy()),
        ("GET", "&resourceVersion=9", 429, busy()),
        ("GET", "&resourceVersion=9", 0, String::new()),
        ("GET", "&resourceVersion=9", 200, lines(&[("ADDED", pool("a", "10.1.0.0/16", "10"))])),
    ]);
    let mut watch = store.watch(&[Kind::IpPool]);
    let silence = "the API server can't be reached: no answer within 15 s";
    let words = ["in sync", "the API server says 429: too many", silence, "in sync", "a 10.1.0.0/16"];
    assert_eq!(told(&mut watch, 5).await, words);
    script.left(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_that_says_the_same_tells_nobody_and_a_write_on_the_old_one_goes_through() {
    let mut touched = pool("a", "10.1.0.0/16", "11");
    touched["status"] = json!({ "conditions": [] });
    let (store, script) = Script::store(vec![
        (
            "GET",
            REPLAY,
            200,
            lines(&[
                ("ADDED", pool("a", "10.1.0.0/16", "3")),
                end_of_replay("9"),
                ("MODIFIED", touched.clone()),
            ]),
        ),
        ("GET", "&resourceVersion=11", 0, String::new()),
        ("PATCH", "/ippools/a", 409, status(409, "Conflict", "the object has been modified", "a")),
        ("GET", "/ippools/a", 200, touched.to_string()),
        ("PATCH", "/ippools/a", 200, pool("a", "10.1.0.0/16", "12").to_string()),
        ("DELETE", "/ippools/a", 409, status(409, "Conflict", "Precondition failed", "a")),
        ("GET", "/ippools/a", 200, pool("a", "10.9.0.0/16", "13").to_string()),
    ]);
    let mut watch = store.watch(&[Kind::IpPool]);
    let Event::Put(pool) = watch.next().await else { panic!("the pool comes first") };
    assert_eq!(told(&mut watch, 1).await, ["in sync"]);
    script.left(5).await;
    assert_eq!(watch.try_next(), None);
    assert_eq!(store.write(Write::Update(pool.clone())).await, Ok(Version("12".to_owned())));
    let patch = script.bodies.lock().unwrap()[4].clone();
    assert_eq!(patch[0], json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": "11" }));
    let (key, version) = (pool.key(), Version("3".to_owned()));
    let deleted = store.write(Write::Delete { key: key.clone(), version }).await;
    assert_eq!(deleted, Err(WriteError::Conflict { key }), "it says something else by now");
}

#[tokio::test(start_paused = true)]
async fn a_creation_whose_answer_was_lost_counts_if_it_was_carried_out() {
    let claim = |node: &str| {
        let block = IpamBlock::claim("10.244.0.0/26".parse().unwrap(), node, "uid-a", 1);
        Resource::IpamBlock(Arc::new(block))
    };
    let name = claim("a").key().name;
    let metadata = json!({ "name": name, "uid": "u", "resourceVersion": "5" });
    let spec = json!({ "cidr": "10.244.0.0/26", "node": "a", "nodeUID": "uid-a", "epoch": 1 });
    let stands = json!({ "metadata": metadata, "spec": spec }).to_string();
    let (store, _) = Script::store(vec![
        ("POST", "/ipamblocks", 0, String::new()),
        ("GET", "/ipamblocks/", 200, stands.clone()),
        ("POST", "/ipamblocks", 0, String::new()),
        ("GET", "/ipamblocks/", 200, stands),
        ("POST", "/ipamblocks", 504, status(504, "Timeout", "request did not complete", "")),
        ("GET", "/ipamblocks/", 404, status(404, "NotFound", "not found", &name)),
    ]);
    assert_eq!(store.write(Write::Create(claim("a"))).await, Ok(Version("5".to_owned())));
    let key = Key::new(Kind::IpamBlock, name);
    let why = "the API server can't be reached: no answer within 15 s".to_owned();
    let other = store.write(Write::Create(claim("b"))).await;
    assert_eq!(other, Err(WriteError::Unavailable { key: key.clone(), why }));
    let why = "the API server says 504: request did not complete".to_owned();
    assert_eq!(store.write(Write::Create(claim("a"))).await, Err(WriteError::Unavailable { key, why }));
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_a_write_is_told_as_what_it_is() {
    let block = Resource::IpamBlock(Arc::new(IpamBlock::claim("10.0.0.0/26".parse().unwrap(), "n", "u", 1)));
    let key = block.key();
    let why = |code, message| format!("the API server says {code}: {message}");
    let missing =
        "the API server does not know this kind: its CustomResourceDefinition is missing".to_owned();
    let key = || key.clone();
    let cases = [
        (409, "AlreadyExists", "exists", WriteError::Exists { key: key() }),
        (422, "Invalid", "spec.cidr: no", WriteError::Refused { key: key(), why: why(422, "spec.cidr: no") }),
        (403, "Forbidden", "no", WriteError::Unavailable { key: key(), why: why(403, "no") }),
        (
            404,
            "NotFound",
            "the server could not find it",
            WriteError::Unavailable { key: key(), why: missing },
        ),
        (429, "TooManyRequests", "later", WriteError::Unavailable { key: key(), why: why(429, "later") }),
    ];
    for (code, reason, message, wanted) in cases {
        let (store, _) =
            Script::store(vec![("POST", "/ipamblocks", code, status(code, reason, message, ""))]);
        assert_eq!(store.write(Write::Create(block.clone())).await, Err(wanted));
    }
}

fn bgp_configuration(spec: &Value) -> Value {
    json!({ "metadata": { "name": "default", "uid": "u", "resourceVersion": "4" }, "spec": spec })
}

const CONFIGURATIONS: &str = "bgpconfigurations?watch=1&allowWatchBookmarks=true&sendInitialEvents=true";
/// Watches that go on where a replay ended.
const GOING_ON: Turn = ("GET", "&resourceVersion=9", 0, String::new());

#[tokio::test(start_paused = true)]
async fn services_are_not_asked_for_while_no_bgp_configuration_names_a_range() {
    let plain = bgp_configuration(&json!({ "asNumber": 64512 }));
    let (store, script) = Script::store(vec![
        ("GET", CONFIGURATIONS, 200, lines(&[("ADDED", plain), end_of_replay("9")])),
        GOING_ON,
    ]);
    let mut watch = store.watch(&[Kind::Service, Kind::EndpointSlice]);
    assert_eq!(told(&mut watch, 2).await, ["in sync", "in sync"]);
    script.left(0).await;
}

#[tokio::test(start_paused = true)]
async fn slices_are_asked_for_of_services_with_a_local_policy_only() {
    let ranges = bgp_configuration(&json!({ "serviceClusterIPs": [{ "cidr": "10.96.0.0/16" }] }));
    let service = |name: &str, policy: &str| {
        json!({
            "metadata": { "name": name, "namespace": "x", "resourceVersion": "4" },
            "spec": { "clusterIPs": ["10.96.0.9"], "externalTrafficPolicy": policy },
        })
    };
    let slice = json!({
        "metadata": { "name": "web-1", "namespace": "x", "resourceVersion": "4",
            "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
    });
    let services = [("ADDED", service("web", "Local")), ("ADDED", service("dns", "")), end_of_replay("9")];
    let chosen = "&labelSelector=kubernetes.io%2Fservice-name%20in%20(web)";
    let (store, script) = Script::store(vec![
        ("GET", CONFIGURATIONS, 200, lines(&[("ADDED", ranges), end_of_replay("9")])),
        ("GET", "/api/v1/services?watch=1", 200, lines(&services)),
        ("GET", chosen, 200, lines(&[("ADDED", slice), end_of_replay("9")])),
        GOING_ON,
        GOING_ON,
        GOING_ON,
    ]);
    let mut watch = store.watch(&[Kind::Service, Kind::EndpointSlice]);
    let all = ["Service/x/web", "Service/x/dns", "in sync", "EndpointSlice/x/web-1", "in sync"];
    assert_eq!(told(&mut watch, 5).await, all);
    script.left(0).await;
}

fn service_slice(name: &str, address: &str) -> Value {
    json!({
        "metadata": { "name": format!("{name}-1"), "namespace": "x", "resourceVersion": "4",
            "labels": { "kubernetes.io/service-name": name } },
        "addressType": "IPv4", "ports": [{ "protocol": "TCP", "port": 80 }],
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
    })
}

#[tokio::test(start_paused = true)]
async fn of_services_that_policies_name_the_slices_are_watched_where_they_are_and_no_others() {
    let slices = |names: &[&str]| -> String {
        let all = names.iter().map(|name| ("ADDED", service_slice(name, "10.0.0.9")));
        lines(&all.chain([end_of_replay("9")]).collect::<Vec<_>>())
    };
    let within = "/apis/discovery.k8s.io/v1/namespaces/x/endpointslices?watch=1";
    let one = "&labelSelector=kubernetes.io%2Fservice-name%20in%20(web)";
    let two = "&labelSelector=kubernetes.io%2Fservice-name%20in%20(none%2Cweb)";
    // The first answer breaks off: what it said of the service is half of it.
    let half = lines(&[("ADDED", service_slice("web", "10.0.0.8"))]);
    let (store, script) = Script::store(vec![
        ("GET", one, 200, half),
        ("GET", one, 200, slices(&["web"])),
        ("GET", within, 0, String::new()),
        ("GET", two, 200, slices(&["web"])),
        GOING_ON,
    ]);
    let asking = |services: &[&str]| Asked {
        services: services.iter().map(|name| (*name).to_owned()).collect(),
        ..Asked::default()
    };
    let mut watch = store.watch(&[Kind::ServiceEndpoints]);
    assert_eq!(told(&mut watch, 1).await, ["in sync"], "nobody asked for any");
    store.ask(asking(&["x/web"]));
    assert_eq!(told(&mut watch, 1).await, ["x/web at [10.0.0.9]"]);
    script.left(2).await;
    store.ask(asking(&["x/none", "x/web"]));
    assert_eq!(told(&mut watch, 1).await, ["x/none at []"], "it has no slice, and that is known");
    store.ask(Asked::default());
    assert_eq!(told(&mut watch, 2).await, ["x/none gone", "x/web gone"]);
}

#[tokio::test(start_paused = true)]
async fn what_depends_on_a_kind_that_can_not_be_had_can_not_be_had_either() {
    let denied = || ("GET", "", 403, status(403, "Forbidden", "no", ""));
    let (store, _) = Script::store((0..40).map(|_| denied()).collect());
    for kind in [Kind::Secret, Kind::Service, Kind::EndpointSlice] {
        let mut watch = store.watch(&[kind]);
        let told = told(&mut watch, 1).await;
        assert!(told[0].contains("can't be had: the API server says 403"), "{kind}: {told:?}");
    }
}
