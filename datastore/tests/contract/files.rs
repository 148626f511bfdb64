//! What only the file backend can get wrong: files written by people, by halves, or not at all.

use std::fs::{self, File};
use std::io::Write as _;

use corduroy_api::{Event, Kind, Rejection, Resource, Version, Write};
use corduroy_datastore::{Datastore, FileStore, OpenError, Watch};

use super::directory::Directory;
use super::{next, resource, until};

fn pool(name: &str, cidr: &str) -> String {
    format!(
        "apiVersion: corduroy.dev/v1alpha1\nkind: IPPool\nmetadata:\n  name: {name}\nspec:\n  cidr: {cidr}\n"
    )
}

async fn cidr(watch: &mut Watch, name: &str) -> String {
    until(watch, &format!("a state of {name}"), |event| match event {
        Event::Put(Resource::IpPool(pool)) if pool.metadata.name == name => Some(pool.cidr.to_string()),
        _ => None,
    })
    .await
}

/// What the next report says about a source, without the directory's name.
async fn rejections(watch: &mut Watch, dir: &Directory, what: &str) -> Vec<String> {
    let prefix = format!("{}/", dir.path().display());
    until(watch, what, |event| match event {
        Event::Rejected { source, rejections } => {
            let source = source.strip_prefix(&prefix).unwrap().to_owned();
            let say = |r: &Rejection| format!("{source}: {}", r.to_string().replace(&prefix, ""));
            Some(rejections.iter().map(say).collect())
        }
        _ => None,
    })
    .await
}

async fn in_sync(watch: &mut Watch) {
    until(watch, "in sync", |event| matches!(event, Event::InSync { .. }).then_some(())).await;
}

#[tokio::test]
async fn a_bad_field_names_file_line_field_value_and_what_is_allowed_and_the_last_good_state_stays() {
    let dir = Directory::new();
    let good = format!("# pools of rack 1\n{}---\n{}", pool("a", "10.1.0.0/16"), pool("b", "10.2.0.0/16"));
    dir.write("pools.yaml", &good);
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    in_sync(&mut watch).await;
    let bad = good.replace("10.1.0.0/16", "10.1.0.0/16\n  blockSize: 33\n  ipipmode: Always");
    dir.write("pools.yaml", &bad.replace("10.2.", "10.3."));
    assert_eq!(cidr(&mut watch, "b").await, "10.3.0.0/16", "the neighbour in the file is none the worse");
    assert_eq!(
        rejections(&mut watch, &dir, "what is wrong").await,
        [
            "line 9: IPPool/a: spec.ipipmode: \"Always\" is not allowed: no such field; did you mean ipipMode?",
            "line 8: IPPool/a: spec.blockSize: 33 is not allowed: a whole number from 20 to 32",
        ]
        .map(|text| format!("pools.yaml: {text}"))
    );
    let listed = store.list(Kind::IpPool).await.unwrap();
    let cidrs: Vec<_> = listed.iter().map(|r| r.key().to_string()).collect();
    assert_eq!(cidrs, ["IPPool/a", "IPPool/b"], "the last good state is in force");
    dir.write("pools.yaml", &good);
    assert_eq!(rejections(&mut watch, &dir, "that all is well").await, Vec::<String>::new());
}

#[tokio::test]
async fn text_that_is_no_yaml_keeps_what_the_file_had_and_says_on_which_line() {
    let dir = Directory::new();
    dir.write("all.yaml", &format!("{}---\n{}", pool("a", "10.1.0.0/16"), pool("b", "10.2.0.0/16")));
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    in_sync(&mut watch).await;
    dir.write("all.yaml", &format!("{}---\nkind: [IPPool\nmetadata: x\n", pool("a", "10.9.0.0/16")));
    assert_eq!(cidr(&mut watch, "a").await, "10.9.0.0/16");
    let said = rejections(&mut watch, &dir, "the syntax error").await;
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("all.yaml: line 9: not YAML: "), "{said:?}");
    assert_eq!(store.list(Kind::IpPool).await.unwrap().len(), 2, "b is still there");
}

#[tokio::test]
async fn an_emptied_file_loses_nothing_and_a_deleted_one_everything() {
    let dir = Directory::new();
    dir.write("a.yaml", &pool("a", "10.1.0.0/16"));
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    in_sync(&mut watch).await;
    dir.write("a.yaml", "");
    assert_eq!(
        rejections(&mut watch, &dir, "the empty file").await,
        ["a.yaml: it is empty but held resources; to remove them, delete it"]
    );
    assert_eq!(store.list(Kind::IpPool).await.unwrap().len(), 1);
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    assert_eq!(next(&mut watch, "its end").await, Event::Gone(resource(&pool("a", "10.1.0.0/16")).key()));
    assert_eq!(rejections(&mut watch, &dir, "that all is well").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_written_slowly_is_read_when_it_is_closed_and_not_before() {
    let dir = Directory::new();
    dir.write("a.yaml", &pool("a", "10.1.0.0/16"));
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    in_sync(&mut watch).await;
    let text = format!("{}---\n{}", pool("a", "10.2.0.0/16"), pool("b", "10.3.0.0/16"));
    // The first half is a file by itself: only that it is still open says that it is not.
    let (first, rest) = text.split_at(text.find("---").unwrap());
    let mut old = File::create(dir.path().join("a.yaml")).unwrap();
    let mut new = File::create(dir.path().join("new.yaml")).unwrap();
    old.write_all(first.as_bytes()).unwrap();
    new.write_all(pool("c", "10.4.0.0/16").split_at(60).0.as_bytes()).unwrap();
    // A fence: when this change is seen, the halves before it were not looked at.
    dir.write("fence.yaml", &pool("fence", "10.99.0.0/16"));
    match next(&mut watch, "the fence").await {
        Event::Put(resource) => assert_eq!(resource.key().name, "fence"),
        other => panic!("a half file was read: {other:?}"),
    }
    old.write_all(rest.as_bytes()).unwrap();
    drop(old);
    assert_eq!(cidr(&mut watch, "a").await, "10.2.0.0/16");
    assert_eq!(cidr(&mut watch, "b").await, "10.3.0.0/16");
}

#[tokio::test]
async fn what_cannot_be_read_is_rejected_with_the_systems_word_and_the_rest_goes_on() {
    let dir = Directory::new();
    fs::create_dir(dir.path().join("folder.yaml")).unwrap();
    fs::write(dir.path().join("latin1.yaml"), b"kind: IPPool # \xe9t\xe9\n").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("link.yaml")).unwrap();
    dir.write("good.yaml", &pool("a", "10.1.0.0/16"));
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    let mut said = Vec::new();
    for what in ["the folder", "the text that is none", "the dangling link"] {
        said.extend(rejections(&mut watch, &dir, what).await);
    }
    said.sort();
    assert_eq!(
        said,
        [
            "folder.yaml: can't be read: not a plain file",
            "latin1.yaml: can't be read: not UTF-8 text: byte 15 belongs to no character",
            "link.yaml: can't be read: No such file or directory (os error 2)",
        ]
    );
    assert_eq!(store.list(Kind::IpPool).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_resource_that_stands_twice_is_taken_from_the_first_file_by_name() {
    let dir = Directory::new();
    dir.write("a.yaml", &pool("p", "10.1.0.0/16"));
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    in_sync(&mut watch).await;
    dir.write("b.yaml", &pool("p", "10.2.0.0/16"));
    let why = "this resource stands in a.yaml too, which is in force; a resource may stand only once";
    assert_eq!(
        rejections(&mut watch, &dir, "the second").await,
        [format!("b.yaml: line 1: IPPool/p: {why}")]
    );
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    assert_eq!(cidr(&mut watch, "p").await, "10.2.0.0/16");
}

#[tokio::test]
async fn a_write_changes_its_own_document_and_leaves_the_rest_of_the_file_alone() {
    let dir = Directory::new();
    let text = format!(
        "# the first\n{}--- # the second\n{}---\n# the third\n{}",
        pool("a", "10.1.0.0/16"),
        pool("b", "10.2.0.0/16"),
        pool("c", "10.3.0.0/16 # by hand")
    );
    dir.write("pools.yaml", &text);
    let store = FileStore::open(dir.path()).unwrap();
    let mut found = store.list(Kind::IpPool).await.unwrap();
    let old = found.remove(1);
    let version = old.metadata().resource_version.clone().unwrap();
    let new = resource(&pool("b", "10.9.0.0/16")).at_version(version);
    let version = store.write(Write::Update(new)).await.unwrap();
    let now = dir.read("pools.yaml");
    assert!(now.starts_with(&format!("# the first\n{}", pool("a", "10.1.0.0/16"))), "{now}");
    assert!(now.ends_with(&format!("---\n# the third\n{}", pool("c", "10.3.0.0/16 # by hand"))), "{now}");
    assert!(now.contains("cidr: 10.9.0.0/16"), "{now}");
    store.write(Write::Delete { key: old.key(), version }).await.unwrap();
    let left: Vec<_> = store.list(Kind::IpPool).await.unwrap().iter().map(|r| r.key().name).collect();
    assert_eq!(left, ["a", "c"]);
    let made = store.write(Write::Create(resource(&pool("d", "10.4.0.0/16")))).await.unwrap();
    assert!(dir.read("ippool.d.yaml").contains("cidr: 10.4.0.0/16"));
    store
        .write(Write::Delete { key: resource(&pool("d", "10.4.0.0/16")).key(), version: made })
        .await
        .unwrap();
    assert!(!dir.path().join("ippool.d.yaml").exists(), "an empty file goes with its last resource");
    let hidden: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!hidden.iter().any(|n| n.to_string_lossy().starts_with(".tmp")), "{hidden:?}");
}

#[tokio::test]
async fn a_change_by_hand_after_the_reading_is_a_conflict() {
    let dir = Directory::new();
    dir.write("a.yaml", &pool("a", "10.1.0.0/16"));
    let store = FileStore::open(dir.path()).unwrap();
    let old = store.list(Kind::IpPool).await.unwrap().remove(0);
    dir.write("a.yaml", &pool("a", "10.2.0.0/16"));
    let version = Version(old.metadata().resource_version.clone().unwrap());
    let late = store.write(Write::Delete { key: old.key(), version }).await;
    assert_eq!(late.unwrap_err().to_string(), "IPPool/a has changed meanwhile: read it again");
    assert!(dir.read("a.yaml").contains("10.2.0.0/16"), "the change by hand is not lost");
}

#[tokio::test]
async fn a_file_of_our_own_that_is_broken_is_written_anew() {
    let dir = Directory::new();
    dir.write("ippool.a.yaml", "kind: [IPPool\n");
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    assert_eq!(rejections(&mut watch, &dir, "the broken file").await.len(), 1);
    store.write(Write::Create(resource(&pool("a", "10.1.0.0/16")))).await.unwrap();
    assert_eq!(cidr(&mut watch, "a").await, "10.1.0.0/16");
    assert_eq!(rejections(&mut watch, &dir, "that all is well").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_mounted_config_map_is_read_again_when_its_link_is_swapped() {
    let dir = Directory::new();
    let link = |target: &str| {
        std::os::unix::fs::symlink(target, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    dir.write("..one/pools.yaml", &pool("a", "10.1.0.0/16"));
    dir.write("..two/pools.yaml", &pool("a", "10.2.0.0/16"));
    link("..one");
    std::os::unix::fs::symlink("..data/pools.yaml", dir.path().join("pools.yaml")).unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    assert_eq!(cidr(&mut watch, "a").await, "10.1.0.0/16");
    link("..two");
    assert_eq!(cidr(&mut watch, "a").await, "10.2.0.0/16");
}

#[tokio::test]
async fn a_directory_that_goes_away_is_unavailable_and_comes_back_in_sync() {
    let dir = Directory::new();
    let (here, away) = (dir.path().join("store"), dir.path().join("away"));
    fs::create_dir(&here).unwrap();
    fs::write(here.join("a.yaml"), pool("a", "10.1.0.0/16")).unwrap();
    let store = FileStore::open(&here).unwrap();
    let mut watch = store.watch(&[Kind::IpPool]);
    in_sync(&mut watch).await;
    fs::rename(&here, &away).unwrap();
    let why = until(&mut watch, "that it is away", |event| match event {
        Event::Unavailable { why, .. } => Some(why),
        _ => None,
    })
    .await;
    assert!(why.ends_with("store: No such file or directory (os error 2)"), "{why}");
    assert_eq!(store.list(Kind::IpPool).await.unwrap().len(), 1, "what was read stays in force");
    fs::write(away.join("a.yaml"), pool("a", "10.2.0.0/16")).unwrap();
    fs::rename(&away, &here).unwrap();
    assert_eq!(cidr(&mut watch, "a").await, "10.2.0.0/16");
    in_sync(&mut watch).await;
}

#[tokio::test]
async fn a_secret_changed_by_hand_or_unreadable_is_told_like_a_file() {
    let dir = Directory::new();
    dir.write("secrets/bgp/mesh", "one\n");
    let store = FileStore::open(dir.path()).unwrap();
    let mut watch = store.watch(&[Kind::Secret]);
    let value = |event| match event {
        Event::Put(Resource::Secret(secret)) => Some(secret.data["mesh"].expose().to_vec()),
        _ => None,
    };
    assert_eq!(until(&mut watch, "the secret", value).await, b"one");
    dir.write("secrets/bgp/mesh", "two");
    assert_eq!(until(&mut watch, "its change", value).await, b"two");
    fs::create_dir(dir.path().join("secrets/bgp/folder")).unwrap();
    assert_eq!(
        rejections(&mut watch, &dir, "the folder").await,
        ["secrets: Secret/bgp: can't be read: folder: not a plain file"]
    );
    assert_eq!(store.list(Kind::Secret).await.unwrap().len(), 1, "the last good state is in force");
}

#[test]
fn a_directory_that_is_none_cannot_be_opened_and_the_message_says_what_must_be() {
    let dir = Directory::new();
    let missing = dir.path().join("missing");
    let error = FileStore::open(&missing).unwrap_err();
    assert!(matches!(error, OpenError::Unreadable { .. }));
    let wanted = "No such file or directory (os error 2); it must be a readable directory";
    assert_eq!(error.to_string(), format!("datastore directory {}: {wanted}", missing.display()));
}
