//! Who shall reach whom, and whether it is so.
//!
//! Without policies everybody reaches everybody. A table says what is otherwise, line by line, later lines over earlier
//! ones:
//! ```text
//! deny   *        -> x/*
//! allow  v/* x/b  -> x/a : tcp/80-81 udp
//! deny   out      -> x/a : v6
//! ```
//! Left and right stand parties: by name, by parts of it (`x/*`, `*/a`), all of a kind (`pods`, `nodes`, `outside`),
//! all (`*`), and without some (`!x/a`). Behind the colon stands over what: `tcp`, `udp`, `ping`, ports of the first
//! two, and `v4` or `v6`.
//!
//! Two things no policy can forbid, and no line changes: a pod reaches itself, and a node the pods on it. Kubernetes
//! leaves open what a pod may send to its own node: that is asked only where a line says `own` on its right.
//!
//! Besides, every pod asks the Service before x/a, and gets there whenever it gets to x/a itself.
//!
//! `cordctl policy trace` must say the same of everything that is asked ([`super::trace`]).

use std::collections::BTreeMap;
use std::time::Duration;

use corduroy_tests::probe::{Answer, Question, Transport, sweep};

use super::scene::{Kind, Party, Scene};

/// Over what everybody is asked, in each family.
const OVER: [Transport; 6] = [
    Transport::Tcp(80),
    Transport::Tcp(81),
    Transport::Tcp(82),
    Transport::Udp(80),
    Transport::Udp(81),
    Transport::Ping,
];
const WAYS: usize = OVER.len() * 2;
const SILENT: &str = "is silent, and is allowed";
/// How many wrong pairs are told.
const SHOWN: usize = 40;

/// What is expected of every pair.
pub(super) struct Matrix<'a> {
    scene: &'a Scene,
    /// By sender, receiver and way; `None`: not asked.
    cells: Vec<Option<bool>>,
}

/// Something that somebody asks somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<'a> {
    pub(super) from: &'a Party,
    pub(super) to: &'a Party,
    pub(super) over: Transport,
    /// 0: IPv4, 1: IPv6.
    pub(super) family: usize,
    pub(super) allowed: bool,
}

impl std::fmt::Display for Probe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {} {}", self.from.name, self.to.name, show(self.over, self.family))
    }
}

/// A way: number `n` of [`WAYS`].
fn way(n: usize) -> (Transport, usize) {
    (OVER[n % OVER.len()], n / OVER.len())
}

fn is_self(from: &Party, to: &Party) -> bool {
    from.name == to.name
}

/// What no policy can change.
fn is_fixed(from: &Party, to: &Party) -> bool {
    is_self(from, to) || (from.kind == Kind::Node && to.node == from.node)
}

impl<'a> Matrix<'a> {
    /// What a table says.
    #[track_caller]
    pub(super) fn of(scene: &'a Scene, table: &str) -> Self {
        let pairs = scene.parties.iter().flat_map(|from| scene.parties.iter().map(move |to| (from, to)));
        let asked = pairs.map(|(from, to)| match (from.kind, to.kind) {
            (Kind::Pod, Kind::Node) => to.node != from.node,
            (Kind::Pod, _) | (_, Kind::Pod) => true,
            _ => false,
        });
        let cells = asked.flat_map(|asked| [asked.then_some(true); WAYS]).collect();
        let mut matrix = Self { scene, cells };
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            matrix.line(line);
        }
        matrix
    }

    #[track_caller]
    fn line(&mut self, line: &str) {
        let (pair, what) = line.split_once(" : ").unwrap_or((line, ""));
        let (verdict, pair) = pair.split_once(' ').unwrap_or_else(|| panic!("no verdict in {line:?}"));
        let verdict = match verdict {
            "allow" => true,
            "deny" => false,
            other => panic!("{other:?} in {line:?} is not allow or deny"),
        };
        let (from, to) = pair.split_once("->").unwrap_or_else(|| panic!("no -> in {line:?}"));
        let scene = self.scene;
        let (from, ways) = (parties(scene, from), ways(what));
        let own = to.split_whitespace().any(|word| word == "own");
        let to = to.split_whitespace().filter(|word| *word != "own").collect::<Vec<_>>().join(" ");
        let to = parties(scene, &to);
        let count = scene.parties.len();
        for f in from {
            for (t, other) in scene.parties.iter().enumerate() {
                let party = &scene.parties[f];
                let is_own = own && other.kind == Kind::Node && other.node == party.node;
                if is_fixed(party, other) || !(is_own || to.contains(&t)) {
                    continue;
                }
                for way in &ways {
                    let cell = &mut self.cells[(f * count + t) * WAYS + way];
                    if is_own || cell.is_some() {
                        *cell = Some(verdict);
                    }
                }
            }
        }
    }

    /// What is asked, but for what goes by the Service.
    pub(super) fn probes(&self) -> impl Iterator<Item = Probe<'a>> + use<'a, '_> {
        let parties = &self.scene.parties;
        let pairs = parties.iter().flat_map(move |from| parties.iter().map(move |to| (from, to)));
        self.cells.chunks(WAYS).zip(pairs).flat_map(|(cells, (from, to))| {
            cells.iter().enumerate().filter_map(move |(n, cell)| {
                let (over, family) = way(n);
                cell.map(|allowed| Probe { from, to, over, family, allowed })
            })
        })
    }

    /// Asks everybody everything at once.
    ///
    /// # Errors
    /// What is not as the table says.
    pub(super) fn check(&self, patience: Duration) -> Result<(), Wrong<'a>> {
        let mut asked = Vec::new();
        for probe in self.probes() {
            let Probe { from, to, over, family, allowed } = probe;
            let question =
                |target, over| Question { netns: from.netns.clone(), target, over, awaited: allowed };
            let answer = if over == Transport::Ping { "" } else { &to.name };
            asked.push((to.name.as_str(), probe, answer, question(to.addresses[family], over)));
            if to.name == "x/a" && from.kind == Kind::Pod && over == OVER[0] {
                let service = question(self.scene.service[family], over);
                asked.push(("the Service before x/a", probe, "x/a", service));
            }
        }
        let questions: Vec<_> = asked.iter().map(|(.., question)| question.clone()).collect();
        let answers = sweep(&questions, patience);
        let is_wrong = |(to, probe, name, _): (&'a str, Probe<'a>, &str, Question), answer| {
            let is = match answer {
                Answer::From(who) if probe.allowed && who == name => return None,
                Answer::Silence if !probe.allowed => return None,
                Answer::From(who) if probe.allowed => format!("was answered by {who:?}"),
                Answer::From(_) => "passes, and is forbidden".to_owned(),
                Answer::Silence => SILENT.to_owned(),
                Answer::Refused(why) => format!("was refused ({why}), which is neither allowed nor silence"),
            };
            Some((to, probe, is))
        };
        let wrong: Vec<_> =
            asked.into_iter().zip(answers).filter_map(|(one, is)| is_wrong(one, is)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(Wrong(wrong)) }
    }
}

/// What is not as a table says: who was asked, what, and what came instead.
pub(super) struct Wrong<'a>(Vec<(&'a str, Probe<'a>, String)>);

impl<'a> Wrong<'a> {
    pub(super) fn probes(&self) -> impl Iterator<Item = Probe<'a>> {
        self.0.iter().map(|(_, probe, _)| *probe)
    }

    /// Is it nothing but one question without an answer?
    pub(super) fn is_one_silence(&self) -> bool {
        matches!(self.0.as_slice(), [(.., is)] if is == SILENT)
    }
}

impl std::fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut pairs: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (to, probe, is) in &self.0 {
            pairs.entry((&probe.from.name, to, is)).or_default().push(show(probe.over, probe.family));
        }
        write!(f, "{} pairs are wrong:", pairs.len())?;
        for ((from, to, is), ways) in pairs.iter().take(SHOWN) {
            write!(f, "\n    {from} -> {to} {is}: {}", ways.join(" "))?;
        }
        Ok(())
    }
}

fn show(over: Transport, family: usize) -> String {
    let family = ["v4", "v6"][family];
    match over {
        Transport::Tcp(port) => format!("tcp/{port}.{family}"),
        Transport::Udp(port) => format!("udp/{port}.{family}"),
        Transport::Ping => format!("ping.{family}"),
    }
}

/// The parties that some words mean.
#[track_caller]
fn parties(scene: &Scene, words: &str) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for word in words.split_whitespace() {
        let (without, word) = word.strip_prefix('!').map_or((false, word), |word| (true, word));
        let meant = scene.parties.iter().enumerate().filter(|(_, party)| is_meant(party, word));
        let meant: Vec<usize> = meant.map(|(i, _)| i).collect();
        assert!(!meant.is_empty(), "{word:?} is nobody");
        if without {
            found.retain(|one| !meant.contains(one));
        } else {
            found.extend(meant);
        }
    }
    found
}

fn is_meant(party: &Party, word: &str) -> bool {
    match word {
        "*" => true,
        "pods" => party.kind == Kind::Pod,
        "nodes" => party.kind == Kind::Node,
        "outside" => party.kind == Kind::Outside,
        _ => match (word.split_once('/'), party.name.split_once('/')) {
            (Some((namespace, "*")), Some((of, _))) => namespace == of,
            (Some(("*", pod)), Some((_, name))) => pod == name,
            _ => party.name == word,
        },
    }
}

/// The ways that some words mean.
#[track_caller]
fn ways(words: &str) -> Vec<usize> {
    let (families, overs): (Vec<_>, Vec<_>) =
        words.split_whitespace().partition(|word| ["v4", "v6"].contains(word));
    let overs: Vec<_> = overs.into_iter().map(read).collect();
    let is_meant = |n: &usize| {
        let (over, family) = way(*n);
        let over_is_meant = overs.iter().any(|meant| match (meant, over) {
            (Over::Tcp(first, last), Transport::Tcp(port))
            | (Over::Udp(first, last), Transport::Udp(port)) => (*first..=*last).contains(&port),
            (Over::Ping, Transport::Ping) => true,
            _ => false,
        });
        (families.is_empty() || families.contains(&["v4", "v6"][family]))
            && (overs.is_empty() || over_is_meant)
    };
    (0..WAYS).filter(is_meant).collect()
}

enum Over {
    Tcp(u16, u16),
    Udp(u16, u16),
    Ping,
}

#[track_caller]
fn read(word: &str) -> Over {
    let (name, ports) = word.split_once('/').unwrap_or((word, "0-65535"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse().unwrap_or_else(|e| panic!("{word:?}: {e}"));
    match name {
        "tcp" => Over::Tcp(port(first), port(last)),
        "udp" => Over::Udp(port(first), port(last)),
        "ping" => Over::Ping,
        _ => panic!("{word:?} is not tcp, udp, ping, v4 or v6"),
    }
}
