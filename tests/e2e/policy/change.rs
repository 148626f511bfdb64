//! What changes while it is in force: policies, labels of pods and of namespaces.

use super::language::{
    Do::{Apply, Delete, Kubectl},
    Step, Trial, case,
};

const DENY: &str = "np x/deny {podSelector: {}, policyTypes: [Ingress]}";

pub(super) const CASES: &[Trial] = &[
    case("a policy that is deleted denies nothing any more", DENY, "deny * -> x/*")
        .then(&[Step(Delete(DENY), ""), Step(Apply(DENY), "deny * -> x/*"), Step(Delete(DENY), "")], &[]),
    case(
        "of two policies one is deleted and the other goes on",
        "np x/deny {podSelector: {}, policyTypes: [Ingress]}
         np x/v {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: v}}}]}]}",
        "deny * -> x/*
         allow v/* -> x/*",
    )
    .then(
        &[
            Step(Delete(DENY), "deny * -> x/*\n allow v/* -> x/*"),
            Step(Apply(DENY), "deny * -> x/*\n allow v/* -> x/*"),
            Step(Delete("np x/v {}"), "deny * -> x/*"),
        ],
        &[],
    ),
    case(
        "a policy is changed: its peers, its ports, its subject, its types",
        "np x/p {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
        "deny * -> x/*
         allow x/* -> x/*",
    )
    .then(
        &[
            Step(
                Apply("np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}"),
                "deny * -> x/*\n allow z/* -> x/*",
            ),
            Step(
                Apply(
                    "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}],
                             ports: [{port: 81}]}]}",
                ),
                "deny * -> x/*\n allow z/* -> x/* : tcp/81",
            ),
            Step(
                Apply(
                    "np x/p {podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector:
                             {matchLabels: {ns: z}}}], ports: [{port: 81}]}]}",
                ),
                "deny * -> x/b\n allow z/* -> x/b : tcp/81",
            ),
            Step(
                Apply("np x/p {podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], ingress: []}"),
                "deny x/b -> *",
            ),
        ],
        &[],
    ),
    case(
        "a pod that gets a label is let in, and no more when it loses it",
        "np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}, podSelector:
                 {matchLabels: {may: come}}}]}]}",
        "deny * -> x/a",
    )
    .then(
        &[
            Step(Kubectl("-n z label pod b may=come"), "deny * -> x/a\n allow z/b -> x/a"),
            Step(Kubectl("-n x label pod b may=come"), "deny * -> x/a\n allow z/b x/b -> x/a"),
            Step(Kubectl("-n z label pod b may=go --overwrite"), "deny * -> x/a\n allow x/b -> x/a"),
            Step(Kubectl("-n x label pod b may-"), "deny * -> x/a"),
        ],
        &["-n z label pod b may-", "-n x label pod b may-"],
    ),
    case(
        "a pod that gets a label is isolated, and no more when it loses it",
        "np v/p {podSelector: {matchExpressions: [{key: closed, operator: Exists}]}, policyTypes: [Ingress, Egress]}",
        "",
    )
    .then(
        &[
            Step(Kubectl("-n v label pod c closed=yes"), "deny * -> v/c\n deny v/c -> *"),
            Step(
                Kubectl("-n v label pod a closed=yes"),
                "deny * -> v/a v/c\n deny v/a v/c -> *",
            ),
            Step(Kubectl("-n v label pod c closed-"), "deny * -> v/a\n deny v/a -> *"),
            Step(Kubectl("-n v label pod a closed-"), ""),
        ],
        &["-n v label pod a closed-", "-n v label pod c closed-"],
    ),
    case(
        "a negated selector lets go of a pod that gets the label",
        "np v/p {podSelector: {matchExpressions: [{key: open, operator: DoesNotExist}]}}",
        "deny * -> v/*",
    )
    .then(
        &[
            Step(Kubectl("-n v label pod b open="), "deny * -> v/a v/c"),
            Step(Kubectl("-n v label pod b open-"), "deny * -> v/*"),
        ],
        &["-n v label pod b open-"],
    ),
    case(
        "a namespace that gets a label is let in with all its pods, and no more when it loses it",
        "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {guest: 'yes'}}}]}]}
         np v/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: guest,
                 operator: DoesNotExist}]}}]}]}",
        "deny * -> x/* v/*
         allow pods -> v/*",
    )
    .then(
        &[
            Step(
                Kubectl("label namespace z guest=yes"),
                "deny * -> x/* v/*\n allow z/* -> x/*\n allow x/* v/* -> v/*",
            ),
            Step(
                Kubectl("label namespace z guest=no --overwrite"),
                "deny * -> x/* v/*\n allow x/* v/* -> v/*",
            ),
            Step(Kubectl("label namespace z guest-"), "deny * -> x/* v/*\n allow pods -> v/*"),
        ],
        &["label namespace z guest-"],
    ),
    case(
        "a subject that is known by a label of its namespace follows it",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {closed: 'yes'}}},
                ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
        "",
    )
    .then(
        &[
            Step(Kubectl("label namespace v closed=yes"), "deny pods -> v/*"),
            Step(Kubectl("label namespace z closed=yes"), "deny pods -> v/* z/*"),
            Step(Kubectl("label namespace v closed-"), "deny pods -> z/*"),
        ],
        &["label namespace v closed-", "label namespace z closed-"],
    ),
    case(
        "a node that gets a label is a peer, and no more when it loses it",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {}},
                egress: [{action: Deny, to: [{nodes: {matchLabels: {closed: 'yes'}}}]}]}",
        "",
    )
    .then(
        &[
            Step(Kubectl("label node n3 closed=yes"), "deny pods -> n3"),
            Step(Kubectl("label node n3 closed-"), ""),
        ],
        &["label node n3 closed-"],
    ),
    case(
        "a service account that gets a label is meant, and no more when it loses it",
        "own x/p {ingress: [{action: Allow, source: {namespaceSelector: all(), serviceAccounts: {selector:
                  has(key)}}}]}",
        "deny * -> x/*",
    )
    .then(
        &[
            Step(Kubectl("-n v label serviceaccount robot key=1"), "deny * -> x/*\n allow v/a -> x/*"),
            Step(Kubectl("-n v label serviceaccount robot key-"), "deny * -> x/*"),
        ],
        &["-n v label serviceaccount robot key-"],
    ),
    case(
        "a set of networks is changed",
        "gset guests guests=here {nets: [$4(out)/32]}
         own x/p {ingress: [{action: Allow, source: {selector: has(guests), namespaceSelector: global()}}]}",
        "deny * -> x/*
         allow out -> x/* : v4",
    )
    .then(
        &[
            Step(
                Apply("gset guests guests=here {nets: [$4(far)/32, '$6(out)/128']}"),
                "deny * -> x/*\n allow far -> x/* : v4\n allow out -> x/* : v6",
            ),
            Step(
                Apply("gset more guests=there {nets: [10.1.3.0/24]}"),
                "deny * -> x/*\n allow outside -> x/* : v4\n allow out -> x/* : v6",
            ),
            Step(
                Delete("gset guests {}"),
                "deny * -> x/*\n allow outside -> x/* : v4",
            ),
            Step(Apply("gset more {nets: [10.1.3.0/24]}"), "deny * -> x/*"),
        ],
        &[],
    ),
    case(
        "a tier comes and goes under its policies",
        "tier early {order: 10}
         global open {tier: early, order: 1, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Allow}]}
         np x/deny {podSelector: {}, policyTypes: [Ingress]}",
        "",
    )
    .then(
        &[Step(
            Apply("tier early {order: 2000000}"),
            "deny * -> x/*",
        )],
        &[],
    ),
];
