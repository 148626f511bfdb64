//! `corduroy-routereflector`: a route reflector (RFC 4456) as a process of its own. It has no kernel side: it holds
//! sessions, reflects routes and leaves forwarding to others.
//!
//! ```text
//! config    routereflector.yaml ─► Settings, every wrong field named at once
//! source    where the speaker's configuration comes from: Settings' own clients, or a datastore's Model
//! started   whether a former run of this boot left its clients waiting (RFC 4724)
//! run       the only loop: source, status socket, signals, the speaker's notices
//! shown     what the outside sees: answers for cordctl, metrics, health
//! ```
//! The speaker runs on a thread of its own (`corduroy_bgp_net`), so nothing here can hold up a KEEPALIVE.

mod config;
mod run;
mod shown;
mod source;
mod started;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::config::Settings;

/// A BGP route reflector for a Corduroy fabric, or for any other.
#[derive(Debug, Parser)]
#[command(name = "corduroy-routereflector", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/corduroy/routereflector.yaml")]
    config: PathBuf,
    /// Judge the configuration, say what is wrong with it, and exit: 0 when it is right, 1 when not.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.check { check(&arguments) } else { serve(arguments) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corduroy-routereflector: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::load(&arguments.config)?;
    let summary = source::check(&settings)?;
    println!("{}: {summary}", arguments.config.display());
    Ok(())
}

fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let level = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
    tracing_subscriber::fmt()
        .with_env_filter(level.from_env_lossy())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let settings = Settings::load(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run::run(arguments.config, settings))
}
