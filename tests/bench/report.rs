//! Medians, ratios and the page they stand on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use corduroy_tests::process;

use crate::Scenario;

const PAGE: &str = "docs/benchmarks.md";

/// What a figure is counted in.
#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Mebibytes,
    /// Of one processor.
    Percent,
    GigabitsPerSecond,
    PerMinute,
    PerSecond,
    Number,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            _ if value.is_nan() => "–".to_owned(),
            Self::Seconds if value < 1e-3 => format!("{:.0} µs", value * 1e6),
            Self::Seconds if value < 0.1 => format!("{:.1} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Mebibytes => format!("{value:.0} MiB"),
            Self::Percent => format!("{value:.3} %"),
            Self::PerMinute => format!("{value:.1} a minute"),
            Self::PerSecond => format!("{value:.0} a second"),
            Self::Number => format!("{value:.2}"),
            Self::GigabitsPerSecond => format!("{value:.2} Gbit/s"),
        }
    }
}

/// One measured value of one run.
pub struct Figure {
    name: &'static str,
    unit: Unit,
    value: f64,
}

impl Figure {
    pub fn new(name: &'static str, unit: Unit, value: f64) -> Self {
        Self { name, unit, value }
    }
}

/// The figures of a run in a line.
pub fn line(figures: &[Figure]) -> String {
    let words: Vec<_> = figures.iter().map(|f| format!("{} {}", f.name, f.unit.show(f.value))).collect();
    words.join(", ")
}

/// All runs of a scenario.
pub struct Table {
    name: &'static str,
    what: &'static str,
    runs: usize,
    /// Debian packages whose versions belong under the table.
    packages: &'static [&'static str],
    contenders: Vec<(String, BTreeMap<&'static str, Vec<f64>>)>,
    columns: Vec<(&'static str, Unit)>,
}

impl Table {
    pub fn new(scenario: &Scenario, runs: usize) -> Self {
        let Scenario { name, what, packages, .. } = *scenario;
        Self { name, what, runs, packages, contenders: Vec::new(), columns: Vec::new() }
    }

    pub fn add(&mut self, contender: &str, figures: Vec<Figure>) {
        if self.columns.is_empty() {
            self.columns = figures.iter().map(|figure| (figure.name, figure.unit)).collect();
        }
        let known = self.contenders.iter().position(|(name, _)| name == contender);
        let at = known.unwrap_or_else(|| {
            self.contenders.push((contender.to_owned(), BTreeMap::new()));
            self.contenders.len() - 1
        });
        if let Some((_, columns)) = self.contenders.get_mut(at) {
            for figure in figures {
                columns.entry(figure.name).or_default().push(figure.value);
            }
        }
    }

    /// Medians of all contenders, and what the others take for each 1 of ours.
    pub fn text(&self) -> String {
        let mut text = format!("**{}**: {}. Median of {} runs.\n\n|", self.name, self.what, self.runs);
        for head in std::iter::once("").chain(self.columns.iter().map(|(name, _)| *name)) {
            let _ = write!(text, " {head} |");
        }
        text.push_str("\n|---|");
        text.push_str(&"--:|".repeat(self.columns.len()));
        let ours = self.contenders.first().map(|(_, columns)| columns);
        for (name, columns) in &self.contenders {
            let _ = write!(text, "\n| {name} |");
            for (column, unit) in &self.columns {
                let value = columns.get(column).map_or(f64::NAN, |values| median(values));
                let base = ours.and_then(|ours| ours.get(column)).map_or(f64::NAN, |values| median(values));
                let ratio = if base > 0.0 && !value.is_nan() {
                    format!(" ({:.2}×)", value / base)
                } else {
                    String::new()
                };
                let _ = write!(text, " {}{ratio} |", unit.show(value));
            }
        }
        text + "\n"
    }

    /// Puts the table and its circumstances between its markers on the page, at the end when it has none yet. What
    /// other scenarios have written stays.
    pub fn write(&self) {
        let path = process::workspace().join(PAGE);
        let page = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{PAGE}: {e}"));
        let section = format!("{}\n{}\n", self.text(), self.circumstances());
        fs::write(&path, replaced(&page, self.name, &section)).unwrap_or_else(|e| panic!("{PAGE}: {e}"));
    }

    /// Machine, kernel, commit and versions, so that a figure can be judged later.
    fn circumstances(&self) -> String {
        let say = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).current_dir(process::workspace());
            process::try_output(&mut command).unwrap_or_default().trim().to_owned()
        };
        let git = |arguments: &[&str]| say("git", &[&["-c", "safe.directory=*"], arguments].concat());
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map(|(_, model)| model);
        let versions = self.packages.iter().map(|package| {
            format!("; {package} {}", say("dpkg-query", &["--show", "--showformat=${Version}", package]))
        });
        let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!docs"]);
        format!(
            "Commit {}{}, {} × {}, Linux {}, {}{}. \
             `make bench ARGS=\"{} --runs {} --write\"`; load average at the end {}.",
            git(&["rev-parse", "--short", "HEAD"]),
            if changed.is_empty() { "" } else { " with changes" },
            say("nproc", &[]),
            model.unwrap_or("?"),
            say("uname", &["-r"]),
            say("date", &["-u", "+%Y-%m-%d"]),
            versions.collect::<String>(),
            self.name,
            self.runs,
            fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default(),
        )
    }
}

/// The page with `section` between the markers of `name`.
fn replaced(page: &str, name: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let around = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match around {
        Some((before, after)) => format!("{before}{begin}{section}{end}{after}"),
        None => format!("{}\n\n{begin}{section}{end}\n", page.trim_end()),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or(f64::NAN);
    match sorted.len() % 2 {
        0 => f64::midpoint(upper, sorted.get(middle.wrapping_sub(1)).copied().unwrap_or(f64::NAN)),
        _ => upper,
    }
}

/// The least value that so many percent are not above.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or(f64::NAN)
}
