//! What this process has made, written down before it is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const ROOT: &str = "/run/corduroy-tests";
/// For what would fill memory: /run is often a tmpfs.
const DISK: &str = "/var/tmp/corduroy-tests";
const SWEEP: &str = include_str!("sweep.sh");

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The ledger of this process.
struct Ledger {
    dir: PathBuf,
    disk: PathBuf,
    /// The guardian sweeps when this pipe closes, that is, when we are gone.
    _guardian: Child,
}

/// A fresh directory within the ledger.
pub(super) fn directory(label: &str) -> PathBuf {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let dir = ledger().dir.join(format!("{n}-{label}"));
    make(&dir);
    dir
}

/// A fresh directory on disk.
pub(super) fn disk(label: &str) -> PathBuf {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let dir = ledger().disk.join(format!("{n}-{label}"));
    make(&dir);
    dir
}

/// Writes a namespace down under a name that nobody else has, and returns the name.
pub(super) fn enter(label: &str) -> String {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("cdt-{}-{n}-{label}", std::process::id());
    let entry = ledger().dir.join("netns").join(&name);
    fs::write(&entry, "").unwrap_or_else(|e| panic!("can't write {}: {e}", entry.display()));
    name
}

/// Strikes a namespace out.
pub(super) fn strike(name: &str) {
    let _ = fs::remove_file(ledger().dir.join("netns").join(name));
}

fn ledger() -> &'static Ledger {
    static LEDGER: OnceLock<Ledger> = OnceLock::new();
    LEDGER.get_or_init(|| {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run `make test`, which uses sudo, or run this as root"
        );
        sweep_the_dead();
        let pid = std::process::id();
        let id = format!("{pid}-{}", started(pid).unwrap_or_default());
        let (dir, disk) = (Path::new(ROOT).join(&id), Path::new(DISK).join(&id));
        make(&dir.join("netns"));
        let guardian = guard(&dir, &disk);
        Ledger { dir, disk, _guardian: guardian }
    })
}

/// A shell that waits until we are gone and then sweeps; in a process group of its own, so that Ctrl-C spares it.
fn guard(dir: &Path, disk: &Path) -> Child {
    use std::os::unix::process::CommandExt as _;

    let script = format!("cat >/dev/null\n{SWEEP}");
    let mut guardian = Command::new("/bin/sh");
    guardian.args(["-c", &script, "corduroy-tests-guardian"]).arg(dir).arg(disk);
    guardian.current_dir("/").process_group(0);
    guardian.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    guardian.spawn().unwrap_or_else(|e| panic!("can't start /bin/sh: {e}"))
}

fn sweep_the_dead() {
    for entry in fs::read_dir(ROOT).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, start)) = name.split_once('-') else { continue };
        let Ok(pid) = pid.parse() else { continue };
        if started(pid).as_deref() != Some(start) {
            let mut sweep = Command::new("/bin/sh");
            sweep.args(["-c", SWEEP, "sweep"]).arg(entry.path()).arg(Path::new(DISK).join(&name));
            let _ = sweep.status();
        }
    }
}

/// When a process was started, in clock ticks since boot: with its id this names a process for good.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything; the start time is the 22nd.
    let rest = stat.rsplit_once(')')?.1;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

fn make(dir: &Path) {
    fs::create_dir_all(dir).unwrap_or_else(|e| panic!("can't make {}: {e}", dir.display()));
}
