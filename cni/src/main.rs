//! `corduroy`: what kubelet's container runtime calls for every pod. See the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    let path = std::env::args_os().next().unwrap_or_default();
    corduroy_cni::run(&mut corduroy_cni::Process {
        path: &path.to_string_lossy(),
        env: &|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
        stdin: &mut std::io::stdin().lock(),
        stdout: &mut std::io::stdout().lock(),
        stderr: &mut std::io::stderr().lock(),
    })
}
