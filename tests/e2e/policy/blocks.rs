//! NetworkPolicy of Kubernetes: blocks of addresses, inside and outside of the cluster, in both families.

use super::language::{Trial, case};

pub(super) const CASES: &[Trial] = &[
    case(
        "a block lets in one address of the outside",
        "np x/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: $4(out)/32}},
                 {ipBlock: {cidr: '$6(out)/128'}}]}]}",
        "deny * -> x/*
         allow out -> x/*",
    ),
    case(
        "a block lets in all of the outside but an exception",
        "np x/p {podSelector: {}, ingress: [{from: [
            {ipBlock: {cidr: 10.1.3.0/24, except: [$4(out)/32]}},
            {ipBlock: {cidr: 'fd00:1:3::/64', except: ['$6(out)/128']}}]}]}",
        "deny * -> x/*
         allow far -> x/*",
    ),
    case(
        "an exception of one block is no exception of another, nor of another policy",
        "np x/p {podSelector: {}, ingress: [{from: [
            {ipBlock: {cidr: 10.1.3.0/24, except: [$4(out)/32]}},
            {ipBlock: {cidr: $4(out)/32}}]}]}
         np v/one {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd00:1:3::/64', except: ['$6(out)/128']}}]}]}
         np v/two {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '$6(out)/128'}}], ports: [{port: 80}]}]}",
        "deny * -> x/* v/*
         allow outside -> x/* : v4
         allow far -> v/* : v6
         allow out -> v/* : v6 tcp/80",
    ),
    case(
        "a block goes with ports",
        "np x/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: $4(out)/32}}], ports: [{port: 81},
                 {port: web}]}]}",
        "deny * -> x/*
         allow out -> x/* : v4 tcp/81
         allow out -> x/a : v4 tcp/80
         allow out -> x/c : v4 tcp/82",
    ),
    case(
        "a block means pods too, by their addresses",
        "np x/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: $4(v/b)/32}},
                 {ipBlock: {cidr: '$6(z/c)/128'}}, {ipBlock: {cidr: '$6(x/b)/128'}}]}]}",
        "deny * -> x/*
         allow v/b -> x/* : v4
         allow z/c x/b -> x/* : v6",
    ),
    case(
        "all addresses of one family are none of the other",
        "np x/four {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}
         np v/six {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}",
        "deny * -> x/* : v6
         deny * -> v/* : v4",
    ),
    case(
        "all addresses but those of pods: nodes and the outside",
        "np x/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.0.0/16]}}]}]}
         np v/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0', except: ['fd00:244::/48']}}]}]}",
        "deny pods -> x/* v/*
         deny nodes -> x/* v/*
         deny outside -> x/* : v6
         deny outside -> v/* : v4
         allow n3 -> x/a x/b : v4
         allow n3 -> v/a : v6
         allow n1 -> v/c : v6",
    ),
    case(
        "egress is to a block of the outside, but for an exception",
        "np x/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [
            {ipBlock: {cidr: 10.1.3.0/24, except: [$4(far)/32]}},
            {ipBlock: {cidr: 'fd00:1:3::/64', except: ['$6(far)/128']}}], ports: [{port: 80}, {port: 80,
            protocol: UDP}]}]}",
        "deny x/* -> *
         allow x/* -> out : tcp/80 udp/80",
    ),
    case(
        "egress is to a block of pods' addresses",
        "np x/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: $4(v/a)/32}},
                 {ipBlock: {cidr: '$6(z/b)/128'}}]}]}",
        "deny x/* -> *
         allow x/* -> v/a : v4
         allow x/* -> z/b : v6",
    ),
    case(
        "egress is to everywhere but the pods: nodes and the outside",
        "np x/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [
            {ipBlock: {cidr: 0.0.0.0/0, except: [10.244.0.0/16]}},
            {ipBlock: {cidr: '::/0', except: ['fd00:244::/48']}}]}]}",
        "deny x/* -> pods",
    ),
    case(
        "egress is to the addresses of one node",
        "np x/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: $4(n3)/32}},
                 {ipBlock: {cidr: '$6(n3)/128'}}]}]}",
        "deny x/* -> *
         allow x/* -> n3",
    ),
    case(
        "a block of another length than a host's, with several exceptions inside each other",
        "np x/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.3.16/28,
                 10.1.3.20/31, $4(out)/32, 10.1.1.0/24, 10.1.2.0/24]}}]}]}
         np v/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.3.20/31, except: [$4(far)/32]}}]}]}",
        "deny * -> x/* v/*
         allow out -> v/* : v4",
    ),
    case(
        "blocks and selectors stand in one rule",
        "np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: $4(out)/32}},
                 {namespaceSelector: {matchLabels: {ns: v}}}], ports: [{port: 80}]}]}",
        "deny * -> x/a
         allow out -> x/a : tcp/80 v4
         allow v/* -> x/a : tcp/80",
    ),
];
