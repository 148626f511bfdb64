//! The manifests that are made out of the code: the CustomResourceDefinition of each kind.

use corduroy_api::{Kind, schema::crd, yaml};

/// The folder they stand in.
pub const FOLDER: &str = "manifests/base/crds";
const HEAD: &str = "# Made by `make manifests` out of the types in api/src.\n";

/// Name and content of each file in [`FOLDER`].
///
/// # Errors
/// A definition has no form in YAML, which says that the schema is wrong.
pub fn definitions() -> Result<Vec<(String, String)>, yaml::SyntaxError> {
    let mut out = Vec::new();
    for kind in Kind::ALL {
        if let (Some(plural), Some(definition)) = (crd::plural(kind), crd::definition(kind)) {
            out.push((format!("{plural}.yaml"), format!("{HEAD}{}", yaml::write(&definition)?)));
        }
    }
    for (plural, definition) in crd::reports() {
        out.push((format!("{plural}.yaml"), format!("{HEAD}{}", yaml::write(&definition)?)));
    }
    let names: String = out.iter().map(|(name, _)| format!("- {name}\n")).collect();
    let index = format!(
        "{HEAD}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{names}"
    );
    out.push(("kustomization.yaml".to_owned(), index));
    Ok(out)
}
