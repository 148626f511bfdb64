//! `datastore.etcd:` of a program's configuration file.

use std::path::PathBuf;

use corduroy_api::raw::raw;
use corduroy_api::{Report, quoted};
use http::Uri;

use crate::Access;

/// What our keys begin with unless somebody says otherwise.
const PREFIX: &str = "/corduroy";

raw! {
    /// `datastore.etcd:`.
    pub struct EtcdFile {
        /// The client URLs of its members.
        endpoints: Vec<String> = "endpoints",
        /// Certificates of who signed the members'; else those the system trusts.
        ca: String = "ca",
        /// Our certificate.
        certificate: String = "certificate",
        /// Its key.
        key: String = "key",
        /// Who we are.
        user: String = "user",
        /// Where the password is.
        password_file: String = "passwordFile",
        /// What all keys begin with.
        prefix: String = "prefix",
    }
}

/// Checks it; everything that is wrong is noted.
pub fn check(file: &EtcdFile, report: &mut Report) -> Access {
    let path = |field: &str, raw: Option<&String>, report: &mut Report| {
        report
            .parsed(field, raw, "an absolute path", |text| text.starts_with('/').then(|| PathBuf::from(text)))
    };
    let certificate = path("certificate", file.certificate.as_ref(), report);
    let key = path("key", file.key.as_ref(), report);
    if file.certificate.is_some() != file.key.is_some() {
        let missing = if file.key.is_some() { "certificate" } else { "key" };
        report.missing(missing, "an absolute path: certificate and key go together");
    }
    let password = path("passwordFile", file.password_file.as_ref(), report);
    if file.user.is_some() != file.password_file.is_some() {
        let missing = if file.user.is_some() { "passwordFile" } else { "user" };
        report.missing(missing, "user and passwordFile go together");
    }
    let allowed = "a path of keys, as in /corduroy: it begins with '/' and does not end with one";
    let prefix = report.parsed("prefix", file.prefix.as_ref(), allowed, |text| {
        (text.starts_with('/') && !text.ends_with('/')).then(|| text.to_owned())
    });
    Access {
        endpoints: endpoints(file, report),
        ca: path("ca", file.ca.as_ref(), report),
        certificate: certificate.zip(key),
        user: file.user.clone().zip(password),
        prefix: prefix.unwrap_or_else(|| PREFIX.to_owned()),
    }
}

fn endpoints(file: &EtcdFile, report: &mut Report) -> Vec<String> {
    let allowed = "a URL of a member, as in https://192.0.2.1:2379";
    let all = file.endpoints.as_deref().unwrap_or_default();
    if all.is_empty() {
        report.missing("endpoints", "at least one URL of a member, as in https://192.0.2.1:2379");
    }
    report.within("endpoints", |r| {
        for (i, text) in all.iter().enumerate() {
            let is_one = text.parse::<Uri>().is_ok_and(|uri| {
                let is_bare = uri.path() == "/" && uri.query().is_none();
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.port_u16().is_some() && is_bare
            });
            if !is_one {
                r.within(i, |r| r.refuse(quoted(text), allowed));
            }
        }
    });
    all.to_vec()
}

#[cfg(test)]
mod tests {
    use corduroy_api::raw::Raw as _;
    use corduroy_api::yaml;

    use super::*;

    fn read(text: &str) -> Result<Access, String> {
        let mut report = Report::default();
        let value = yaml::documents(text)[0].parse().unwrap();
        let access = EtcdFile::read(&value, &mut report).map(|file| check(&file, &mut report));
        report.finish(access).map_err(|violations| violations.to_string())
    }

    #[test]
    fn everything_that_can_be_said_is_understood() {
        let access = read(
            "{endpoints: ['https://192.0.2.1:2379', 'http://[2001:db8::1]:2379'], ca: /ca, certificate: /c, key: /k, \
             user: corduroy, passwordFile: /p, prefix: /fabric/one}",
        )
        .unwrap();
        assert_eq!((access.endpoints.len(), access.prefix.as_str()), (2, "/fabric/one"));
        assert_eq!(access.certificate, Some(("/c".into(), "/k".into())));
        assert_eq!(access.user, Some(("corduroy".to_owned(), "/p".into())));
        assert_eq!(read("{endpoints: ['http://a:1']}").unwrap().prefix, "/corduroy");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        for (text, field) in [
            ("{}", "endpoints"),
            ("{endpoints: []}", "endpoints"),
            ("{endpoints: ['192.0.2.1:2379']}", "endpoints[0]"),
            ("{endpoints: ['https://a:1', 'ftp://a:1']}", "endpoints[1]"),
            ("{endpoints: ['https://a:1/v3']}", "endpoints[0]"),
            ("{endpoints: ['https://a']}", "endpoints[0]"),
            ("{endpoints: ['https://a:1'], ca: ca.pem}", "ca"),
            ("{endpoints: ['https://a:1'], certificate: /c}", "key"),
            ("{endpoints: ['https://a:1'], key: /k}", "certificate"),
            ("{endpoints: ['https://a:1'], user: u}", "passwordFile"),
            ("{endpoints: ['https://a:1'], passwordFile: /p}", "user"),
            ("{endpoints: ['https://a:1'], prefix: corduroy/}", "prefix"),
            ("{endpoints: ['https://a:1'], password: secret}", "password"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(field), "{text}: {refused}");
        }
    }
}
