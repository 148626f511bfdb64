//! What a cluster's Node says of itself to the fabric: its labels, and by annotation (or label) its AS number and the
//! cluster id under which it reflects routes. In a cluster the Node is where an operator says so; its FabricNode says
//! the same, whatever was written there by hand.
//!
//! | annotation or label | Calico's annotation, understood too | |
//! |---|---|---|
//! | `corduroy.dev/as-number` | `projectcalico.org/ASNumber` | its AS number, plain or dotted |
//! | `corduroy.dev/route-reflector-cluster-id` | `projectcalico.org/RouteReflectorClusterID` | it reflects by this |
//!
//! An annotation goes before a label, and ours before Calico's. One that can't be used changes nothing: what was in
//! force stays, and a condition says so.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use corduroy_api::{AsNumber, Labels, NotAnAsNumber, cluster_id};

/// The annotations that are read, those that go before others first.
pub const AS_NUMBER: [&str; 2] = ["corduroy.dev/as-number", "projectcalico.org/ASNumber"];
/// The same for the cluster id.
pub const CLUSTER_ID: [&str; 2] =
    ["corduroy.dev/route-reflector-cluster-id", "projectcalico.org/RouteReflectorClusterID"];

/// What a Node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its labels, all of them.
    pub labels: Labels,
    /// Its AS number.
    pub as_number: Said<AsNumber>,
    /// It reflects, under this id.
    pub route_reflector_cluster_id: Said<Ipv4Addr>,
}

/// What a Node says in one respect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Said<T> {
    /// Nothing.
    #[default]
    Nothing,
    /// This.
    This(T),
    /// Something that can't be used.
    Bad(Bad),
}

/// An annotation or label that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Which.
    pub key: &'static str,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub allowed: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, allowed } = self;
        write!(f, "{key}: {value:?} is not allowed: {allowed}; what was in force before stays")
    }
}

impl Marks {
    /// What is said by these labels and annotations.
    #[must_use]
    pub fn read(labels: &Labels, annotations: &BTreeMap<String, String>) -> Self {
        let look = |keys: [&'static str; 2]| {
            let places = [(keys[0], annotations), (keys[0], labels), (keys[1], annotations)];
            places.into_iter().find_map(|(key, place)| place.get(key).map(|value| (key, value.trim())))
        };
        Self {
            labels: labels.clone(),
            as_number: Said::of(look(AS_NUMBER), |text| {
                text.parse().map_err(|e: NotAnAsNumber| e.to_string())
            }),
            route_reflector_cluster_id: Said::of(look(CLUSTER_ID), |text| {
                let form = "a cluster id written like an IPv4 address, other than 0.0.0.0";
                cluster_id(text).ok_or_else(|| form.to_owned())
            }),
        }
    }

    /// Everything that can't be used.
    pub fn bad(&self) -> impl Iterator<Item = &Bad> {
        [self.as_number.bad(), self.route_reflector_cluster_id.bad()].into_iter().flatten()
    }
}

impl<T> Said<T> {
    fn of(found: Option<(&'static str, &str)>, read: impl Fn(&str) -> Result<T, String>) -> Self {
        let Some((key, value)) = found else { return Self::Nothing };
        match read(value) {
            Ok(this) => Self::This(this),
            Err(allowed) => Self::Bad(Bad { key, value: value.to_owned(), allowed }),
        }
    }

    fn bad(&self) -> Option<&Bad> {
        if let Self::Bad(bad) = self { Some(bad) } else { None }
    }
}

impl<T: Copy> Said<T> {
    /// What holds, given what was in force before.
    #[must_use]
    pub fn or_stays(&self, before: Option<T>) -> Option<T> {
        match self {
            Self::Nothing => None,
            Self::This(this) => Some(*this),
            Self::Bad(_) => before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn annotations_go_before_labels_and_ours_before_those_of_others() {
        let [ours, calicos] = AS_NUMBER;
        let read = |labels: &[(&str, &str)], annotations: &[(&str, &str)]| {
            Marks::read(&map(labels), &map(annotations)).as_number.or_stays(None).map(AsNumber::get)
        };
        assert_eq!(read(&[(ours, "65002")], &[(ours, "65001"), (calicos, "65003")]), Some(65001));
        assert_eq!(read(&[(ours, "65002")], &[(calicos, "65003")]), Some(65002));
        assert_eq!(read(&[], &[(calicos, "1.10")]), Some(65546));
        assert_eq!(read(&[(calicos, "65003")], &[]), None);
    }

    #[test]
    fn what_can_not_be_used_is_told_and_leaves_what_was_in_force() {
        let marks = Marks::read(&map(&[]), &map(&[(AS_NUMBER[0], "sixty"), (CLUSTER_ID[1], "0.0.0.0")]));
        let said: Vec<String> = marks.bad().map(ToString::to_string).collect();
        assert_eq!(said.len(), 2);
        assert!(
            said[0].starts_with("corduroy.dev/as-number: \"sixty\" is not allowed: an AS number"),
            "{said:?}"
        );
        assert!(said[1].starts_with("projectcalico.org/RouteReflectorClusterID: \"0.0.0.0\""), "{said:?}");
        let before = AsNumber::new(65001);
        assert_eq!(marks.as_number.or_stays(before), before);
        assert_eq!(Said::<AsNumber>::Nothing.or_stays(before), None, "it was taken back");
    }
}
