//! Learned routes into the kernel: ours by the door the agent uses (read, then plans of one slice each), `ip -batch`
//! and BIRD's kernel protocol.
//!
//! Each contender has its routes ready before the clock starts: ours as desired routes, BIRD in its table with the
//! kernel protocol disabled; only `ip` must be told in text, through a pipe. The clock stops when the kernel's own
//! count of prefixes has grown by all of them, asked for every few milliseconds in the same way whoever is measured.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use corduroy_kernel::{IpNet, Lane, LinkName, NextHop, Op, Plan, Route};
use corduroy_kernel_linux::Kernel;
use corduroy_tests::process::{self, Process};
use corduroy_tests::{Namespace, Topology, eventually};
use rustix::event::{Timespec, poll};

use crate::load::{prefix, shuffled};
use crate::report::{Figure, Unit};
use crate::usage::{cpu, peak};

/// The hidden argument that makes of this program the writer of routes.
pub const WRITER: &str = "writer";

const ROUTES: u32 = 100_000;
/// Operations in one plan, as the agent cuts them.
const SLICE: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the kernel is asked how many prefixes it has.
const PACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 4_000_000 };
const DEVICE: &str = "eth0";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// All routes from nothing.
pub fn routes(contender: &str) -> Vec<Figure> {
    let net = Topology::new("bench");
    let [dut, other] = ["router", "other"].map(|label| net.namespace(label));
    net.link(&dut, DEVICE, &other, DEVICE);
    dut.address(DEVICE, "10.0.0.1/24");
    let pipe = dut.dir().join("go");
    dut.run(&format!("mkfifo {}", pipe.display()));
    match contender {
        "bird" => bird(&dut),
        "ip -batch" => {
            let mut ip = Command::new("ip");
            ip.arg("-batch").arg(&pipe);
            measure(Process::spawn(&dut, "ip", ip), || Some(told(&pipe, &batch())))
        }
        _ => {
            let me = std::env::current_exe();
            let mut command =
                Command::new(me.unwrap_or_else(|e| panic!("this program does not know itself: {e}")));
            command.arg(WRITER).arg(&pipe);
            measure(Process::spawn(&dut, "corduroy", command), || Some(told(&pipe, "go\n")))
        }
    }
}

/// Writes into the pipe and leaves it open: whoever reads from it lives until it is closed. Opening waits for the
/// reader, so that it has begun by then.
fn told(pipe: &Path, text: &str) -> File {
    let mut pipe = File::options().write(true).open(pipe).unwrap_or_else(|e| panic!("the pipe: {e}"));
    pipe.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("the pipe: {e}"));
    pipe
}

fn batch() -> String {
    shuffled(ROUTES).into_iter().fold(String::new(), |mut text, number| {
        let _ = writeln!(
            text,
            "route add {}/24 via {GATEWAY} dev {DEVICE} proto static metric 32",
            prefix(number)
        );
        text
    })
}

fn bird(dut: &Namespace) -> Vec<Figure> {
    let mut conf =
        "router id 10.0.0.1;\nprotocol device {}\nprotocol kernel to_kernel {\n disabled;\n".to_owned();
    conf += " ipv4 { import none; export all; };\n}\nprotocol static {\n ipv4;\n";
    for number in shuffled(ROUTES) {
        let _ = writeln!(conf, " route {}/24 via {GATEWAY};", prefix(number));
    }
    let conf = dut.file("routes.conf", &(conf + "}\n"));
    let socket = dut.dir().join("routes.ctl");
    let mut command = Command::new("/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(conf).arg("-s").arg(&socket);
    let mut process = Process::spawn(dut, "bird", command);
    let ask = |command: &str| {
        let mut birdc = Command::new("/usr/sbin/birdc");
        birdc.arg("-s").arg(&socket).arg(command);
        process::try_output(&mut birdc)
    };
    eventually(PATIENCE, || {
        process.alive()?;
        let answer = ask("show route count")?;
        if answer.contains(&format!("{ROUTES} of {ROUTES} routes")) { Ok(()) } else { Err(answer) }
    });
    measure(process, || {
        ask("enable to_kernel").unwrap_or_else(|why| panic!("{why}"));
        None
    })
}

/// Says go and waits until every route is in the kernel. What `go` returns is kept until then.
fn measure(mut process: Process, go: impl FnOnce() -> Option<File>) -> Vec<Figure> {
    let pid = process.id();
    let (idle, before) = (prefixes(pid), cpu(pid));
    let start = Instant::now();
    let held = go();
    while prefixes(pid) < idle + ROUTES {
        process.alive().unwrap_or_else(|why| panic!("{why}\n{}", process::logs()));
        assert!(start.elapsed() < PATIENCE, "{} prefixes\n{}", prefixes(pid), process::logs());
        // Nothing to wait on but time.
        let _ = poll(&mut [], Some(&PACE));
    }
    let wall = start.elapsed();
    let figures = vec![
        Figure::new("wall", Unit::Seconds, wall.as_secs_f64()),
        Figure::new("CPU", Unit::Seconds, cpu(pid) - before),
        Figure::new("peak memory", Unit::Mebibytes, peak(pid)),
    ];
    drop(held);
    figures
}

/// How many prefixes the IPv4 tables hold in the namespace of a process.
fn prefixes(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/net/fib_triestat")).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().strip_prefix("Prefixes:")?.trim().parse::<u32>().ok()).sum()
}

/// Our side, in a process of its own: makes the routes, waits for the word, brings the kernel from what it has to
/// what it should have, and lives until the pipe is closed.
///
/// # Errors
/// The kernel could not be read or refused a route.
pub fn write(pipe: &str) -> Result<(), String> {
    let dev: LinkName = DEVICE.parse().map_err(|e| format!("{DEVICE}: {e}"))?;
    let mut kernel = Kernel::open(None).map_err(|e| e.to_string())?;
    let hop = NextHop { onlink: false, ..NextHop::onlink(dev, GATEWAY.into()) };
    let desired: Vec<Route> = shuffled(ROUTES)
        .into_iter()
        .filter_map(|number| Some(Route::by(IpNet::new(prefix(number).into(), 24).ok()?, hop)))
        .collect();
    let mut pipe = File::open(pipe).map_err(|e| format!("{pipe}: {e}"))?;
    pipe.read_exact(&mut [0; 3]).map_err(|e| e.to_string())?;
    let state = kernel.read().map_err(|e| e.to_string())?;
    let mut missing = desired.iter().filter(|route| state.routes.get(&route.dst) != Some(route)).peekable();
    while missing.peek().is_some() {
        let ops = missing.by_ref().take(SLICE).cloned().map(Op::PutRoute).collect();
        let plan = Plan { lane: Lane::Learned, ops };
        kernel.apply(&plan).into_iter().collect::<Result<(), _>>().map_err(|e| e.to_string())?;
    }
    pipe.read_to_end(&mut Vec::new()).map(drop).map_err(|e| e.to_string())
}
