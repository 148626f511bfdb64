//! The only loop: it passes on what source, speaker, files and signals say.

use std::collections::BTreeMap;
use std::future::pending;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use corduroy_bgp::Time;
use corduroy_bgp::config::Config;
use corduroy_bgp::io::Stop;
use corduroy_bgp::speaker::Speaker;
use corduroy_bgp_net::{Driver, Handle, ListenProblem, LocRib, Notice, Report, now};
use corduroy_ipc::status::{Condition, Severity, StatusRequest};
use corduroy_status::{Question, SpeakerView, StatusSocket, http};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Settings, Termination};
use crate::shown::{Shown, Snapshot};
use crate::source::Source;
use crate::started::Mark;

/// How often files are looked at. A stat sees what inotify does not: a ConfigMap's symbolic link that is swapped.
const LOOK: Duration = Duration::from_secs(2);

/// The running process.
struct Process {
    path: PathBuf,
    settings: Settings,
    source: Source,
    speaker: Option<Running>,
    shown: Arc<Shown>,
    publish: watch::Sender<Arc<Snapshot>>,
    mark: Mark,
    /// What the files were when they were read.
    stamps: Vec<Option<(SystemTime, u64)>>,
    /// What is wrong with the file as it is now.
    file: Option<Condition>,
    /// Keys that the kernel refused, by prefix.
    keys: BTreeMap<String, Condition>,
}

/// The speaker's thread.
struct Running {
    handle: Handle,
    reports: mpsc::Receiver<Report>,
    config: Arc<Config>,
}

/// Runs until it is told to end, or the speaker does.
pub(crate) async fn run(path: PathBuf, settings: Settings) -> anyhow::Result<()> {
    let mut process = Process::new(path, settings)?;
    let socket_path = process.settings.process.status_socket.clone();
    let mut socket = StatusSocket::listen(&socket_path)
        .with_context(|| format!("statusSocket: {}", socket_path.display()))?;
    if let Some(address) = process.settings.process.metrics {
        let (bound, serving) = http::serve(address, Arc::clone(&process.shown) as _)
            .await
            .with_context(|| format!("metrics.listen: {address}"))?;
        tracing::info!("metrics and health at http://{bound}");
        tokio::spawn(serving);
    }
    let [mut hup, mut term, mut int] = signals()?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        process.settle().await?;
        let deadline = process.source.next_timeout();
        tokio::select! {
            () = process.source.changed() => {}
            report = next_report(&mut process.speaker) => match report {
                Some(report) => process.report(report),
                None => anyhow::bail!("the BGP speaker has ended by itself"),
            },
            question = socket.next() => process.answer(question),
            _ = hup.recv() => process.reload(true),
            _ = look.tick() => process.look(),
            () = sleep_until(deadline) => process.source.timeout(now()),
            _ = term.recv() => return process.end().await,
            _ = int.recv() => return process.end().await,
        }
    }
}

impl Process {
    fn new(path: PathBuf, settings: Settings) -> anyhow::Result<Self> {
        let source = Source::open(&settings)?;
        let run_dir = &settings.process.run_dir;
        let mark = Mark::new(run_dir).with_context(|| format!("runDir: {}", run_dir.display()))?;
        let (publish, snapshot) = watch::channel(Arc::default());
        let shown = Arc::new(Shown::new(&settings.process.name, snapshot)?);
        let stamps = stamps(&settings.files);
        let (speaker, file, keys) = (None, None, BTreeMap::new());
        Ok(Self { path, settings, source, speaker, shown, publish, mark, stamps, file, keys })
    }

    /// Tells the speaker what it is to be, if that is news, and the outside how things are.
    async fn settle(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(config) = self.source.settle(now()) {
                self.tell(config).await?;
            }
            // What is wanted may depend on how the sessions are.
            match &self.speaker {
                Some(speaker) if self.source.wants_to_know() => {
                    let (peers, sole) = (speaker.handle.peers().await?, speaker.handle.sole().await?);
                    self.source.peers(&peers, sole);
                }
                Some(_) | None => break,
            }
        }
        self.publish.send_replace(Arc::new(self.snapshot()));
        Ok(())
    }

    async fn tell(&mut self, config: Config) -> anyhow::Result<()> {
        match &mut self.speaker {
            None => self.speaker = Some(self.start(config).await?),
            Some(speaker) => {
                self.keys.clear();
                speaker.config = Arc::new(config.clone());
                speaker.handle.configure(config).await?;
            }
        }
        Ok(())
    }

    async fn start(&self, config: Config) -> anyhow::Result<Running> {
        let how = self.mark.start();
        let seed = RandomState::new().build_hasher().finish();
        let speaker = Speaker::new(config.clone(), how, seed, now());
        let listen = match &self.settings.process.listen {
            Some(listen) => listen.clone(),
            None => everywhere(self.source.port()),
        };
        let (driver, handle, reports) = Driver::new(speaker, &listen, LocRib::Ignore).context("listen")?;
        for address in driver.listening() {
            tracing::info!("BGP at {address}");
        }
        driver.spawn()?;
        self.mark.make().context("runDir")?;
        // It announces nothing of its own.
        handle.origination_complete().await?;
        tracing::info!("AS {}, router id {}, {how:?}", config.local_as.0, config.router_id);
        Ok(Running { handle, reports, config: Arc::new(config) })
    }

    fn snapshot(&self) -> Snapshot {
        let origins = Arc::new(self.source.origins());
        let view = |speaker: &Running| {
            SpeakerView::new(speaker.handle.clone(), Arc::clone(&speaker.config), Arc::clone(&origins))
        };
        let mut conditions: Vec<Condition> = self.file.iter().chain(self.keys.values()).cloned().collect();
        conditions.extend(self.source.conditions());
        conditions.sort_by_key(|condition| condition.severity);
        Snapshot {
            speaker: self.speaker.as_ref().map(view),
            waits_for: self.source.ready().err(),
            kinds: self.source.kinds(),
            conditions,
        }
    }

    fn report(&mut self, report: Report) {
        // The Loc-RIB's changes are not asked for.
        let Report::Notice(notice) = report else { return };
        self.shown.noticed(&notice);
        match notice.severity() {
            corduroy_bgp_net::Severity::Debug => tracing::debug!("{notice}"),
            corduroy_bgp_net::Severity::Info => tracing::info!("{notice}"),
            corduroy_bgp_net::Severity::Warning => tracing::warn!("{notice}"),
        }
        if let Notice::Listen(ListenProblem::Key { net, .. }) = &notice {
            let (about, message) = (format!("neighbours in {net}"), notice.to_string());
            self.keys.insert(net.to_string(), Condition { severity: Severity::Error, about, message });
        }
        self.source.something_happened();
    }

    fn answer(&self, question: Question) {
        let owner = match &question.request {
            StatusRequest::Explain { net } => self.source.owner(net.ip()),
            _ => None,
        };
        let shown = Arc::clone(&self.shown);
        tokio::spawn(async move {
            let answer = shown.answer(question.request.clone(), owner).await;
            question.answer(answer);
        });
    }

    /// Reads the file again when it has changed; one that was refused is tried each time, because what was wrong may
    /// lie elsewhere (a password file that comes later).
    fn look(&mut self) {
        if stamps(&self.settings.files) != self.stamps {
            self.reload(true);
        } else if self.file.is_some() {
            self.reload(false);
        }
    }

    /// Takes the file as it is now, or says what is wrong with it and stays as it is.
    fn reload(&mut self, aloud: bool) {
        self.stamps = stamps(&self.settings.files);
        let about = self.path.display().to_string();
        let (severity, message) = match Settings::load(&self.path) {
            Err(error) => (Severity::Error, format!("not taken, the last good one stays in force: {error}")),
            Ok(new) => {
                let same = new.process == self.settings.process && self.source.replace(&new.source);
                self.settings.files = new.files;
                self.stamps = stamps(&self.settings.files);
                if same {
                    tracing::info!("{about}: taken");
                    self.shown.reloaded(true);
                    self.file = None;
                    return;
                }
                let which = "all but clients, asNumber, routerID, clusterID and selectionDeferral";
                (Severity::Warning, format!("not taken: {which} takes a restart of the process"))
            }
        };
        if aloud {
            tracing::error!("{about}: {message}");
            self.shown.reloaded(false);
        }
        self.file = Some(Condition { severity, about, message });
    }

    async fn end(self) -> anyhow::Result<()> {
        let Some(speaker) = self.speaker else { return Ok(()) };
        let drain = self.settings.process.on_termination == Termination::Drain;
        let how = if drain { Stop::Drain { text: "going down".into() } } else { Stop::Restart };
        tracing::info!("ending: {how:?}");
        speaker.handle.stop(how).await?;
        if drain {
            self.mark.take_away().context("runDir")?;
        }
        Ok(())
    }
}

fn signals() -> anyhow::Result<[Signal; 3]> {
    let catch = |kind| signal(kind).context("signals");
    Ok([catch(SignalKind::hangup())?, catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?])
}

async fn next_report(speaker: &mut Option<Running>) -> Option<Report> {
    match speaker {
        Some(speaker) => speaker.reports.recv().await,
        None => pending().await,
    }
}

async fn sleep_until(at: Option<Time>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => pending().await,
    }
}

/// Every address of the machine; a kernel without IPv6 has no addresses of that family.
fn everywhere(port: u16) -> Vec<SocketAddr> {
    let v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let v6 = Path::new("/proc/net/if_inet6").exists().then_some(IpAddr::from(Ipv6Addr::UNSPECIFIED));
    [Some(v4), v6].into_iter().flatten().map(|address| SocketAddr::new(address, port)).collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
