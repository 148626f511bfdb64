//! `IPReservation`: addresses that are not handed out to whoever asks for any address. Who asks for one of them by
//! name gets it.

use ipnetwork::IpNetwork;

use crate::meta::{Kind, Metadata};
use crate::raw::raw;
use crate::report::Report;
use crate::resource::Checked;

/// A reservation, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpReservation {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// The addresses.
    pub cidrs: Vec<IpNetwork>,
}

raw! {
    /// `spec:` of an IPReservation as it stands in YAML.
    pub struct IpReservationSpec {
        /// The addresses, as CIDRs, as in 10.244.0.0/28 or 10.244.0.1/32.
        reserved_cidrs: Vec<String> = "reservedCIDRs" => .required().least(1).most(64).each(|cidr| cidr.cidr()),
    }
}

/// As many as the schema lets in.
const MOST: usize = 64;

impl Checked for IpReservation {
    const KIND: Kind = Kind::IpReservation;
    type Spec = IpReservationSpec;

    fn check(metadata: Metadata, spec: &IpReservationSpec, report: &mut Report) -> Option<Self> {
        let Some(raw) = &spec.reserved_cidrs else {
            report.missing("reservedCIDRs", "a list of CIDRs, as in [10.244.0.0/28]");
            return None;
        };
        let cidrs: Vec<IpNetwork> = report.within("reservedCIDRs", |r| {
            if raw.is_empty() || raw.len() > MOST {
                r.refuse(format!("{} of them", raw.len()), format!("1 to {MOST} CIDRs"));
            }
            raw.iter().enumerate().filter_map(|(i, text)| r.prefix(i, Some(text))).collect()
        });
        (!cidrs.is_empty()).then_some(Self { metadata, cidrs })
    }

    fn spec(&self) -> IpReservationSpec {
        IpReservationSpec { reserved_cidrs: Some(self.cidrs.iter().map(ToString::to_string).collect()) }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}
