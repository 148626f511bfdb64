//! The CNI plugin (CNI specification 1.1.0; results of 0.3.1 to 1.1.0).
//!
//! ```text
//!  runtime ─ environment, configuration ─► env, config ─► CniRequest ─► agent's socket (netns as SCM_RIGHTS)
//!          ◄──────────── result ◄─ result (merged with prevResult) ◄─ CniAnswer ◄─┘
//! ```
//!
//! A thin client: addresses, links, routes and rules are the agent's business. The plugin reads what the
//! runtime says, refuses what nobody could make sense of, opens the container's namespace and hands it over
//! as a file descriptor, so that the agent needs no view of the runtime's mounts.
//!
//! * No agent, or one that is not in sync: ADD, CHECK and GC wait up to [`client::PATIENCE`] and then fail
//!   with error 11 (try again later). STATUS does not wait.
//! * DEL must not depend on anybody: without an agent the plugin removes the link itself (everything else of
//!   the pod goes with it), leaves a note for the agent in `runDir/spool`, and succeeds.
//! * Called as `loopback` it is that plugin, for nodes that have none.
//! * CHECK: the agent compares the host's side with what it should be, the plugin looks into the container.
//! * A plugin that is killed half way closes its connection, and the agent rolls back.
//!
//! One process, one request, no threads, and nothing that makes a process slow to start.

use std::io::{Read, Write};
use std::process::ExitCode;

use corduroy_ipc::cni::{Add, CniAnswer, CniFailure, CniRequest, Del, code};
use serde_json::json;

pub mod client;
mod config;
mod env;
mod inside;
mod loopback;
mod netlink;
mod netns;
mod result;
mod unwire;

use client::{Client, Trouble};
use config::Config;
use env::{Attachment, Command, Environment};
use result::Expected;

/// The most octets of configuration on standard input: a GC list of 10,000 attachments takes about 1 MB.
pub const STDIN_LIMIT: usize = 4 << 20;

/// Everything the plugin takes from and gives to the process around it.
pub struct Process<'a> {
    /// The path by which the plugin was called: as `loopback` it is that plugin.
    pub path: &'a str,
    /// An environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The network configuration.
    pub stdin: &'a mut dyn Read,
    /// The result, or the error as JSON.
    pub stdout: &'a mut dyn Write,
    /// For people.
    pub stderr: &'a mut dyn Write,
}

/// Serves one call. The exit code is 0 on success, else 1 with the error on standard output.
pub fn run(process: &mut Process<'_>) -> ExitCode {
    let started = client::boottime();
    // What the error says of its version; the configuration may not be readable.
    let mut version = config::NEWEST.to_owned();
    match serve(process, started, &mut version) {
        Ok(output) => {
            if process.stdout.write_all(output.as_bytes()).and_then(|()| process.stdout.flush()).is_ok() {
                return ExitCode::SUCCESS;
            }
            let _ = writeln!(process.stderr, "corduroy: the result could not be written to standard output");
        }
        Err(failure) => {
            let mut error = json!({ "cniVersion": version, "code": failure.code, "msg": failure.msg });
            if !failure.details.is_empty() {
                error["details"] = failure.details.into();
            }
            let _ = process.stdout.write_all(error.to_string().as_bytes());
        }
    }
    ExitCode::FAILURE
}

fn serve(process: &mut Process<'_>, started: u64, version: &mut String) -> Result<String, CniFailure> {
    if (process.env)("CNI_COMMAND").is_none() {
        let _ = writeln!(
            process.stderr,
            "corduroy {} is a CNI plugin: a container runtime calls it, with CNI_COMMAND in the environment",
            env!("CARGO_PKG_VERSION")
        );
    }
    let environment = Environment::read(process.env)?;
    let stdin = read_stdin(process.stdin)?;
    if environment.command == Command::Version {
        return config::versions(&stdin);
    }
    let config = Config::read(&stdin, &environment)?;
    version.clone_from(&config.version);
    if process.path.rsplit('/').next() == Some(loopback::NAME) {
        return loopback::serve(&config, &environment.command);
    }
    let client = Client { socket: &config.socket, run_dir: &config.run_dir, started };
    match &environment.command {
        Command::Version => config::versions(&stdin),
        Command::Add(attachment) => add(&config, attachment, &client),
        Command::Del(attachment) => del(&config, attachment, &client).map(|()| String::new()),
        Command::Check(attachment) => check(&config, attachment, &client).map(|()| String::new()),
        Command::Gc => gc(&config, &client).map(|()| String::new()),
        Command::Status => status(&client).map(|()| String::new()),
    }
}

fn read_stdin(stdin: &mut dyn Read) -> Result<Vec<u8>, CniFailure> {
    let mut bytes = Vec::new();
    let limit = STDIN_LIMIT as u64 + 1;
    stdin.take(limit).read_to_end(&mut bytes).map_err(|error| {
        CniFailure::new(code::IO, "the network configuration on standard input can't be read")
            .details(error.to_string())
    })?;
    if bytes.len() > STDIN_LIMIT {
        let why = format!("the network configuration has more than {STDIN_LIMIT} octets");
        return Err(CniFailure::new(code::INVALID_CONFIG, why));
    }
    Ok(bytes)
}

fn add(config: &Config, attachment: &Attachment, client: &Client<'_>) -> Result<String, CniFailure> {
    let netns = netns::open(&attachment.netns)?;
    let request = CniRequest::Add(Add {
        key: config.key(attachment),
        pod: attachment.args.pod.clone(),
        ips: config.ips.clone(),
        mac: config.mac,
        pools: config.pools.clone(),
        mtu: config.mtu,
        started: client.started,
    });
    match client.call(request, Some(&netns))? {
        CniAnswer::Added(added) => {
            inside::settle(&netns, &attachment.ifname);
            result::added(config, attachment, &added)
        }
        CniAnswer::Failed(failure) => Err(failure),
        CniAnswer::Done => Err(odd_answer()),
    }
}

fn del(config: &Config, attachment: &Attachment, client: &Client<'_>) -> Result<(), CniFailure> {
    let del = Del { key: config.key(attachment), started: client.started };
    let trouble = match client.call(CniRequest::Del(del.clone()), None) {
        Ok(CniAnswer::Done) => return Ok(()),
        Ok(CniAnswer::Failed(failure)) if failure.code == code::TRY_AGAIN_LATER => failure,
        Ok(CniAnswer::Failed(failure)) => return Err(failure),
        Ok(CniAnswer::Added(_)) => return Err(odd_answer()),
        Err(Trouble::Away(failure)) => failure,
        Err(Trouble::Refused(failure)) => return Err(failure),
    };
    // Without an agent: the link and all that hangs on it go now, the rest when an agent reads the note.
    unwire::remove_link(&del.key.host_interface())
        .and_then(|()| unwire::spool(client.run_dir, &del))
        .map_err(|failure| failure.details(format!("and the agent did not help: {trouble}")))
}

fn check(config: &Config, attachment: &Attachment, client: &Client<'_>) -> Result<(), CniFailure> {
    let expected = Expected::read(config, attachment)?;
    let netns = netns::open(&attachment.netns)?;
    let request = CniRequest::Check { key: config.key(attachment), ips: expected.ips.clone() };
    done(client.call(request, Some(&netns))?)?;
    inside::check(&netns, attachment, &expected)
}

fn gc(config: &Config, client: &Client<'_>) -> Result<(), CniFailure> {
    let request = CniRequest::Gc { network: config.name.clone(), valid: config.valid_attachments()? };
    done(client.call(request, None)?)
}

fn status(client: &Client<'_>) -> Result<(), CniFailure> {
    match client.call(CniRequest::Status, None) {
        Ok(answer) => done(answer),
        Err(Trouble::Away(failure)) => Err(CniFailure { code: code::NOT_AVAILABLE, ..failure }),
        Err(Trouble::Refused(failure)) => Err(failure),
    }
}

fn done(answer: CniAnswer) -> Result<(), CniFailure> {
    match answer {
        CniAnswer::Done => Ok(()),
        CniAnswer::Failed(failure) => Err(failure),
        CniAnswer::Added(_) => Err(odd_answer()),
    }
}

fn odd_answer() -> CniFailure {
    CniFailure::new(code::DECODE, "the agent answered something that was not asked")
}

#[cfg(test)]
mod tests;
