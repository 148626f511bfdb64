//! Export: from the Loc-RIB to what every peer is told.
//!
//! Peers that encoding can't tell apart have equal [`ExportView`]s and are one *update group* ([`view::View`]): one
//! Adj-RIB-Out (an attribute id a prefix), one run of export policy for an attribute set and source, one encoded byte
//! stream ([`log::Log`]) that every member reads at its own pace. Split horizon is in the stream: a message says for
//! whom it is. Members that join, ask for a refresh or fall behind follow a [`walk::Walk`] over the group's table,
//! ordered by attribute set so that packing is kept, until they have caught up with the stream.
//!
//! There is no timer: what a call of `Rib::work` has decided is encoded at its end.

mod encode;
pub(crate) mod log;
mod view;
mod views;
mod walk;

use alloc::vec::Vec;

use crate::attrs::encode::{Edit, Edits, Reflection};
use crate::attrs::{Attributes, NextHopValue};
use crate::config::NextHop;
use crate::io::Session;
use crate::policy::{Changes, Community, Compiled, PeerType, Scope, Verdict};
use crate::reflect;
use crate::rib::{AttrId, Attrs, Settings};
use crate::status::Withheld;
use crate::wire::update::Form;
use crate::{Asn, Family, RouterId};

pub(crate) use view::Member;
pub(crate) use views::Views;

/// All that encoding may know of a peer. Equal views are one update group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExportView {
    /// Family, width of AS numbers, message size.
    pub form: Form,
    /// Our own AS or another.
    pub peer_type: PeerType,
    /// A client of ours, when we reflect.
    pub client: bool,
    /// The AS we show.
    pub local_as: Asn,
    /// When the next hop is ours.
    pub next_hop: NextHop,
    /// Our address of the family, when the session has one.
    pub own_address: Option<NextHopValue>,
    /// Our cluster, when we reflect.
    pub cluster_id: Option<RouterId>,
    /// The id of the compiled export filter.
    pub filter: u32,
    /// We are about to go: GRACEFUL_SHUTDOWN on everything (RFC 8326).
    pub draining: bool,
}

impl ExportView {
    pub(crate) fn new(session: &Session, family: Family, filter: &Compiled, settings: &Settings) -> Self {
        let own_address = NextHopValue::from(session.local);
        let of_family = matches!(
            (family, own_address),
            (Family::Ipv4Unicast, NextHopValue::V4(_)) | (Family::Ipv6Unicast, NextHopValue::V6(_))
        );
        Self {
            form: Form { family, as4: session.as4, message_max: session.message_max },
            peer_type: crate::rib::peer_type(session),
            client: session.config.client,
            local_as: session.local_as,
            next_hop: session.config.next_hop,
            own_address: of_family.then_some(own_address),
            cluster_id: settings.cluster_id,
            filter: filter.id,
            draining: settings.draining,
        }
    }
}

/// Whose path is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Our own origination.
    Local,
    /// An eBGP peer's.
    External,
    /// An iBGP peer's.
    Internal { client: bool, router_id: RouterId },
}

impl Source {
    fn of_policy(self) -> crate::policy::Source {
        match self {
            Self::Local => crate::policy::Source::Local,
            Self::External | Self::Internal { .. } => crate::policy::Source::RemotePeers,
        }
    }
}

/// Export of one attribute set from one source to one group.
#[derive(Debug, Default)]
pub(crate) struct Export {
    scope: Scope,
    /// What each verdict comes to; each attribute set in here holds a reference until `end`.
    known: Vec<(Verdict, AttrId)>,
    block: Vec<u8>,
}

impl Export {
    /// Begins with a set; says what forbids it for every prefix.
    pub(crate) fn begin(
        &mut self,
        (view, filter): (&ExportView, &Compiled),
        (attr, source): (AttrId, Source),
        attrs: &mut Attrs,
    ) -> Result<(), Withheld> {
        self.end(attrs);
        permitted(view, attrs, attr, source)?;
        filter.scope(Attributes::new(attrs.block(attr)), source.of_policy(), &mut self.scope);
        Ok(())
    }

    /// What the group is told about `net`, without a reference.
    pub(crate) fn attr(
        &mut self,
        (view, filter): (&ExportView, &Compiled),
        (attr, source): (AttrId, Source),
        net: impl Into<crate::Net>,
        attrs: &mut Attrs,
    ) -> Result<AttrId, Withheld> {
        let verdict = filter.verdict(&self.scope, net);
        if let Some((_, out)) = self.known.iter().find(|(v, _)| *v == verdict) {
            return if out.is_none() { Err(Withheld::Policy(None)) } else { Ok(*out) };
        }
        let made = self.make((view, filter), (attr, source), verdict, attrs);
        self.known.push((verdict, *made.as_ref().unwrap_or(&AttrId::NONE)));
        made
    }

    /// Does the verdict not depend on the prefix?
    pub(crate) fn fixed(&self) -> bool {
        self.scope.fixed.is_some()
    }

    /// The outgoing set for a verdict, with a reference.
    fn make(
        &mut self,
        context: (&ExportView, &Compiled),
        subject: (AttrId, Source),
        verdict: Verdict,
        attrs: &mut Attrs,
    ) -> Result<AttrId, Withheld> {
        self.block.clear();
        render(context, subject, verdict, attrs, &mut self.block)?;
        Ok(attrs.intern(&self.block))
    }

    /// Lets go of what was made.
    pub(crate) fn end(&mut self, attrs: &mut Attrs) {
        for (_, out) in self.known.drain(..) {
            attrs.release(out);
        }
    }
}

/// Appends the block a group is told for a verdict.
fn render(
    (view, filter): (&ExportView, &Compiled),
    (attr, source): (AttrId, Source),
    verdict: Verdict,
    attrs: &Attrs,
    block: &mut Vec<u8>,
) -> Result<(), Withheld> {
    let operations = filter.operations(verdict).map_err(|_| Withheld::Policy(filter.name(verdict)))?;
    let route = Attributes::new(attrs.block(attr));
    let mut changes = Changes::new(operations, route);
    if view.draining {
        changes.add_community(Community::Standard(Community::GRACEFUL_SHUTDOWN), route);
    }
    let next_hop = next_hop(view, route, source)?;
    edits(view, &mut changes, route, source, next_hop).apply(route.bytes(), block);
    if block.len() + LARGEST_REST > usize::from(view.form.message_max) {
        return Err(Withheld::TooLong);
    }
    Ok(())
}

/// Why a group is not told about a prefix; `Ok` when it is.
fn why(
    context: (&ExportView, &Compiled),
    subject: (AttrId, Source),
    net: crate::Net,
    attrs: &Attrs,
) -> Result<(), Withheld> {
    let ((view, filter), (attr, source)) = (context, subject);
    permitted(view, attrs, attr, source)?;
    let mut scope = Scope::default();
    filter.scope(Attributes::new(attrs.block(attr)), source.of_policy(), &mut scope);
    render(context, subject, filter.verdict(&scope, net), attrs, &mut Vec::new())
}

/// What an UPDATE has beside a canonical block at most: header, lengths, MP_REACH_NLRI's fixed part, the longest NLRI,
/// and AS4_PATH's header.
const LARGEST_REST: usize = 23 + 9 + 17 + 4;

/// May the group hear of this set at all (RFC 4271 §9.2, RFC 4456 §6, RFC 1997)?
fn permitted(view: &ExportView, attrs: &Attrs, attr: AttrId, source: Source) -> Result<(), Withheld> {
    if let (PeerType::Internal, Source::Internal { client, .. }) = (view.peer_type, source)
        && !reflect::passes(view.cluster_id, client, view.client)
    {
        return Err(Withheld::NotReflected);
    }
    let external = view.peer_type == PeerType::External;
    for (bit, community, outside_only) in crate::rib::WELL_KNOWN {
        if attrs.key(attr).well_known & bit != 0 && (external || !outside_only) {
            return Err(Withheld::WellKnownCommunity(Community::Standard(community)));
        }
    }
    Ok(())
}

/// The next hop to put in place of the one there is, if another (RFC 4271 §5.1.3).
fn next_hop(
    view: &ExportView,
    route: Attributes<'_>,
    source: Source,
) -> Result<Option<NextHopValue>, Withheld> {
    let unset = route.next_hop().is_none_or(|hop| hop.address().is_unspecified());
    let own = match (view.next_hop, view.peer_type, source) {
        _ if unset => true,
        (NextHop::SelfAddress, ..) => true,
        (NextHop::Keep, ..) | (NextHop::Auto, _, Source::Local) | (NextHop::Auto, PeerType::Internal, _) => {
            false
        }
        (NextHop::Auto, PeerType::External, _) => true,
    };
    if own { view.own_address.map(Some).ok_or(Withheld::NoNextHop) } else { Ok(None) }
}

/// What RFC 4271 §5.1, RFC 4456 §8 and policy make of a set on its way out.
fn edits<'a>(
    view: &ExportView,
    changes: &'a mut Changes,
    route: Attributes<'_>,
    source: Source,
    next_hop: Option<NextHopValue>,
) -> Edits<'a> {
    let leaving = view.peer_type == PeerType::External;
    if leaving {
        changes.prepend.insert(0, view.local_as);
    }
    let going = view.draining || route.communities().any(|c| c == Community::GRACEFUL_SHUTDOWN);
    let local_pref = match (leaving, changes.local_pref, route.local_pref()) {
        (true, ..) => Edit::Drop,
        (false, _, _) if going && source == Source::Local => Edit::Set(0),
        (false, _, _) if view.draining => Edit::Set(0),
        (false, Some(n), _) => Edit::Set(n),
        (false, None, Some(_)) => Edit::Keep,
        (false, None, None) => Edit::Set(100),
    };
    let med = match (leaving, changes.med, source) {
        (_, Some(n), _) => Edit::Set(n),
        // RFC 4271 §5.1.4: not beyond the AS that received it.
        (true, None, Source::External | Source::Internal { .. }) => Edit::Drop,
        (_, None, _) => Edit::Keep,
    };
    let reflection = match (leaving, source, view.cluster_id) {
        (true, ..) => Reflection::Drop,
        (false, Source::Internal { router_id, .. }, Some(cluster)) => {
            Reflection::Reflect { originator: router_id, cluster }
        }
        (false, ..) => Reflection::Keep,
    };
    Edits { next_hop, local_pref, med, reflection, ..changes.edits() }
}
