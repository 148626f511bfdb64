//! Processes that a test starts: in a namespace, with their output in a file that is shown when the test fails, ended
//! by their id.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Namespace, wait_for};

thread_local! {
    /// Log files of what this thread's test has started, for the report of a failure.
    static LOGS: RefCell<Vec<(String, PathBuf)>> = const { RefCell::new(Vec::new()) };
}

/// How much of each log a failure shows.
const TAIL: usize = 6_000;

/// A process in a namespace. It is killed when this is dropped, and in any case when the topology goes.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command` inside `namespace`, its output going to a log of its own in the namespace's directory.
    #[track_caller]
    pub fn spawn(namespace: &Namespace, name: &str, mut command: Command) -> Self {
        let log = namespace.dir().join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log);
        let out = out.unwrap_or_else(|e| panic!("can't write {}: {e}", log.display()));
        let err = out.try_clone().unwrap_or_else(|e| panic!("can't share {}: {e}", log.display()));
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = namespace.enter(move || command.spawn().map_err(|e| format!("{command:?}: {e}")));
        let child =
            child.unwrap_or_else(|e| panic!("can't start {e}; `make setup` installs what tests need"));
        let title = format!("{name} in {}", namespace.label());
        remember(&title, &log);
        Self { name: title, log, child }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Who it is, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `Err` with the way it ended when it runs no longer.
    ///
    /// # Errors
    /// The process has ended.
    pub fn alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} has ended: {status}", self.name)),
            Err(e) => Err(format!("{}: {e}", self.name)),
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A process that has ended already is what most signals are after.
            let _ = kill_process(pid, signal);
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let ended = wait_for(deadline, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it still runs".to_owned()),
            Err(e) => Err(e.to_string()),
        });
        ended.unwrap_or_else(|why| panic!("{} did not end in {deadline:?}: {why}\n{}", self.name, logs()))
    }

    /// Asks it to end (SIGTERM) and waits; kills it when it does not.
    pub fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let ended = wait_for(patience, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err(String::new()),
        });
        ended.unwrap_or_else(|_| {
            self.kill();
            ExitStatus::from_raw(9)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", tail(&self.name, &self.log));
        }
        LOGS.with_borrow_mut(|logs| logs.retain(|(_, path)| *path != self.log));
    }
}

/// Has the end of a file shown with those of this thread's processes when its test fails.
pub(crate) fn remember(title: &str, log: &Path) {
    LOGS.with_borrow_mut(|logs| {
        logs.retain(|(_, path)| path != log);
        logs.push((title.to_owned(), log.to_owned()));
    });
}

/// The ends of all logs of this thread's test.
#[must_use]
pub fn logs() -> String {
    LOGS.with_borrow(|logs| logs.iter().map(|(title, path)| tail(title, path)).collect())
}

fn tail(title: &str, log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let cut = text.len().saturating_sub(TAIL);
    let text = String::from_utf8_lossy(text.get(cut..).unwrap_or_default()).into_owned();
    format!("---- {title}: {}\n{text}\n", if cut > 0 { "the end of its log" } else { "its log" })
}

/// Runs `command` to its end and returns what it wrote; the test fails when it fails.
#[track_caller]
pub fn output(mut command: Command) -> String {
    match try_output(&mut command) {
        Ok(text) => text,
        Err(why) => panic!("{why}"),
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// It can't be started, or it fails: its command line, exit status and everything it wrote.
pub fn try_output(command: &mut Command) -> Result<String, String> {
    let done = command.stdin(Stdio::null()).output();
    let done =
        done.map_err(|e| format!("can't run {command:?}: {e}; `make setup` installs what tests need"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        return Ok(text);
    }
    let stderr = String::from_utf8_lossy(&done.stderr);
    Err(format!("{command:?} failed ({}):\n{text}{stderr}", done.status))
}

/// The path of one of our binaries (`corduroy-agent`, `corduroy`, …), in the profile this test was built with.
///
/// The test runner builds only what it links, so this asks cargo first: a test never meets yesterday's binary. Where
/// there is no cargo (in the virtual machine) `CORDUROY_BIN_DIR` names the folder that holds them.
#[track_caller]
pub fn binary(name: &str) -> PathBuf {
    built("--bin", name, Path::new(name))
}

/// The path of one of our examples, likewise.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    built("--example", name, &Path::new("examples").join(name))
}

#[track_caller]
fn built(kind: &str, name: &str, path: &Path) -> PathBuf {
    if let Some(dir) = std::env::var_os("CORDUROY_BIN_DIR") {
        let path = PathBuf::from(dir).join(path);
        assert!(path.is_file(), "there is no {} (CORDUROY_BIN_DIR says so)", path.display());
        return path;
    }
    let me = std::env::current_exe().unwrap_or_else(|e| panic!("the test does not know where it lies: {e}"));
    // A test binary lies in <target>/<profile>/deps, any other in <target>/<profile>.
    let mut dir = me.parent().unwrap_or(&me).to_owned();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let release = dir.ends_with("release");
    let target = dir.parent().unwrap_or(&dir).to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", kind, name]);
    command.args(release.then_some("--release"));
    command.current_dir(workspace()).env("CARGO_TARGET_DIR", &target);
    output(command);
    dir.join(path)
}

/// The folder with our programs that need no libraries, for images: the one that `CORDUROY_STATIC_DIR` names, else
/// they are built first.
#[track_caller]
#[must_use]
pub fn static_programs() -> PathBuf {
    if let Some(dir) = std::env::var_os("CORDUROY_STATIC_DIR") {
        return PathBuf::from(dir);
    }
    let mut make = Command::new("make");
    make.args(["--silent", "--no-print-directory", "static-dev", "where-static-dev"])
        .current_dir(workspace());
    PathBuf::from(output(make).trim_end().lines().next_back().unwrap_or_default())
}

/// The folder of the workspace's Cargo.toml.
#[must_use]
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}
