//! Who may speak with whom: one authority, one certificate of the API server, the key that signs service accounts'
//! tokens, static tokens for the parts of the control plane, and a certificate for each node's kubelet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::process;

/// (name, token, user, group): who speaks with the API server by a static token.
const USERS: &[(&str, &str, &str, &str)] = &[
    ("admin", "admin-token", "admin", "system:masters"),
    ("controller-manager", "controller-manager-token", "system:kube-controller-manager", ""),
    ("scheduler", "scheduler-token", "system:kube-scheduler", ""),
    ("kube-proxy", "kube-proxy-token", "system:kube-proxy", ""),
];

/// Without it `openssl req` adds what the machine's own configuration says.
const PLAIN: &str = "[req]\ndistinguished_name = name\n[name]\n";

/// A directory of keys and certificates.
#[derive(Debug)]
pub(super) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes all that a control plane needs; the API server will be known by `names` (`DNS:…`, `IP:…`).
    #[track_caller]
    pub(super) fn create(dir: PathBuf, names: &[String]) -> Self {
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("can't make {}: {e}", dir.display()));
        let pki = Self { dir };
        pki.write("plain.cnf", PLAIN);
        pki.request("ca", "/CN=corduroy-tests", &["basicConstraints=critical,CA:TRUE"], false);
        let names = format!("subjectAltName={}", names.join(","));
        pki.request("apiserver", "/CN=kube-apiserver", &[&names, "extendedKeyUsage=serverAuth"], true);
        pki.openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "sa.key",
        ]);
        pki.openssl(&["pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"]);
        let line = |(name, token, user, group): &(&str, &str, &str, &str)| {
            let fields = [*token, *user, *name, *group];
            fields.join(",").trim_end_matches(',').to_owned() + "\n"
        };
        pki.write("tokens.csv", &USERS.iter().map(line).collect::<String>());
        pki
    }

    /// One of its files.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The token of one of the static users.
    #[track_caller]
    pub(super) fn token(&self, name: &str) -> &'static str {
        let found = USERS.iter().find(|user| user.0 == name);
        found.unwrap_or_else(|| panic!("{name} has no static token")).1
    }

    /// Writes a kubeconfig by which a static user reaches the API server.
    #[track_caller]
    pub(super) fn kubeconfig(&self, name: &str, url: &str) -> PathBuf {
        let user = json!({ "token": self.token(name) });
        self.write(&format!("{name}.kubeconfig"), &kubeconfig(url, &self.path("ca.crt"), &user))
    }

    /// Writes a kubeconfig by which the bearer of a token reaches the API server, in a namespace.
    #[track_caller]
    pub(super) fn account_kubeconfig(&self, name: &str, url: &str, token: &str, namespace: &str) -> PathBuf {
        let text = kubeconfig(url, &self.path("ca.crt"), &json!({ "token": token }));
        let place = "\"cluster\":\"tests\",";
        let text = text.replace(place, &format!("{place}\"namespace\":\"{namespace}\","));
        self.write(&format!("{name}.kubeconfig"), &text)
    }

    /// Makes a kubelet's certificate and writes it with its key, the authority and a kubeconfig into `dir`, which the
    /// node sees as `seen`.
    #[track_caller]
    pub(super) fn kubelet(&self, node: &str, url: &str, dir: &Path, seen: &Path) {
        let file = format!("node-{node}");
        self.request(
            &file,
            &format!("/O=system:nodes/CN=system:node:{node}"),
            &["extendedKeyUsage=clientAuth"],
            true,
        );
        let user =
            json!({ "client-certificate": seen.join("client.crt"), "client-key": seen.join("client.key") });
        let copies = [(format!("{file}.crt"), "client.crt"), (format!("{file}.key"), "client.key")];
        for (from, to) in copies.iter().map(|(from, to)| (from.as_str(), *to)).chain([("ca.crt", "ca.crt")]) {
            let copied = fs::copy(self.path(from), dir.join(to));
            copied.unwrap_or_else(|e| panic!("can't write {}: {e}", dir.join(to).display()));
        }
        write(&dir.join("kubeconfig"), &kubeconfig(url, &seen.join("ca.crt"), &user));
        let user = json!({ "token": self.token("kube-proxy") });
        write(&dir.join("kube-proxy.kubeconfig"), &kubeconfig(url, &seen.join("ca.crt"), &user));
    }

    /// Makes a client's certificate and writes it with its key and the authority into `dir`.
    #[track_caller]
    pub(super) fn client(&self, subject: &str, dir: &Path) {
        self.request("client", subject, &["extendedKeyUsage=clientAuth"], true);
        for name in ["client.crt", "client.key", "ca.crt"] {
            let copied = fs::copy(self.path(name), dir.join(name));
            copied.unwrap_or_else(|e| panic!("can't write {}: {e}", dir.join(name).display()));
        }
    }

    /// A new key and certificate, signed by the authority or by itself.
    #[track_caller]
    fn request(&self, name: &str, subject: &str, extensions: &[&str], signed: bool) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let mut arguments = vec!["req", "-x509", "-config", "plain.cnf", "-nodes", "-days", "365"];
        arguments.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        arguments.extend(["-subj", subject, "-keyout", &key, "-out", &certificate]);
        for extension in extensions {
            arguments.extend(["-addext", extension]);
        }
        if signed {
            arguments.extend(["-CA", "ca.crt", "-CAkey", "ca.key"]);
        }
        self.openssl(&arguments);
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments).current_dir(&self.dir);
        process::output(openssl);
    }

    #[track_caller]
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        write(&path, text);
        path
    }
}

#[track_caller]
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("can't write {}: {e}", path.display()));
}

fn kubeconfig(url: &str, ca: &Path, user: &serde_json::Value) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "clusters": [{ "name": "tests", "cluster": { "server": url, "certificate-authority": ca } }],
        "users": [{ "name": "tests", "user": user }],
        "contexts": [{ "name": "tests", "context": { "cluster": "tests", "user": "tests" } }],
    });
    config.to_string()
}
