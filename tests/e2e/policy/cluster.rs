//! ClusterNetworkPolicy: subjects, peers, protocols, the order of rules and of policies, and its tiers around
//! NetworkPolicy.

use super::language::{Trial, case};

pub(super) const CASES: &[Trial] = &[
    case(
        "Admin denies ingress of whole namespaces from whole namespaces, and from nobody else",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: v}}}]}]}",
        "deny v/* -> x/*",
    ),
    case(
        "an empty selector of namespaces is all pods; nodes, pods on their network and the outside are no pods",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {}},
                ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
        "deny pods -> pods",
    ),
    case(
        "subject and peer are such pods of such namespaces",
        "cnp p {tier: Admin, priority: 1,
                subject: {pods: {namespaceSelector: {matchLabels: {team: red}}, podSelector: {matchLabels: {pod: b}}}},
                ingress: [{action: Deny, from: [{pods: {namespaceSelector: {matchExpressions: [{key: ns,
                           operator: NotIn, values: [v]}]}, podSelector: {matchLabels: {pod: c}}}}]}]}",
        "deny x/c z/c -> x/b v/b",
    ),
    case(
        "empty selectors of pods and of namespaces mean all",
        "cnp p {tier: Admin, priority: 1,
                subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: a}}}},
                ingress: [{action: Deny, from: [{pods: {namespaceSelector: {matchLabels: {ns: z}},
                           podSelector: {}}}]}],
                egress: [{action: Deny, to: [{pods: {podSelector: {matchLabels: {pod: b}}}}]}]}",
        "deny z/* -> */a
         deny */a -> */b",
    ),
    case(
        "several peers are any of them",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: v}}},
                           {pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: c}}}}]}]}",
        "deny v/* */c -> x/*",
    ),
    case(
        "a policy with no rules for a way does not affect it",
        "cnp in {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}}}
         cnp out {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: v}}},
                  egress: [{action: Accept, to: [{namespaces: {}}]}]}",
        "",
    ),
    case(
        "rules are asked in their order",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                ingress: [{action: Accept, from: [{pods: {namespaceSelector: {matchLabels: {ns: v}},
                           podSelector: {matchLabels: {pod: a}}}}]},
                          {action: Deny, from: [{namespaces: {matchLabels: {ns: v}}}]},
                          {action: Accept, from: [{namespaces: {}}]}]}",
        "deny v/b v/c -> x/*",
    ),
    case(
        "of two policies that of the lower priority value is asked first",
        "cnp b-first {tier: Admin, priority: 4, subject: {namespaces: {matchLabels: {ns: x}}},
                      ingress: [{action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels:
                                 {pod: a}}}}]}]}
         cnp a-second {tier: Admin, priority: 5, subject: {namespaces: {matchLabels: {ns: x}}},
                       ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
        "deny pods -> x/*
         allow */a -> x/*",
    ),
    case(
        "priorities are numbers: 9 is before 10, 0 before all, 1000 behind",
        "cnp last {tier: Admin, priority: 1000, subject: {namespaces: {matchLabels: {ns: x}}},
                   ingress: [{action: Accept, from: [{namespaces: {}}]}]}
         cnp ten {tier: Admin, priority: 10, subject: {namespaces: {matchLabels: {ns: x}}},
                  ingress: [{action: Accept, from: [{namespaces: {matchLabels: {ns: v}}}]}]}
         cnp nine {tier: Admin, priority: 9, subject: {namespaces: {matchLabels: {ns: x}}},
                   ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}]}
         cnp nought {tier: Admin, priority: 0, subject: {namespaces: {matchLabels: {ns: x}}},
                     ingress: [{action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels:
                                {pod: c}}}}]}]}",
        "deny x/* v/* -> x/*
         allow */c -> x/*",
    ),
    case(
        "what Admin accepts no policy of a namespace denies",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                ingress: [{action: Accept, from: [{namespaces: {matchLabels: {ns: v}}}]}],
                egress: [{action: Accept, to: [{namespaces: {matchLabels: {ns: z}}}]}]}
         np x/deny {podSelector: {}, policyTypes: [Ingress, Egress]}",
        "deny * -> x/*
         deny x/* -> *
         allow v/* -> x/*
         allow x/* -> z/*",
    ),
    case(
        "what Admin denies no policy of a namespace allows",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: v}}}]}],
                egress: [{action: Deny, to: [{namespaces: {matchLabels: {ns: z}}}]}]}
         np x/allow {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}",
        "deny v/* -> x/*
         deny x/* -> z/*",
    ),
    case(
        "what Admin accepts as egress the receiver's ingress still judges",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                egress: [{action: Accept, to: [{namespaces: {}}]}]}
         np v/deny {podSelector: {}, policyTypes: [Ingress]}
         np x/deny {podSelector: {}, policyTypes: [Egress]}",
        "deny x/* -> *
         allow x/* -> pods
         deny * -> v/*",
    ),
    case(
        "Pass skips the rest of Admin and leaves it to the policies of namespaces",
        "cnp pass {tier: Admin, priority: 1, subject: {namespaces: {}},
                   ingress: [{action: Pass, from: [{namespaces: {matchLabels: {ns: v}}}]},
                             {action: Deny, from: [{namespaces: {matchLabels: {ns: v}}}]}]}
         cnp deny {tier: Admin, priority: 2, subject: {namespaces: {}},
                   ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}]}
         np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: v}}, podSelector:
                 {matchLabels: {pod: a}}}]}]}",
        "deny x/* -> pods
         deny * -> x/*
         allow v/a -> x/*",
    ),
    case(
        "Pass on and nobody in the namespaces says anything: Baseline decides, and behind it all passes",
        "cnp pass {tier: Admin, priority: 1, subject: {namespaces: {}},
                   ingress: [{action: Pass, from: [{namespaces: {}}]}]}
         cnp base {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                   ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: v}}}]}]}
         np x/a {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}}]}]}",
        "deny v/* -> x/b x/c
         deny * -> x/a
         allow pods -> x/a",
    ),
    case(
        "Pass of egress does the same",
        "cnp pass {tier: Admin, priority: 1, subject: {namespaces: {}},
                   egress: [{action: Pass, to: [{namespaces: {matchLabels: {ns: v}}}]},
                            {action: Deny, to: [{namespaces: {}}]}]}
         cnp base {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                   egress: [{action: Deny, to: [{namespaces: {matchLabels: {ns: v}}}]}]}
         np x/a {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {},
                 podSelector: {matchLabels: {pod: b}}}]}]}",
        "deny pods -> x/* z/*
         deny x/b x/c -> v/*
         deny x/a -> *
         allow x/a -> v/b",
    ),
    case(
        "Baseline denies where no policy of a namespace is asked",
        "cnp p {tier: Baseline, priority: 1, subject: {namespaces: {}},
                ingress: [{action: Deny, from: [{namespaces: {}}]}]}
         np x/a {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}",
        "deny pods -> pods
         deny * -> x/a
         allow x/* -> x/a",
    ),
    case(
        "Baseline has an order too",
        "cnp one {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                  ingress: [{action: Accept, from: [{namespaces: {matchLabels: {ns: v}}}]}]}
         cnp two {tier: Baseline, priority: 2, subject: {namespaces: {}},
                  ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: red}}}]}]}",
        "deny x/* v/* -> pods
         allow v/* -> x/*",
    ),
    case(
        "Pass in Baseline skips the rest of it: behind it everything passes",
        "cnp one {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                  ingress: [{action: Pass, from: [{namespaces: {matchLabels: {ns: v}}}]}]}
         cnp two {tier: Baseline, priority: 2, subject: {namespaces: {matchLabels: {ns: x}}},
                  ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
        "deny pods -> x/*
         allow v/* -> x/*",
    ),
    case(
        "Admin accepts what Baseline denies",
        "cnp base {tier: Baseline, priority: 0, subject: {namespaces: {}},
                   ingress: [{action: Deny, from: [{namespaces: {}}]}]}
         cnp admin {tier: Admin, priority: 1000, subject: {namespaces: {}},
                    ingress: [{action: Accept, from: [{namespaces: {matchLabels: {ns: z}}}]}]}",
        "deny pods -> pods
         allow z/* -> pods",
    ),
    case(
        "egress to nodes by their labels",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                egress: [{action: Deny, to: [{nodes: {matchLabels: {topology.kubernetes.io/zone: rack-a}}}]}]}",
        "deny x/* -> n1 n3",
    ),
    case(
        "egress to all nodes, over some protocols",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {}},
                egress: [{action: Deny, to: [{nodes: {}}], protocols: [{tcp: {destinationPort: {number: 80}}},
                          {udp: {destinationPort: {number: 81}}}]}]}",
        "deny pods -> nodes own : tcp/80 udp/81",
    ),
    case(
        "egress to nodes is accepted and all else denied",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                egress: [{action: Accept, to: [{nodes: {matchExpressions: [{key: kubernetes.io/hostname, operator: In,
                          values: [n2]}]}}]},
                         {action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]}]}",
        "deny x/* -> *
         allow x/* -> n2",
    ),
    case(
        "egress to a network is about pods and ICMP too, and only about its family",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}",
        "deny x/* -> * : v4",
    ),
    case(
        "all pod traffic is passed on before networks are denied",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                egress: [{action: Pass, to: [{namespaces: {}}]},
                         {action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]}]}
         np x/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: v}}}]},
                 {to: [{ipBlock: {cidr: $4(out)/32}}]}]}",
        "deny x/* -> *
         allow x/* -> v/*",
    ),
    case(
        "egress to some networks of the outside",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {}},
                egress: [{action: Accept, to: [{networks: [$4(far)/32, '$6(far)/128']}]},
                         {action: Deny, to: [{networks: [10.1.3.0/24, 'fd00:1:3::/64']}]}]}",
        "deny pods -> out",
    ),
    case(
        "ports are numbers, ranges and names, and a protocol without any means all of it",
        "cnp number {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                     ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort:
                                {number: 80}}}]}]}
         cnp range {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: v}}},
                    ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range:
                               {start: 81, end: 82}}}}, {udp: {destinationPort: {range: {start: 79, end: 80}}}}]}]}
         cnp name {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: z}}},
                   ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: web},
                              {udp: {}}]}]}",
        "deny pods -> x/* : tcp/80
         deny pods -> v/* : tcp/81-82 udp/80
         deny pods -> z/* : udp
         deny pods -> z/a : tcp/80
         deny pods -> z/b : tcp/81
         deny pods -> z/c : tcp/82",
    ),
    case(
        "a name is of any protocol",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: talk}]}]}",
        "deny pods -> x/* : udp/80",
    ),
    case(
        "in egress a name is the receiver's",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                egress: [{action: Deny, to: [{namespaces: {matchLabels: {ns: v}}}],
                          protocols: [{destinationNamedPort: web}]}]}",
        "deny x/* -> v/a : tcp/80
         deny x/* -> v/b : tcp/81
         deny x/* -> v/c : tcp/82",
    ),
    case(
        "a rule about SCTP is about nothing else",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {}},
                ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{sctp: {destinationPort:
                           {number: 80}}}, {sctp: {}}]}]}
         np x/deny {podSelector: {}, policyTypes: [Ingress]}
         cnp accept {tier: Admin, priority: 2, subject: {namespaces: {matchLabels: {ns: x}}},
                     ingress: [{action: Accept, from: [{namespaces: {}}], protocols: [{sctp: {destinationPort:
                                {range: {start: 1, end: 65535}}}}]}]}",
        "deny * -> x/*",
    ),
    case(
        "a rule that accepts names of the DNS matches nothing, and the others of its policy go on",
        "cnp p {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                egress: [{action: Accept, to: [{domainNames: [kubernetes.io]}]},
                         {action: Accept, to: [{namespaces: {matchLabels: {ns: v}}}]},
                         {action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]}]}",
        "deny x/* -> *
         allow x/* -> v/*",
    ),
    case(
        "a rule that denies or passes what nobody understands denies everything, and one that accepts it nothing",
        "cnp deny {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                   ingress: [{action: Accept, from: [{namespaces: {matchLabels: {ns: v}}}]},
                             {action: Deny, from: [{planets: {}}]}]}
         cnp pass {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: v}}},
                   ingress: [{action: Pass, from: [{planets: {}}]}]}
         cnp accept {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {ns: z}}},
                     ingress: [{action: Accept, from: [{planets: {}}]},
                               {action: Deny, from: [{namespaces: {matchLabels: {ns: x}}}]}]}",
        "deny * -> x/* v/*
         allow v/* -> x/*
         deny x/* -> z/*",
    ),
];
