use std::io;

use corduroy_api::AsNumber;

use super::*;

fn read(text: &str) -> Result<Settings, ConfigError> {
    Settings::read(text, "rr.yaml", &mut |name| match name {
        "secret" => Ok((PathBuf::from("/etc/secret"), b"corduroy\n".to_vec())),
        "empty" => Ok((PathBuf::from("/etc/empty"), b"\n".to_vec())),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    })
}

fn reflector(text: &str) -> Reflector {
    match read(text).unwrap().source {
        Source::Clients(reflector) => *reflector,
        Source::Datastore { .. } => panic!("not of its own"),
    }
}

/// Every message, without the file's name.
fn refusals(text: &str) -> Vec<String> {
    match read(text) {
        Err(ConfigError::Invalid(all)) => {
            all.iter().map(|line| line.strip_prefix("rr.yaml:").unwrap().to_owned()).collect()
        }
        other => panic!("{other:?}"),
    }
}

const HEAD: &str = "asNumber: 64512\nrouterID: 192.0.2.9\nclients:\n";

#[test]
fn a_short_file_is_enough_and_the_rest_has_defaults() {
    let text = format!("{HEAD}- address: 192.0.2.1\n- range: 2001:db8::/32\n  passwordFile: secret\n");
    let settings = read(&text).unwrap();
    assert_eq!(settings.process.status_socket, Path::new("/run/corduroy/routereflector.sock"));
    assert_eq!(settings.process.on_termination, Termination::Restart);
    assert_eq!((settings.process.listen, settings.process.metrics), (None, None));
    assert_eq!(settings.files, [Path::new("/etc/secret")]);
    let reflector = reflector(&text);
    assert_eq!(reflector.cluster_id, reflector.router_id);
    let [one, two] = reflector.neighbours.as_slice() else { panic!() };
    assert!(one.client && one.guard.password.is_none());
    assert_eq!(two.guard.password.as_ref().map(corduroy_bgp::config::Secret::expose), Some(&b"corduroy"[..]));
    assert_eq!(two.families, corduroy_bgp::FamilySet::BOTH);
}

#[test]
fn every_wrong_field_is_named_with_its_line_and_what_is_allowed() {
    let text = "\
asNumber: 0
routerID: 0.0.0.0
listen: [\"179\"]
onTermination: Explode
statusSocket: here.sock
selectionDeferal: 3s
clients:
- address: 224.0.0.1
- range: 192.0.2.1/24
  limit: 0
- address: 192.0.2.1
  families: [ipv4]
  nextHopMode: Mine
  passwordFile: absent
- {}
- address: 192.0.2.2
  range: 192.0.2.0/24
";
    let all = refusals(text);
    let expected = [
        ("6: selectionDeferal", "did you mean selectionDeferral?"),
        ("1: asNumber: \"0\"", "an AS number from 1"),
        ("2: routerID: \"0.0.0.0\"", "not 0.0.0.0"),
        ("8: clients[0].address: \"224.0.0.1\"", "a host's address"),
        ("10: clients[1].limit: 0", "from 1 to 60000"),
        ("9: clients[1].range: \"192.0.2.1/24\"", "did you mean 192.0.2.0/24?"),
        ("13: clients[2].nextHopMode: \"Mine\"", "one of Auto, Self, Keep"),
        ("12: clients[2].families[0]: \"ipv4\"", "ipv4-unicast"),
        ("14: clients[2].passwordFile: \"absent\"", "a readable file"),
        ("15: clients[3].address", "missing"),
        ("16: clients[4].address: \"192.0.2.2\"", "one or the other"),
        ("3: listen[0]: \"179\"", "an address and a port"),
        ("5: statusSocket: \"here.sock\"", "an absolute path"),
        ("4: onTermination: \"Explode\"", "one of Restart, Drain"),
    ];
    for (start, end) in expected {
        assert!(all.iter().any(|m| m.starts_with(start) && m.contains(end)), "no {start:?} in {all:#?}");
    }
    assert_eq!(all.len(), expected.len(), "{all:#?}");
}

#[test]
fn what_must_be_there_and_is_not_is_named() {
    let all = refusals("listen: [\"0.0.0.0:179\"]\n").join("\n");
    for field in ["asNumber: missing", "routerID: missing", "clients: missing"] {
        assert!(all.contains(field), "{all}");
    }
}

#[test]
fn entries_that_contradict_each_other_are_refused() {
    let twice = refusals(&format!("{HEAD}- address: 192.0.2.1\n- address: 192.0.2.1\n"));
    assert!(twice[0].contains("clients[1].address") && twice[0].contains("not named above"), "{twice:?}");
    let ranges = refusals(&format!("{HEAD}- range: 10.0.0.0/8\n- range: 10.0.0.0/8\n"));
    assert!(ranges[0].contains("clients[1].range"), "{ranges:?}");
    let text = format!("{HEAD}- range: 10.0.0.0/8\n  passwordFile: secret\n- address: 10.0.0.1\n");
    assert!(refusals(&text)[0].contains("clients[1].passwordFile: missing"), "{:?}", refusals(&text));
    let empty = refusals(&format!("{HEAD}- address: 10.0.0.1\n  passwordFile: empty\n"));
    assert!(empty[0].contains("1 to 80 bytes"), "{empty:?}");
}

#[test]
fn a_neighbour_in_another_as_is_never_reflected_to() {
    let outside = "- address: 192.0.2.1\n  asNumber: 65001\n";
    let neighbour = &reflector(&format!("{HEAD}{outside}")).neighbours[0];
    assert_eq!((neighbour.client, neighbour.as_number), (false, AsNumber::new(65001)));
    let all = refusals(&format!("{HEAD}{outside}  reflect: true\n"));
    assert!(all[0].contains("clients[0].reflect: true is not allowed"), "{all:?}");
    let own = reflector(&format!("{HEAD}- address: 192.0.2.1\n  asNumber: 64512\n  reflect: false\n"));
    assert_eq!((own.neighbours[0].client, own.neighbours[0].as_number), (false, None));
}

#[test]
fn a_datastore_takes_the_place_of_clients() {
    let text = "nodeName: rr\ndatastore: {file: {path: /etc/corduroy/resources}}\n";
    let settings = read(text).unwrap();
    assert_eq!(settings.process.name, "rr");
    assert!(matches!(settings.source, Source::Datastore { .. }));
    let both = refusals(&format!("{text}asNumber: 64512\n"));
    assert!(
        both[0].contains("asNumber") && both[0].contains("left out when there is a datastore"),
        "{both:?}"
    );
    assert!(refusals("datastore: {}\n")[0].contains("datastore.file: missing"));
}

#[test]
fn what_is_no_single_yaml_document_is_refused() {
    for (text, why) in [
        ("", "0 YAML documents"),
        ("asNumber: 1\n---\nasNumber: 2\n", "2 YAML documents"),
        ("asNumber: [\n", "not YAML"),
        ("- a\n", "a mapping"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("rr.yaml") && error.contains(why), "{error}");
    }
}
