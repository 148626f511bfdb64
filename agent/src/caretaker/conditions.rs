//! Has resources say how they stand.

use std::sync::Arc;

use corduroy_agent_core::caretaker::{Due, Ground, Judged, Judgements, News, Sayings, Stands, due, pause};
use corduroy_api::{API_VERSION, Key, Kind};
use corduroy_bgp::Time;
use corduroy_bgp_net::now;
use corduroy_datastore_kubernetes::{Regarding, Standing, timestamp};
use tokio::task::spawn_blocking;

use super::{Broken, Caretaker};

/// What a caretaker remembers of it.
pub(super) struct Conditions {
    ground: Arc<Ground>,
    judged: Judgements,
    sayings: Sayings,
    /// When the next look is due.
    pub(super) next: Time,
}

impl Default for Conditions {
    fn default() -> Self {
        let (ground, judged, sayings) = (Arc::default(), Judgements::new(), Sayings::default());
        Self { ground, judged, sayings, next: Time(0) }
    }
}

impl Caretaker {
    /// Looks whether something stands otherwise than it says, and has it say so. How full pools are is only said when
    /// `usage` says so.
    pub(super) async fn look_round(&mut self, usage: bool) -> Result<(), Broken> {
        let begun = now();
        self.term.conditions.next = begun + pause(std::time::Duration::ZERO, self.duties.settings.interval);
        let ground = Arc::new(self.asker.ask(|view| Ground::of(view.agent.known())).await?);
        if ground != self.term.conditions.ground {
            let judging = Arc::clone(&ground);
            let begun = now();
            // With thousands of nodes it takes longer than the loop may stand still.
            let judged = spawn_blocking(move || judging.judge()).await.map_err(|_| Broken::Ended)?;
            let next = now() + pause(now().since(begun), self.duties.settings.interval);
            let conditions = &mut self.term.conditions;
            (conditions.ground, conditions.judged, conditions.next) = (ground, judged, next);
        }
        let conditions = &mut self.term.conditions;
        let news = conditions.sayings.look(conditions.judged.clone(), usage);
        let mut failed = None;
        for (kind, judgements) in news {
            // A right that is missing for one kind keeps no other from saying how it stands.
            match self.have_say(kind, judgements).await {
                Err(Broken::Failed(error)) => failed = Some(error),
                result => result?,
            }
        }
        let not_in_force = self.term.conditions.sayings.not_in_force();
        self.tally.note(|counts| counts.not_in_force = not_in_force);
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Has resources of a kind say this of themselves.
    async fn have_say(&mut self, kind: Kind, mut judgements: Judgements) -> Result<(), Broken> {
        self.must_lead().await?;
        for standing in self.commons.standings(kind).await? {
            let key = Key::new(kind, standing.name.clone());
            let Some(judged) = judgements.remove(&key) else { continue };
            if self.write_status(&standing, &judged).await? {
                self.term.conditions.sayings.said(key, judged);
            }
        }
        Ok(())
    }

    /// Returns whether it says so now.
    async fn write_status(&mut self, standing: &Standing, judged: &Judged) -> Result<bool, Broken> {
        let Standing { words, generation, status, .. } = standing;
        let stands = Stands { words, generation: *generation, status };
        let (status, news) = match due(judged, &stands, &timestamp()) {
            Due::Nothing => return Ok(true),
            Due::Later => return Ok(false),
            Due::Write { status, news } => (status, news),
        };
        self.must_lead().await?;
        match self.commons.set_status(standing, &status).await {
            Ok(()) => self.tally.note(|counts| counts.statuses += 1),
            // Somebody else wrote meanwhile: the next look sees what.
            Err(error) if error.conflict => return Ok(false),
            // A server that judges the whole anew takes no status of what it would not let in now: every one before
            // 1.30, and all of them where a name is at fault. An Event it takes.
            Err(error) if error.refused => self.say("StatusRefused", &error.to_string()).await,
            Err(error) => return Err(error.into()),
        }
        if let Some(News { is_warning, reason, note }) = news {
            let (kind, name) = (standing.kind.name().to_owned(), standing.name.clone());
            let regarding =
                Regarding { api_version: API_VERSION.to_owned(), kind, name, uid: standing.uid.clone() };
            self.announce(regarding, &reason, &note, is_warning).await;
        }
        Ok(true)
    }
}
