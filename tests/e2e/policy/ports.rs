//! NetworkPolicy of Kubernetes: ports and protocols.

use super::language::{Trial, case};

pub(super) const CASES: &[Trial] = &[
    case(
        "a port is one of TCP where nothing else is said",
        "np x/p {podSelector: {}, ingress: [{ports: [{port: 80}]}]}",
        "deny * -> x/*
         allow * -> x/* : tcp/80",
    ),
    case(
        "a port of UDP opens none of TCP",
        "np x/p {podSelector: {}, ingress: [{ports: [{port: 81, protocol: UDP}]}]}",
        "deny * -> x/*
         allow * -> x/* : udp/81",
    ),
    case(
        "a protocol without a port means all its ports",
        "np x/tcp {podSelector: {}, ingress: [{ports: [{protocol: TCP}]}]}
         np v/udp {podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}",
        "deny * -> x/* v/*
         allow * -> x/* : tcp
         allow * -> v/* : udp",
    ),
    case(
        "a rule about SCTP opens nothing of TCP and UDP",
        "np x/port {podSelector: {}, ingress: [{ports: [{protocol: SCTP, port: 80}]}]}
         np v/all {podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}",
        "deny * -> x/* v/*",
    ),
    case(
        "SCTP, TCP and UDP stand in one rule",
        "np x/p {podSelector: {}, ingress: [{ports: [{protocol: SCTP, port: 81}, {protocol: UDP, port: 80},
                 {protocol: TCP, port: 82}]}]}",
        "deny * -> x/*
         allow * -> x/* : udp/80 tcp/82",
    ),
    case(
        "a range of ports has both its ends and nothing beyond",
        "np x/low {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 81}]}]}
         np v/high {podSelector: {}, ingress: [{ports: [{port: 81, endPort: 65535}]}]}
         np z/one {podSelector: {}, ingress: [{ports: [{port: 81, endPort: 81, protocol: UDP}]}]}",
        "deny * -> pods
         allow * -> x/* : tcp/80-81
         allow * -> v/* : tcp/81-82
         allow * -> z/* : udp/81",
    ),
    case(
        "ranges of ports are for egress too",
        "np x/p {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 1, endPort: 80, protocol: UDP},
                 {port: 82, endPort: 90}]}]}",
        "deny x/* -> *
         allow x/* -> * : udp/80 tcp/82",
    ),
    case(
        "the name of a port is the number that each pod has for it",
        "np x/p {podSelector: {}, ingress: [{ports: [{port: web}]}]}",
        "deny * -> x/*
         allow * -> x/a : tcp/80
         allow * -> x/b : tcp/81
         allow * -> x/c : tcp/82",
    ),
    case(
        "in egress the name of a port is what the receiver has for it, and who is no pod has none",
        "np x/p {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}",
        "deny x/* -> *
         allow x/* -> */a : tcp/80
         allow x/* -> */b : tcp/81
         allow x/* -> */c : tcp/82",
    ),
    case(
        "in egress to some pods a name is that of these pods",
        "np x/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: v}},
                 podSelector: {matchLabels: {pod: b}}}], ports: [{port: web}]}]}",
        "deny x/* -> *
         allow x/* -> v/b : tcp/81",
    ),
    case(
        "a name counts with its protocol",
        "np x/talk {podSelector: {}, ingress: [{ports: [{port: talk, protocol: UDP}]}]}
         np v/wrong {podSelector: {}, ingress: [{ports: [{port: web, protocol: UDP}, {port: talk, protocol: TCP}]}]}",
        "deny * -> x/* v/*
         allow * -> x/* : udp/80",
    ),
    case(
        "a name that nobody has opens nothing",
        "np x/p {podSelector: {}, ingress: [{ports: [{port: nobody}]}]}
         np v/p {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: nobody}]}]}",
        "deny * -> x/*
         deny v/* -> *",
    ),
    case(
        "names and numbers and ranges stand in one rule, for one peer",
        "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}],
                 ports: [{port: web}, {port: 81, protocol: UDP}, {port: 82, endPort: 90}]}]}",
        "deny * -> x/*
         allow z/* -> x/* : tcp/82 udp/81
         allow z/* -> x/a : tcp/80
         allow z/* -> x/b : tcp/81",
    ),
    case(
        "ports of two policies are a union",
        "np x/one {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
         np x/two {podSelector: {}, ingress: [{ports: [{port: 81}]}]}",
        "deny * -> x/*
         allow * -> x/* : tcp/80-81",
    ),
    case(
        "without ports everything passes, ICMP too; with ports ICMP does not",
        "np x/all {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: v}}}]}]}
         np x/ports {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}],
                     ports: [{port: 1, endPort: 65535}, {port: 1, endPort: 65535, protocol: UDP}]}]}",
        "deny * -> x/*
         allow v/* -> x/*
         allow z/* -> x/* : tcp udp",
    ),
];
