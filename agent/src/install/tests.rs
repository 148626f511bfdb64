use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(label: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("corduroy-install-{label}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("image")).unwrap();
        fs::write(dir.join("image/corduroy"), "the plugin").unwrap();
        Self(dir)
    }

    fn place(&self) -> Place {
        let dir = |name: &str| self.0.join(name);
        Place { plugins: dir("bin"), networks: dir("net.d"), run_dir: dir("run"), state_dir: dir("state") }
    }

    fn plugin(&self, name: &str, versions: &str) {
        let path = self.0.join("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let answer =
            format!("#!/bin/sh\necho '{{\"cniVersion\": \"1.0.0\", \"supportedVersions\": {versions}}}'\n");
        fs::write(&path, answer).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Installs; what it said.
    fn install(&self) -> Result<Vec<String>, InstallError> {
        let mut said = Vec::new();
        install(&self.place(), Some(&self.0.join("image")), &mut |line| said.push(line)).map(|()| said)
    }

    fn network(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.0.join("net.d/10-corduroy.conflist")).unwrap()).unwrap()
    }

    fn types(&self) -> Vec<String> {
        let network = self.network();
        let plugins = network["plugins"].as_array().unwrap();
        plugins.iter().map(|p| p["type"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_network_names_the_plugins_that_are_there_and_what_all_of_them_speak() {
    let scratch = Scratch::new("chain");
    scratch.install().unwrap();
    assert_eq!(scratch.types(), ["corduroy"]);
    assert_eq!(scratch.network()["cniVersion"], "1.0.0");
    assert_eq!(scratch.network()["cniVersions"], serde_json::json!(["1.0.0", "1.1.0"]));
    assert_eq!(scratch.network()["plugins"][0]["runDir"], scratch.0.join("run").to_str().unwrap());
    scratch.plugin("portmap", r#"["1.0.0", "1.1.0"]"#);
    scratch.install().unwrap();
    assert_eq!(scratch.types(), ["corduroy", "portmap"]);
    assert_eq!(scratch.network()["cniVersions"], serde_json::json!(["1.0.0", "1.1.0"]));
    scratch.plugin("bandwidth", r#"["0.4.0", "1.0.0"]"#);
    scratch.install().unwrap();
    assert_eq!(scratch.types(), ["corduroy", "portmap", "bandwidth"]);
    assert_eq!(scratch.network()["plugins"][1]["capabilities"]["portMappings"], true);
    assert_eq!(scratch.network()["plugins"][2]["capabilities"]["bandwidth"], true);
    assert_eq!(
        scratch.network()["cniVersions"],
        serde_json::json!(["1.0.0"]),
        "what one does not speak is not offered"
    );
}

#[test]
fn the_network_comes_after_the_plugin_and_nothing_is_written_twice() {
    let scratch = Scratch::new("order");
    let said = scratch.install().unwrap();
    assert!(said[0].ends_with("bin/corduroy written"), "{said:?}");
    assert!(said[1].ends_with("bin/loopback links to corduroy"), "{said:?}");
    assert!(said[2].ends_with("net.d/10-corduroy.conflist written"), "{said:?}");
    let plugin = scratch.0.join("bin/corduroy");
    assert_eq!(fs::metadata(&plugin).unwrap().permissions().mode() & 0o777, 0o755);
    let said = scratch.install().unwrap();
    assert!(said.iter().all(|line| line.ends_with(" is there")), "{said:?}");
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o600)).unwrap();
    let said = scratch.install().unwrap();
    assert!(said[0].ends_with("written") && said[1..].iter().all(|l| l.ends_with("is there")), "{said:?}");
    let names = |dir: &str| fs::read_dir(scratch.0.join(dir)).unwrap().count();
    assert_eq!((names("bin"), names("net.d")), (2, 1), "nothing unfinished is left");
}

#[test]
fn a_plugin_that_can_not_be_written_leaves_no_network() {
    let scratch = Scratch::new("fails");
    // A directory in its place can't be replaced by a file.
    fs::create_dir_all(scratch.0.join("bin/corduroy")).unwrap();
    let error = scratch.install().unwrap_err().to_string();
    assert!(error.starts_with(&format!("write {}/bin/corduroy: ", scratch.0.display())), "{error}");
    assert!(!scratch.0.join("net.d/10-corduroy.conflist").exists());
    assert!(!scratch.0.join("bin/.corduroy.unfinished").exists());
}

#[test]
fn what_a_run_that_was_cut_off_has_left_is_replaced() {
    let scratch = Scratch::new("again");
    let other = scratch.0.join("other");
    fs::write(&other, "somebody else's").unwrap();
    fs::create_dir_all(scratch.0.join("bin")).unwrap();
    std::os::unix::fs::symlink(&other, scratch.0.join("bin/.corduroy.unfinished")).unwrap();
    scratch.install().unwrap();
    assert_eq!(fs::read(scratch.0.join("bin/corduroy")).unwrap(), b"the plugin");
    assert_eq!(fs::read(&other).unwrap(), b"somebody else's", "a link that lay there is not followed");
}

#[test]
fn a_network_that_the_runtime_would_take_before_ours_is_named() {
    let scratch = Scratch::new("before");
    fs::create_dir_all(scratch.0.join("net.d")).unwrap();
    for name in ["10-calico.conflist", "05-other.conf", "87-later.conflist", "00-readme.txt"] {
        fs::write(scratch.0.join("net.d").join(name), "{}").unwrap();
    }
    let said = scratch.install().unwrap();
    let named: Vec<_> = said.iter().filter(|line| line.contains("comes before ours")).collect();
    assert_eq!(named.len(), 2, "{said:?}");
    assert!(
        named[0].contains("net.d/05-other.conf ") && named[1].contains("net.d/10-calico.conflist "),
        "{said:?}"
    );
}

#[test]
fn a_loopback_plugin_of_the_node_stays_and_one_that_is_missing_becomes_ours() {
    let scratch = Scratch::new("loopback");
    let loopback = scratch.0.join("bin/loopback");
    scratch.install().unwrap();
    assert_eq!(fs::read(&loopback).unwrap(), b"the plugin");
    assert!(is_our_link(&loopback));
    fs::remove_file(&loopback).unwrap();
    scratch.plugin("loopback", r#"["1.0.0"]"#);
    let theirs = fs::read(&loopback).unwrap();
    scratch.install().unwrap();
    assert_eq!(fs::read(&loopback).unwrap(), theirs);
    assert!(!is_our_link(&loopback), "uninstall would take it away");
    fs::remove_file(&loopback).unwrap();
    symlink("/nonexistent/loopback", &loopback).unwrap();
    scratch.install().unwrap();
    assert_eq!(fs::read(&loopback).unwrap(), b"the plugin", "a link to nothing runs nothing");
}
