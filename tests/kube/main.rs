//! `kube`: the test cluster for people. `make kube-up` and `make kube-down` call it.
//!
//! A cluster lives as long as the process that made it (see `corduroy_tests::topology`). So `up` starts this program
//! once more, as the cluster's holder, and waits until that one has written down how the cluster is reached; `down`
//! ends the holder, and with it goes everything.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "the harness fails by panicking, and so does what uses it"
)]

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use corduroy_tests::kube::Cluster;
use corduroy_tests::wait_for;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

const USAGE: &str = "usage: kube up [NODES] | down | info
       kube kubectl ARGUMENT…      as an administrator
       kube node NAME [COMMAND…]   a shell, or a command, on a node
       kube import ARCHIVE         a container image, onto all nodes";

/// How long a holder may take.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match *words {
        ["up"] => up("2"),
        ["up", nodes] => up(nodes),
        ["hold", nodes] => hold(nodes),
        ["down"] => down(),
        ["info"] => state().map(|state| println!("{}", directions(&state))),
        ["kubectl", ref rest @ ..] => kubectl(rest),
        ["node", name] => node(name, &["bash"]),
        ["node", name, ref rest @ ..] => node(name, rest),
        ["import", archive] => import(Path::new(archive)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("kube: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A file about the cluster that is up. Several at once need a directory each.
fn file(name: &str) -> PathBuf {
    let dir = std::env::var_os("CORDUROY_KUBE_DIR").unwrap_or_else(|| "/run/corduroy-kube".into());
    Path::new(&dir).join(name)
}

/// What the holder wrote down, if it still runs.
fn state() -> Result<Value, String> {
    let text =
        fs::read_to_string(file("state.json")).map_err(|_| "no cluster is up: make kube-up".to_owned())?;
    let state: Value = serde_json::from_str(&text).map_err(|e| format!("state.json: {e}"))?;
    let alive = holder(&state).is_some_and(|pid| test_kill_process(pid).is_ok());
    if alive { Ok(state) } else { Err("the cluster has ended: make kube-up".to_owned()) }
}

/// The holder, unless its process id is somebody else's by now.
fn holder(state: &Value) -> Option<Pid> {
    let pid = i32::try_from(state["pid"].as_i64()?).ok()?;
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    command.contains("\0hold\0").then(|| Pid::from_raw(pid)).flatten()
}

fn up(nodes: &str) -> Result<(), String> {
    nodes.parse::<u8>().map_err(|_| format!("`{nodes}` nodes: a number up to 200 is wanted"))?;
    if state().is_ok() {
        return Err("a cluster is up already: make kube-down".to_owned());
    }
    let io = |e: std::io::Error| e.to_string();
    fs::create_dir_all(file("")).map_err(io)?;
    let _ = fs::remove_file(file("state.json"));
    let log = File::create(file("log")).map_err(io)?;
    let mut holder = Command::new(std::env::current_exe().map_err(io)?);
    holder.args(["hold", nodes]).stdin(Stdio::null()).stdout(log.try_clone().map_err(io)?).stderr(log);
    let mut holder = holder.process_group(0).spawn().map_err(io)?;
    let ready = wait_for(PATIENCE, || match (state(), holder.try_wait()) {
        (Ok(state), _) => Ok(Some(state)),
        (_, Ok(Some(_))) => Ok(None),
        _ => Err("it is not up yet".to_owned()),
    });
    match ready {
        Ok(Some(state)) => println!("{}", directions(&state)),
        _ => {
            let _ = holder.kill();
            return Err(format!(
                "no cluster came up:\n{}",
                fs::read_to_string(file("log")).unwrap_or_default()
            ));
        }
    }
    Ok(())
}

/// Makes a cluster and holds it until a signal ends this process.
fn hold(nodes: &str) -> Result<(), String> {
    let nodes = nodes.parse().map_err(|e| format!("{nodes}: {e}"))?;
    let mut cluster = Cluster::start("kube", nodes);
    if std::env::var_os("STAND_IN").is_some_and(|wanted| wanted == "1") {
        cluster.stand_in();
        cluster.ready();
        cluster.name_server();
    }
    let enter =
        |node: &corduroy_tests::kube::Machine| Some((node.name().to_owned(), json!(node.enter().ok()?)));
    let state = json!({
        "pid": std::process::id(),
        "ledger": cluster.control().host().dir().ancestors().nth(2),
        "host": cluster.control().host().name(),
        "kubeconfig": cluster.kubeconfig(),
        "kubectl": cluster.kubectl().program(),
        "nodes": cluster.nodes().iter().filter_map(enter).collect::<serde_json::Map<_, _>>(),
    });
    let draft = file("draft");
    fs::write(&draft, state.to_string()).map_err(|e| e.to_string())?;
    fs::rename(draft, file("state.json")).map_err(|e| e.to_string())?;
    loop {
        std::thread::park();
    }
}

fn down() -> Result<(), String> {
    let text = fs::read_to_string(file("state.json")).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(pid) = holder(&state) else {
        println!("no cluster is up");
        return Ok(());
    };
    kill_process(pid, Signal::TERM).map_err(|e| format!("can't end process {pid:?}: {e}"))?;
    // Its guardian sweeps; the ledger goes last.
    let ledger = Path::new(word(&state["ledger"]));
    let gone = || if ledger.exists() { Err(format!("{} is still there", ledger.display())) } else { Ok(()) };
    wait_for(PATIENCE, gone)?;
    let _ = fs::remove_dir_all(file(""));
    println!("the cluster is gone");
    Ok(())
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a person wants to know who has just got a cluster.
fn directions(state: &Value) -> String {
    let me = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("kube")).display().to_string();
    let nodes: Vec<_> =
        state["nodes"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    format!(
        "A cluster is up: nodes {}.\n\
         {me} kubectl get nodes -o wide\n\
         {me} node {} ip route\n\
         {me} import image.tar\n\
         Its network namespaces are listed by `ip netns`; the control plane is in {}, the kubeconfig is\n\
         {}\n\
         Nodes turn Ready when a CNI plugin is installed; `make kube-up STAND_IN=1` brings one.\n\
         `make kube-down` ends it.",
        nodes.join(", "),
        nodes.first().unwrap_or(&"n1"),
        word(&state["host"]),
        word(&state["kubeconfig"]),
    )
}

/// Becomes another program; comes back only with the reason why not.
fn become_command(words: &[&str]) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no command")?;
    Err(format!("can't run {program}: {}", Command::new(program).args(arguments).exec()))
}

fn kubectl(arguments: &[&str]) -> Result<(), String> {
    let state = state()?;
    let enter = ["ip", "netns", "exec", word(&state["host"]), word(&state["kubectl"])];
    let own = ["--kubeconfig", word(&state["kubeconfig"])];
    become_command(&[&enter[..], &own[..], arguments].concat())
}

/// What enters a node, by its name.
fn entrance<'a>(state: &'a Value, name: &str) -> Result<Vec<&'a str>, String> {
    let words = state["nodes"][name].as_array().ok_or_else(|| format!("there is no node {name}"))?;
    Ok(words.iter().map(word).collect())
}

fn node(name: &str, command: &[&str]) -> Result<(), String> {
    let state = state()?;
    become_command(&[&entrance(&state, name)?[..], command].concat())
}

fn import(archive: &Path) -> Result<(), String> {
    let state = state()?;
    for (name, _) in state["nodes"].as_object().into_iter().flatten() {
        let file = File::open(archive).map_err(|e| format!("{}: {e}", archive.display()))?;
        let enter = entrance(&state, name)?;
        let mut command = Command::new("nsenter");
        command.args(enter.iter().skip(1)).args(["ctr", "--namespace", "k8s.io", "images", "import", "-"]);
        let status = command.stdin(file).status().map_err(|e| format!("can't run nsenter: {e}"))?;
        if !status.success() {
            return Err(format!("{name} did not take {}: {status}", archive.display()));
        }
    }
    Ok(())
}
