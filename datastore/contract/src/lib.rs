//! What every datastore must do, as tests that each backend runs over itself.
//!
//! A backend hands in a [`Backend`]: two doors to the same, empty datastore (two processes that share a directory, two
//! clients of one server), and a way to put text there past all checks, where there is one. [`suite!`] makes one test
//! of each demand, and [`demands`] lists them for those who run them some other way:
//!
//! ```text
//! corduroy_datastore_contract::suite!(my_backend().await);
//! ```
//! Nothing is demanded that a store behind a network can't give: a change is seen by a watcher *some time* after the
//! write was answered, and kinds come in sync in any order. The versions, on the other hand, hold at once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by panicking")]
#![warn(missing_docs)]

mod watching;
mod writing;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use corduroy_api::{Event, IpamBlock, Resource, Version, yaml};
use corduroy_datastore::{Datastore, Pending, Watch};

#[doc(hidden)]
pub use tokio;
pub use watching::*;
pub use writing::*;

/// Puts a document (of a resource of that kind and name) in place of what stands there.
pub type Put = Box<dyn Fn(&str) -> Pending<'static, ()> + Send + Sync>;

/// An empty datastore to be tested.
pub struct Backend {
    /// One door to it.
    pub one: Arc<dyn Datastore>,
    /// Another, as far from the first as this backend allows.
    pub other: Arc<dyn Datastore>,
    /// Past all checks, where the backend can hold what can't be used.
    pub put: Option<Put>,
    /// What must live as long as the test.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

/// Makes a test of each demand; the expression makes a [`Backend`] and may wait.
#[macro_export]
macro_rules! suite {
    ($backend:expr) => {
        use $crate::tests_of_demands;
        $crate::each_demand! { tests_of_demands, $backend }
    };
}

/// Hands the names of all demands to another macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! each_demand {
    ($then:ident, $($with:tt)*) => {
        $then! { $($with)*,
            a_watch_replays_what_is_there_then_says_in_sync_for_each_kind
            a_change_through_one_door_reaches_the_watcher_at_the_other
            a_slow_watcher_may_miss_states_but_never_the_last
            what_came_and_went_and_came_again_is_there_in_the_end
            a_write_that_says_what_is_said_already_tells_nobody
            a_watch_that_was_dropped_has_ended_and_the_next_one_hears_everything
            a_resource_that_cannot_be_used_is_rejected_and_its_last_good_state_stays
            a_secret_is_a_resource_like_any_other
            a_resource_in_a_namespace_is_known_by_both_names
            what_is_read_carries_the_version_that_a_write_needs
            a_write_on_another_state_than_was_read_is_a_conflict_and_changes_nothing
            what_is_gone_can_be_neither_updated_nor_deleted_but_created_anew
            of_two_writers_racing_for_a_block_exactly_one_gets_it_every_time
            no_increment_is_lost_when_many_writers_compare_and_swap_one_resource
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! tests_of_demands {
    ($backend:expr, $($name:ident)*) => {
        $(#[$crate::tokio::test(
            flavor = "multi_thread",
            worker_threads = 2,
            crate = "corduroy_datastore_contract::tokio"
        )]
        async fn $name() {
            $crate::$name($backend).await;
        })*
    };
}

macro_rules! list_of_demands {
    ($list:ident, $($name:ident)*) => {
        $({
            fn demand(backend: Backend) -> Pending<'static, ()> {
                Box::pin($name(backend))
            }
            $list.push((stringify!($name), demand));
        })*
    };
}

/// One demand: a test over a backend, which fails by panicking.
pub type Demand = fn(Backend) -> Pending<'static, ()>;

/// All demands by name, for a backend that is too costly to make for each.
#[must_use]
pub fn demands() -> Vec<(&'static str, Demand)> {
    let mut list: Vec<(&'static str, Demand)> = Vec::new();
    each_demand! { list_of_demands, list }
    list
}

const DEADLINE: Duration = Duration::from_secs(30);

/// The next event; a test that waits in vain fails and says for what.
pub async fn next(watch: &mut Watch, what: &str) -> Event {
    tokio::time::timeout(DEADLINE, watch.next())
        .await
        .unwrap_or_else(|_| panic!("no event came: wanted {what}"))
}

/// Events until one that `wanted` takes, which is returned.
pub async fn until<T>(watch: &mut Watch, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(next(watch, what).await) {
            return found;
        }
    }
}

/// The resource that a document says.
#[must_use]
pub fn resource(text: &str) -> Resource {
    let documents = yaml::documents(text);
    Resource::read(&documents[0].parse().unwrap()).unwrap()
}

/// A pool, as text.
#[must_use]
pub fn pool_text(name: &str, cidr: &str) -> String {
    let head = "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool";
    format!("{head}\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}}}\n")
}

fn pool(name: &str, cidr: &str) -> Resource {
    resource(&pool_text(name, cidr))
}

fn block(node: &str, epoch: u64) -> Resource {
    let cidr = "10.244.0.0/26".parse().unwrap();
    Resource::IpamBlock(Arc::new(IpamBlock::claim(cidr, node, &format!("uid-{node}"), epoch)))
}

fn at(resource: Resource, version: &Version) -> Resource {
    resource.at_version(version.0.clone())
}

/// The CIDR of the pool that an event puts.
#[must_use]
pub fn cidr_of(event: Event) -> Option<String> {
    match event {
        Event::Put(Resource::IpPool(pool)) => Some(pool.cidr.to_string()),
        _ => None,
    }
}

/// Waits until the kind that is watched, or all of them, are in sync.
pub async fn in_sync(watch: &mut Watch, kinds: usize) {
    for _ in 0..kinds {
        until(watch, "in sync", |event| matches!(event, Event::InSync { .. }).then_some(())).await;
    }
}
