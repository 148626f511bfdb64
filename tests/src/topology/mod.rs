//! Networks out of namespaces: hosts, routers, and the veth pairs between them.
//!
//! ```no_run
//! use corduroy_tests::Topology;
//!
//! let net = Topology::new("two-hosts");
//! let [a, r, b] = ["a", "r", "b"].map(|label| net.namespace(label));
//! net.link(&a, "eth0", &r, "to-a");
//! net.link(&b, "eth0", &r, "to-b");
//! a.address("eth0", "192.0.2.2/24");
//! r.address("to-a", "192.0.2.1/24");
//! r.address("to-b", "198.51.100.1/24");
//! b.address("eth0", "198.51.100.2/24");
//! r.forward();
//! a.ip("route add default via 192.0.2.1");
//! b.ip("route add default via 198.51.100.1");
//! a.run("ping -c 1 198.51.100.2");
//! ```
//!
//! # Nothing stays behind
//! All that a run makes is entered first in a *ledger*, a directory under `/run/corduroy-tests` named by the process
//! id and its start time: the names of its namespaces, and the directories of their daemons. One shell script undoes
//! a ledger (kills what lives in its namespaces, deletes them and the cgroups of their name, deletes the directory and
//! its companion on disk), and three see to it: dropping a [`Topology`] removes its own part; a guardian process that
//! holds the end of a pipe from us wakes up when we die, of whatever (Ctrl-C, `kill -9`); and each start sweeps ledgers
//! whose owner lives no more, should a guardian have died too.

mod ledger;
mod namespace;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

pub use namespace::{Namespace, enter};

use crate::process;

/// A network of namespaces of our own. Dropping it removes all of it, running processes included.
#[derive(Debug)]
pub struct Topology {
    label: String,
    dir: PathBuf,
    namespaces: Mutex<Vec<Namespace>>,
    disks: Mutex<Vec<PathBuf>>,
}

impl Topology {
    /// An empty network. `label` is for people: it stands in the namespaces' names.
    #[track_caller]
    #[must_use]
    pub fn new(label: &str) -> Self {
        let dir = ledger::directory(label);
        Self { label: label.to_owned(), dir, namespaces: Mutex::new(Vec::new()), disks: Mutex::default() }
    }

    /// A new directory on disk, for what is too big for memory; it goes with the network.
    #[track_caller]
    pub fn disk(&self, label: &str) -> PathBuf {
        let dir = ledger::disk(&format!("{}-{label}", self.label));
        self.disks.lock().expect("no holder of this lock panics").push(dir.clone());
        dir
    }

    /// A new namespace with `lo` up, called `label` within this network.
    #[track_caller]
    pub fn namespace(&self, label: &str) -> Namespace {
        let dir = self.dir.join(label);
        let namespace = Namespace::create(&format!("{}-{label}", self.label), label, dir);
        self.namespaces.lock().expect("no holder of this lock panics").push(namespace.clone());
        namespace
    }

    /// Takes a namespace out again, with what lives in it and the other ends of its cables.
    pub fn remove(&self, namespace: &Namespace) {
        namespace.remove();
        let mut all = self.namespaces.lock().expect("no holder of this lock panics");
        all.retain(|other| other.name() != namespace.name());
    }

    /// A cable: a veth pair with both ends up, `a_dev` in `a` and `b_dev` in `b`.
    #[track_caller]
    pub fn link(&self, a: &Namespace, a_dev: &str, b: &Namespace, b_dev: &str) {
        let mut make = Command::new("ip");
        make.args(["link", "add", a_dev, "netns", a.name(), "type", "veth"]);
        make.args(["peer", "name", b_dev, "netns", b.name()]);
        process::output(make);
        a.ip(&format!("link set {a_dev} up"));
        b.ip(&format!("link set {b_dev} up"));
    }

    /// A bridge `name` in `switch` that joins the first device of each of `ports`: (namespace, its device).
    #[track_caller]
    pub fn segment(&self, switch: &Namespace, name: &str, ports: &[(&Namespace, &str)]) {
        switch.ip(&format!("link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"));
        switch.ip(&format!("link set {name} up"));
        for (n, (host, dev)) in ports.iter().enumerate() {
            let port = format!("{name}-p{n}");
            self.link(switch, &port, host, dev);
            switch.ip(&format!("link set {port} master {name}"));
        }
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let namespaces = std::mem::take(&mut *self.namespaces.lock().unwrap_or_else(|e| e.into_inner()));
        if std::thread::panicking() {
            for namespace in &namespaces {
                eprintln!("{}", namespace.picture());
            }
        }
        for namespace in &namespaces {
            namespace.remove();
        }
        let disks = std::mem::take(&mut *self.disks.lock().unwrap_or_else(|e| e.into_inner()));
        for dir in disks.iter().chain([&self.dir]) {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
