//! The plugin at its process boundary, with an agent of a few lines behind a real socket.

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use corduroy_ipc::cni::{Added, Interface, Ip, Mac, Route};
use corduroy_ipc::frame::{self, CNI_LIMIT};
use corduroy_ipc::version::Reply;
use proptest::prelude::*;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::Value;

use super::*;

/// A directory of its own for each test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("corduroy-cni-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What an agent got: the request, and the namespace's file descriptor.
type Seen = (CniRequest, Option<OwnedFd>);

/// Serves one connection with `answer`; with none it hangs up.
fn agent(dir: &Dir, answer: Option<CniAnswer>) -> JoinHandle<Seen> {
    let listener = UnixListener::bind(dir.0.join("cni.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut chunk = vec![0; 65536];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut chunk)];
        let got = rustix::net::recvmsg(&stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let mut bytes = chunk[..got.bytes].to_vec();
        while frame::body(&bytes, CNI_LIMIT).unwrap().is_none() {
            let mut more = [0; 4096];
            let n = stream.read(&mut more).unwrap();
            bytes.extend_from_slice(&more[..n]);
        }
        let json = frame::body(&bytes, CNI_LIMIT).unwrap().unwrap();
        let (version, request) = frame::read_ask(json).unwrap();
        if let Some(answer) = answer {
            stream.write_all(&frame::encode(&Reply { version, answer }, CNI_LIMIT).unwrap()).unwrap();
        }
        (request, fd)
    })
}

struct Outcome {
    ok: bool,
    json: Value,
    stderr: String,
}

impl Outcome {
    fn code(&self) -> u64 {
        assert!(!self.ok, "{}", self.json);
        self.json["code"].as_u64().unwrap()
    }
    fn msg(&self) -> &str {
        self.json["msg"].as_str().unwrap_or_default()
    }
}

fn call(env: &[(&str, &str)], stdin: &[u8]) -> Outcome {
    let env: BTreeMap<&str, &str> = env.iter().copied().collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = run(&mut Process {
        path: "/opt/cni/bin/corduroy",
        env: &|name| env.get(name).map(|value| (*value).to_owned()),
        stdin: &mut &stdin[..],
        stdout: &mut stdout,
        stderr: &mut stderr,
    });
    Outcome {
        ok: code == ExitCode::SUCCESS,
        json: if stdout.is_empty() { Value::Null } else { serde_json::from_slice(&stdout).unwrap() },
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// A namespace that is not the host's own. A UTS namespace serves: the plugin asks only whether it is one.
const NETNS: &str = "/proc/self/ns/uts";

fn env(command: &'static str) -> [(&'static str, &'static str); 5] {
    [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", NETNS),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1"),
    ]
}

fn config(dir: &Dir, version: &str, more: &Value) -> Vec<u8> {
    let mut config = json!({
        "cniVersion": version, "name": "fabric", "type": "corduroy", "runDir": dir.path(),
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config.to_string().into_bytes()
}

fn answer() -> CniAnswer {
    let interface = |name: &str, n| Interface { name: name.into(), mac: Mac([2, 0, 0, 0, 0, n]), mtu: 1450 };
    let gateways = ["169.254.1.1".parse().unwrap(), "fe80::1".parse().unwrap()];
    CniAnswer::Added(Added {
        host: interface("cord0123456789a", 1),
        container: interface("eth0", 2),
        ips: vec![
            Ip { address: "10.0.0.5/32".parse().unwrap(), gateway: gateways[0] },
            Ip { address: "fd00::5/128".parse().unwrap(), gateway: gateways[1] },
        ],
        routes: vec![
            Route { dst: "0.0.0.0/0".parse().unwrap(), gw: Some(gateways[0]) },
            Route { dst: "::/0".parse().unwrap(), gw: Some(gateways[1]) },
        ],
    })
}

#[test]
fn an_add_passes_the_namespace_as_a_descriptor_and_what_is_known_of_the_pod() {
    let dir = Dir::new();
    let agent = agent(&dir, Some(answer()));
    let more =
        json!({ "mtu": 1400, "ipam": { "pools": ["p"] }, "runtimeConfig": { "ips": ["10.0.0.5/24"] } });
    let outcome = call(&env("ADD"), &config(&dir, "1.1.0", &more));
    assert!(outcome.ok, "{}", outcome.json);
    let (request, fd) = agent.join().unwrap();
    let CniRequest::Add(add) = request else { panic!("{request:?}") };
    assert_eq!((add.key.network.as_str(), add.key.container_id.as_str()), ("fabric", "c1"));
    let pod = add.pod.unwrap();
    assert_eq!((pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()), ("default", "web-0", "u-1"));
    assert_eq!(
        (add.mtu, add.pools, add.ips),
        (Some(1400), vec!["p".into()], vec!["10.0.0.5".parse().unwrap()])
    );
    assert!(add.started > 0);
    let (passed, named) = (std::fs::File::from(fd.unwrap()), std::fs::metadata(NETNS).unwrap());
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&passed.metadata().unwrap()),
        std::os::unix::fs::MetadataExt::ino(&named)
    );
}

#[test]
fn the_result_has_the_shape_of_the_version_that_was_asked_for() {
    for version in config::VERSIONS {
        let dir = Dir::new();
        let agent = agent(&dir, Some(answer()));
        let outcome =
            call(&env("ADD"), &config(&dir, version, &json!({ "dns": { "nameservers": ["10.9.9.9"] } })));
        agent.join().unwrap();
        assert!(outcome.ok, "{}", outcome.json);
        let result = &outcome.json;
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["ips"][0]["interface"], 1);
        assert_eq!(result["interfaces"][1]["sandbox"], NETNS);
        assert_eq!(result["ips"][0].get("version").is_some(), version.starts_with("0."), "{version}");
        assert_eq!(result["interfaces"][0].get("mtu").is_some(), version == "1.1.0", "{version}");
        assert_eq!(result["routes"][1], json!({ "dst": "::/0", "gw": "fe80::1" }));
        assert_eq!(result["dns"]["nameservers"][0], "10.9.9.9");
    }
}

#[test]
fn in_a_chain_the_results_of_the_plugins_before_are_kept_and_keep_their_numbers() {
    let dir = Dir::new();
    let agent = agent(&dir, Some(answer()));
    let prev = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "lo", "sandbox": NETNS }],
        "ips": [{ "address": "127.0.0.1/8", "interface": 0 }],
        "dns": { "domain": "example" }, "extra": 7,
    });
    let outcome = call(&env("ADD"), &config(&dir, "1.0.0", &json!({ "prevResult": prev })));
    agent.join().unwrap();
    let result = &outcome.json;
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
    assert_eq!((&result["ips"][0]["interface"], &result["ips"][1]["interface"]), (&json!(0), &json!(2)));
    assert_eq!((&result["dns"]["domain"], &result["extra"]), (&json!("example"), &json!(7)));
}

#[test]
fn a_failure_of_the_agent_is_the_plugins_own() {
    let dir = Dir::new();
    let agent =
        agent(&dir, Some(CniAnswer::Failed(CniFailure::new(100, "no address left").details("pool p"))));
    let outcome = call(&env("ADD"), &config(&dir, "1.0.0", &json!({})));
    agent.join().unwrap();
    assert_eq!(outcome.code(), 100);
    assert_eq!(
        outcome.json,
        json!({
            "cniVersion": "1.0.0", "code": 100, "msg": "no address left", "details": "pool p"
        })
    );
}

#[test]
fn an_agent_that_hangs_up_is_worth_another_try() {
    let dir = Dir::new();
    let agent = agent(&dir, None);
    let outcome = call(&env("ADD"), &config(&dir, "1.0.0", &json!({})));
    agent.join().unwrap();
    assert_eq!(outcome.code(), u64::from(code::TRY_AGAIN_LATER));
    assert!(outcome.json["details"].as_str().unwrap().contains("hung up"), "{}", outcome.json);
}

#[test]
fn a_del_without_an_agent_succeeds_and_leaves_a_note() {
    let dir = Dir::new();
    let outcome = call(&env("DEL"), &config(&dir, "1.0.0", &json!({})));
    assert!(outcome.ok, "{}", outcome.json);
    let notes: Vec<_> = std::fs::read_dir(dir.0.join("spool")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(notes.len(), 1);
    let note: Del = serde_json::from_slice(&std::fs::read(&notes[0]).unwrap()).unwrap();
    assert_eq!(note.key.container_id, "c1");
    let name = format!("{}.json", note.key.host_interface());
    assert!(notes[0].ends_with(&name), "{notes:?}");
}

#[test]
fn a_del_needs_no_namespace_and_helps_itself_when_the_agent_is_not_ready() {
    let dir = Dir::new();
    let busy = CniFailure::new(code::TRY_AGAIN_LATER, "not in sync");
    let agent = agent(&dir, Some(CniAnswer::Failed(busy)));
    let outcome = call(&env("DEL")[..3], &config(&dir, "1.0.0", &json!({})));
    assert!(outcome.ok, "{}", outcome.json);
    assert!(matches!(agent.join().unwrap(), (CniRequest::Del(_), None)));
    assert_eq!(std::fs::read_dir(dir.0.join("spool")).unwrap().count(), 1);
}

#[test]
fn status_without_an_agent_fails_at_once_with_its_own_code() {
    let dir = Dir::new();
    let outcome = call(&[("CNI_COMMAND", "STATUS")], &config(&dir, "1.1.0", &json!({})));
    assert_eq!(outcome.code(), u64::from(code::NOT_AVAILABLE));
}

#[test]
fn check_asks_for_the_addresses_of_its_own_interface_only() {
    let dir = Dir::new();
    let agent = agent(&dir, Some(CniAnswer::Done));
    let prev = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            { "name": "cord0" }, { "name": "eth0", "sandbox": NETNS }, { "name": "x", "sandbox": "y" },
        ],
        "ips": [{ "address": "10.0.0.5/32", "interface": 1 }, { "address": "10.7.7.7/24", "interface": 2 }],
    });
    let outcome = call(&env("CHECK"), &config(&dir, "1.0.0", &json!({ "prevResult": prev })));
    let (request, fd) = agent.join().unwrap();
    // The agent is content, so the container is looked at; this one is no network namespace.
    assert_eq!(outcome.code(), u64::from(code::INVALID_NETNS), "{}", outcome.json);
    assert!(outcome.msg().contains("can't be entered"), "{}", outcome.json);
    let CniRequest::Check { ips, .. } = request else { panic!("{request:?}") };
    assert_eq!((ips, fd.is_some()), (vec!["10.0.0.5/32".parse().unwrap()], true));
    let outcome = call(&env("CHECK"), &config(&dir, "1.0.0", &json!({})));
    assert_eq!(outcome.code(), u64::from(code::INVALID_CONFIG));
    assert!(outcome.msg().contains("prevResult"), "{}", outcome.json);
}

#[test]
fn gc_passes_the_list_and_refuses_to_run_without_one() {
    let dir = Dir::new();
    let agent = agent(&dir, Some(CniAnswer::Done));
    let valid = json!({ "cni.dev/valid-attachments": [{ "containerID": "c2", "ifname": "eth0" }] });
    let outcome = call(&[("CNI_COMMAND", "GC")], &config(&dir, "1.1.0", &valid));
    assert!(outcome.ok, "{}", outcome.json);
    let (request, _) = agent.join().unwrap();
    assert!(matches!(&request, CniRequest::Gc { network, valid } if network == "fabric" && valid.len() == 1));
    let outcome = call(&[("CNI_COMMAND", "GC")], &config(&dir, "1.1.0", &json!({})));
    assert_eq!(outcome.code(), u64::from(code::INVALID_CONFIG));
}

#[test]
fn version_needs_nothing_else() {
    let outcome = call(&[("CNI_COMMAND", "VERSION")], br#"{"cniVersion":"0.4.0"}"#);
    assert_eq!(outcome.json["cniVersion"], "0.4.0");
    assert_eq!(outcome.json["supportedVersions"], json!(config::VERSIONS));
    assert!(call(&[("CNI_COMMAND", "VERSION")], b"").ok);
}

/// Environment, configuration, the code and a part of the message.
type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, u32, &'a str);

#[test]
fn bad_input_is_refused_with_field_value_and_what_is_allowed() {
    let (dir, add, gc) = (Dir::new(), env("ADD"), env("GC"));
    let good = config(&dir, "1.0.0", &json!({}));
    let with = |more: Value| config(&dir, "1.0.0", &more);
    let oversized = vec![b' '; STDIN_LIMIT + 1];
    let cases: Vec<Case<'_>> = vec![
        (&[], good.clone(), code::INVALID_ENVIRONMENT, "CNI_COMMAND"),
        (
            &[("CNI_COMMAND", "FLY")],
            good.clone(),
            code::INVALID_ENVIRONMENT,
            "\"FLY\", allowed is one of ADD",
        ),
        (
            &[("CNI_COMMAND", "ADD")],
            good,
            code::INVALID_ENVIRONMENT,
            "CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS",
        ),
        (&add, b"\xff\x00garbage".to_vec(), code::DECODE, "not JSON"),
        (&add, b"[1]".to_vec(), code::DECODE, "not a JSON object"),
        (&add, b"".to_vec(), code::DECODE, "not JSON"),
        (&add, oversized, code::INVALID_CONFIG, "more than 4194304 octets"),
        (&add, config(&dir, "9.9.9", &json!({})), code::INCOMPATIBLE_VERSION, "0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        (&gc, config(&dir, "1.0.0", &json!({})), code::INCOMPATIBLE_VERSION, "needs one of 1.1.0"),
        (&add, with(json!({ "name": "a b" })), code::INVALID_CONFIG, "name is \"a b\""),
        (
            &add,
            with(json!({ "mtu": "big" })),
            code::INVALID_CONFIG,
            "mtu is \"big\", allowed is octets from 1280",
        ),
        (
            &add,
            with(json!({ "socket": "here" })),
            code::INVALID_CONFIG,
            "socket is \"here\", allowed is an absolute",
        ),
        (&add, with(json!({ "ipam": { "pools": 5 } })), code::INVALID_CONFIG, "ipam.pools is 5"),
        (&add, with(json!({ "runtimeConfig": { "ips": ["x"] } })), code::INVALID_CONFIG, "ips is \"x\""),
        (&add, with(json!({ "runtimeConfig": { "mac": "x" } })), code::INVALID_CONFIG, "mac is \"x\""),
    ];
    for (env, stdin, code, text) in cases {
        let outcome = call(env, &stdin);
        assert_eq!(outcome.code(), u64::from(code), "{text}: {}", outcome.json);
        assert!(outcome.msg().contains(text), "{text}: {}", outcome.json);
    }
    assert!(call(&[], b"").stderr.contains("CNI plugin"));
}

#[test]
fn an_environment_no_runtime_should_give_is_refused() {
    let dir = Dir::new();
    let wrong = [
        ("CNI_CONTAINERID", "../x"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "sixteen-octets-x"),
        ("CNI_ARGS", "IP=x"),
    ];
    for (name, value) in wrong {
        let mut env = env("ADD").to_vec();
        env.retain(|(n, _)| *n != name);
        env.push((name, value));
        let outcome = call(&env, &config(&dir, "1.0.0", &json!({})));
        assert_eq!(outcome.code(), u64::from(code::INVALID_ENVIRONMENT), "{name}={value}: {}", outcome.json);
    }
}

#[test]
fn a_namespace_that_is_none_or_the_hosts_own_is_refused_before_the_agent_hears_of_it() {
    let dir = Dir::new();
    for (netns, code) in [
        ("/proc/self/ns/net", code::INVALID_NETNS),
        ("/proc/self/status", code::INVALID_NETNS),
        ("/var/run/netns/there-is-no-such-one", code::UNKNOWN_CONTAINER),
    ] {
        let mut env = env("ADD").to_vec();
        env.retain(|(n, _)| *n != "CNI_NETNS");
        env.push(("CNI_NETNS", netns));
        let outcome = call(&env, &config(&dir, "1.0.0", &json!({})));
        assert_eq!(outcome.code(), u64::from(code), "{netns}: {}", outcome.json);
    }
}

proptest! {
    #[test]
    fn whatever_stands_on_standard_input_gets_an_answer_in_json(
        stdin in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let outcome = call(&env("CHECK"), &stdin);
        prop_assert!(outcome.code() > 0);
    }

    #[test]
    fn whatever_json_stands_on_standard_input_is_refused_or_has_a_name(
        name in "[a-z ]{0,6}",
        version in prop_oneof![Just("1.0.0"), Just("1.1.0"), Just("0.2.0"), Just("x")],
        field in "(mtu|ipam|args|runtimeConfig|prevResult|dns|socket|runDir)",
        value in prop_oneof![
            Just(json!(null)), Just(json!(7)), Just(json!("x")), Just(json!([1])), Just(json!({"a": 1})),
        ],
    ) {
        let mut config = json!({ "cniVersion": version, "name": name, "type": "corduroy" });
        config[&field] = value;
        // CHECK ends at the missing addresses at the latest, so nothing is asked of anybody.
        let outcome = call(&env("CHECK"), config.to_string().as_bytes());
        prop_assert!(outcome.code() > 0);
    }
}
