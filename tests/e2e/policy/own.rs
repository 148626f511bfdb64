//! Our NetworkPolicy and GlobalNetworkPolicy: subjects, and everything that a rule can say.

use super::language::{Trial, case};

pub(super) const CASES: &[Trial] = &[
    case(
        "what a policy allows is all that its subject gets",
        "own x/p {selector: pod == 'a', ingress: [{action: Allow, source: {selector: pod == 'b'}}]}",
        "deny * -> x/a
         allow x/b -> x/a",
    ),
    case(
        "without types a policy is about the ways it has rules for, and about ingress when it has none",
        "own x/none {selector: pod == 'a'}
         own v/egress {egress: [{action: Allow, destination: {selector: all()}}]}
         own z/both {selector: pod == 'b', ingress: [{action: Allow}], egress: [{action: Deny}]}",
        "deny * -> x/a
         deny v/* -> *
         allow v/* -> v/*
         deny z/b -> *",
    ),
    case(
        "with types rules of another way mean nothing",
        "own x/p {types: [Egress], ingress: [{action: Deny}], egress: [{action: Allow}]}
         own v/p {types: [Ingress, Egress], ingress: [{action: Allow}], egress: [{action: Allow, destination:
                  {nets: [$4(out)/32]}}]}",
        "deny v/* -> *
         allow v/* -> out : v4",
    ),
    case(
        "rules are asked in their order",
        "own x/p {ingress: [{action: Allow, source: {selector: pod == 'a', namespaceSelector: all()}},
                            {action: Deny, source: {namespaceSelector: ns == 'v'}},
                            {action: Allow, source: {namespaceSelector: all()}},
                            {action: Deny}]}",
        "deny * -> x/*
         allow x/* z/* */a -> x/*",
    ),
    case(
        "a rule without a match means everything",
        "own x/p {ingress: [{action: Deny, source: {nets: [$4(out)/32]}}, {action: Allow}]}",
        "deny out -> x/* : v4",
    ),
    case(
        "of policies the lower order is asked first; without one a policy is last",
        "own x/last {ingress: [{action: Deny, source: {namespaceSelector: ns == 'v'}}, {action: Allow}]}
         own x/z-ten {order: 10, ingress: [{action: Allow, source: {namespaceSelector: ns == 'v', selector:
                      pod == 'a'}}]}
         own x/a-eleven {order: 10.5, ingress: [{action: Deny, source: {namespaceSelector: all(), selector:
                         pod == 'a'}}]}",
        "deny v/* -> x/*
         deny */a -> x/*
         allow v/a -> x/*",
    ),
    case(
        "policies of one order are asked by name",
        "own x/a {order: 5, ingress: [{action: Deny, source: {namespaceSelector: ns == 'v'}}]}
         own x/b {order: 5, ingress: [{action: Allow, source: {namespaceSelector: all()}}]}",
        "deny * -> x/*
         allow x/* z/* -> x/*",
    ),
    case(
        "selectors of subjects: equal, in, not in, has, not, and, or, starts with",
        "own x/in {selector: \"pod in {'a', 'b'}\", ingress: [{action: Allow, source: {nets: [$4(out)/32]}}]}
         own v/not {selector: \"pod not in {'a', 'b'}\", ingress: [{action: Deny}]}
         own z/or {selector: \"(pod == 'a' || pod starts with 'b') && !has(gone) && has(pod)\", ingress: [
                   {action: Deny}]}",
        "deny * -> x/a x/b
         allow out -> x/a x/b : v4
         deny * -> v/c
         deny * -> z/a z/b",
    ),
    case(
        "a selector of a policy in a namespace means that namespace, unless the rule names others",
        "own x/p {ingress: [{action: Allow, source: {selector: pod == 'a'}},
                            {action: Allow, source: {selector: pod == 'b', namespaceSelector: ns == 'v'}},
                            {action: Allow, source: {namespaceSelector: ns == 'z'}, destination: {selector:
                             pod == 'c'}}]}",
        "deny * -> x/*
         allow x/a v/b -> x/*
         allow z/* -> x/c",
    ),
    case(
        "notSelector takes away from what the rest means",
        "own x/p {ingress: [{action: Allow, source: {notSelector: pod == 'a'}}]}
         own v/p {ingress: [{action: Allow, source: {namespaceSelector: all(), notSelector: pod == 'a'}}]}",
        "deny * -> x/* v/*
         allow x/b x/c -> x/*
         allow pods -> v/*
         deny */a -> v/*",
    ),
    case(
        "notSelector of a global policy leaves what is no endpoint",
        "global p {namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Deny, source: {notSelector:
                   pod == 'a'}}, {action: Allow}]}",
        "deny * -> x/*
         allow */a -> x/*",
    ),
    case(
        "networks, and all but networks, in both families",
        "own x/p {ingress: [{action: Allow, source: {nets: [10.1.3.0/24], notNets: [$4(out)/32]}},
                            {action: Allow, source: {nets: ['fd00:1:3::/64', '$6(v/a)/128'], notNets:
                             ['$6(far)/128']}}]}
         own v/p {egress: [{action: Deny, destination: {nets: ['$6(out)/128', $4(x/a)/32]}}, {action: Allow}]}",
        "deny * -> x/*
         allow far -> x/* : v4
         allow out v/a -> x/* : v6
         deny v/* -> out : v6
         deny v/* -> x/a : v4",
    ),
    case(
        "all but networks means the other family too",
        "own x/p {ingress: [{action: Allow, source: {notNets: [10.244.0.0/16]}}]}",
        "deny pods -> x/* : v4
         deny n2 -> x/a x/b : v4
         deny n1 n3 -> x/c : v4",
    ),
    case(
        "ports are numbers, ranges and names",
        "own x/p {ingress: [{action: Allow, protocol: TCP, destination: {ports: [80, '82:90']}}]}
         own v/p {ingress: [{action: Allow, protocol: TCP, destination: {ports: [web]}},
                            {action: Allow, protocol: UDP, destination: {ports: [talk]}}]}",
        "deny * -> x/* v/*
         allow * -> x/* : tcp/80 tcp/82
         allow * -> v/* : udp/80
         allow * -> v/a : tcp/80
         allow * -> v/b : tcp/81
         allow * -> v/c : tcp/82",
    ),
    case(
        "all but ports",
        "own x/p {ingress: [{action: Allow, protocol: TCP, destination: {notPorts: [81, 90]}}]}
         own v/p {ingress: [{action: Allow, protocol: UDP, destination: {notPorts: ['81:90']}}]}
         own z/p {ingress: [{action: Allow, protocol: TCP, destination: {ports: ['80:82'], notPorts: [web]}}]}",
        "deny * -> pods
         allow * -> x/* : tcp/80 tcp/82
         allow * -> v/* : udp/80
         allow * -> z/a : tcp/81-82
         allow * -> z/b : tcp/80 tcp/82
         allow * -> z/c : tcp/80-81",
    ),
    case(
        "ports of the sender",
        "own x/p {ingress: [{action: Allow, protocol: TCP, source: {ports: ['1024:65535']}},
                            {action: Allow, protocol: UDP, source: {ports: ['1:1023']}}]}",
        "deny * -> x/*
         allow * -> x/* : tcp",
    ),
    case(
        "protocols by name and by number, and all but one",
        "own x/p {ingress: [{action: Allow, protocol: 17}]}
         own v/p {ingress: [{action: Allow, notProtocol: TCP}]}
         own z/p {ingress: [{action: Allow, protocol: SCTP}, {action: Allow, notProtocol: 17, source: {selector:
                  all()}}]}",
        "deny * -> pods
         allow * -> x/* : udp
         allow * -> v/* : udp ping
         allow z/* -> z/* : tcp ping",
    ),
    case(
        "ICMP has a name in each family",
        "own x/p {ingress: [{action: Allow, protocol: ICMP}]}
         own v/p {ingress: [{action: Allow, protocol: ICMPv6}]}
         own z/p {ingress: [{action: Deny, protocol: ICMP}, {action: Deny, protocol: ICMPv6}, {action: Allow}]}",
        "deny * -> pods
         allow * -> x/* : ping v4
         allow * -> v/* : ping v6
         allow * -> z/* : tcp udp",
    ),
    case(
        "ICMP messages by their type, and all but a type",
        "own x/p {ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}, {action: Allow, protocol: ICMPv6, icmp:
                  {type: 128}}]}
         own v/p {ingress: [{action: Allow, protocol: ICMP, icmp: {type: 0}}, {action: Allow, protocol: ICMPv6, icmp:
                  {type: 129}}]}
         own z/p {ingress: [{action: Allow, protocol: ICMP, notICMP: {type: 8}}, {action: Allow, protocol: ICMPv6,
                  notICMP: {type: 129}}]}",
        "deny * -> pods
         allow * -> x/* : ping
         allow * -> z/* : ping v6",
    ),
    case(
        "ICMP messages by their type and code",
        "own x/p {ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}, {action: Allow, protocol:
                  ICMPv6, icmp: {type: 128, code: 1}}]}
         own v/p {ingress: [{action: Allow, protocol: ICMP, notICMP: {type: 8, code: 0}}, {action: Allow, protocol:
                  ICMPv6, notICMP: {type: 128, code: 1}}]}",
        "deny * -> x/* v/*
         allow * -> x/* : ping v4
         allow * -> v/* : ping v6",
    ),
    case(
        "a rule of one version of IP",
        "own x/p {ingress: [{action: Allow, ipVersion: 6}]}
         own v/p {egress: [{action: Deny, ipVersion: 4, protocol: UDP}, {action: Allow}]}",
        "deny * -> x/* : v4
         deny v/* -> * : udp v4",
    ),
    case(
        "what is logged goes on to the next rule",
        "own x/p {ingress: [{action: Log}, {action: Deny, source: {namespaceSelector: ns == 'v'}}, {action: Log,
                  protocol: TCP}, {action: Allow}]}
         own z/p {ingress: [{action: Log}]}",
        "deny v/* -> x/*
         deny * -> z/*",
    ),
    case(
        "networks with a name: those of the namespace, those of others, those of all",
        "set x/partners side=partner {nets: [$4(out)/32]}
         set v/partners side=partner {nets: ['$6(out)/128']}
         gset partners side=partner {nets: [$4(far)/32, '$6(far)/128', 192.0.2.0/24]}
         own x/own {selector: pod == 'a', ingress: [{action: Allow, source: {selector: side == 'partner'}}]}
         own x/named {selector: pod == 'b', ingress: [{action: Allow, source: {selector: side == 'partner',
                      namespaceSelector: ns == 'v'}}]}
         own x/global {selector: pod == 'c', ingress: [{action: Allow, source: {selector: side == 'partner',
                       namespaceSelector: global()}}]}
         global v {namespaceSelector: ns == 'v', types: [Ingress], ingress: [{action: Allow, source: {selector:
                   side == 'partner'}}]}",
        "deny * -> x/* v/*
         allow out -> x/a : v4
         allow out -> x/b : v6
         allow far -> x/c
         allow outside -> v/*",
    ),
    case(
        "networks with a name, to whom something is sent, and pods of the same label beside them",
        "gset partners pod=c {nets: [10.1.3.0/24]}
         global p {namespaceSelector: ns == 'x', types: [Egress], egress: [{action: Allow, protocol: TCP, destination:
                   {selector: pod == 'c', ports: [80]}}]}",
        "deny x/* -> *
         allow x/* -> */c : tcp/80
         allow x/* -> outside : tcp/80 v4",
    ),
    case(
        "service accounts by name: of the own namespace, and of others where the rule names them",
        "own x/own {selector: pod == 'b', ingress: [{action: Allow, source: {serviceAccounts: {names: [robot]}}}]}
         own x/others {selector: pod == 'c', ingress: [{action: Allow, source: {serviceAccounts: {names: [robot,
                       nobody]}, namespaceSelector: all()}}]}
         own z/to {egress: [{action: Allow, destination: {serviceAccounts: {names: [robot]}, namespaceSelector:
                   ns == 'v'}}]}",
        "deny * -> x/b x/c
         allow x/a -> x/b
         allow x/a v/a -> x/c
         deny z/* -> *
         allow z/* -> v/a",
    ),
    case(
        "service accounts by label, as peers and as subjects",
        "own z/p {ingress: [{action: Allow, source: {serviceAccounts: {selector: duty == 'post'}, namespaceSelector:
                  all()}}, {action: Allow, source: {serviceAccounts: {names: [robot], selector: duty == 'shop'},
                  namespaceSelector: all(), selector: pod == 'b'}}]}
         own x/p {serviceAccountSelector: has(duty), ingress: [{action: Deny}]}",
        "deny * -> z/*
         allow v/a -> z/*
         deny * -> x/a",
    ),
    case(
        "egress to a service means its pods and their ports",
        "own v/p {egress: [{action: Allow, destination: {services: {name: a, namespace: x}}}]}",
        "deny v/* -> *
         allow v/* -> x/a : tcp/80",
    ),
    case(
        "ingress from a service means its pods",
        "global p {namespaceSelector: ns == 'v', types: [Ingress], ingress: [{action: Allow, source: {services:
                   {name: a, namespace: x}}}]}",
        "deny * -> v/*
         allow x/a -> v/*",
    ),
    case(
        "a global policy: in some namespaces, some endpoints, of some service accounts",
        "global one {namespaceSelector: ns == 'x', selector: pod == 'a', types: [Ingress]}
         global two {selector: pod == 'b', namespaceSelector: \"ns in {'v', 'z'}\", types: [Egress]}
         global three {namespaceSelector: has(ns), serviceAccountSelector: duty == 'post', ingress: [{action: Allow,
                       source: {selector: pod == 'c'}}]}",
        "deny * -> x/a
         deny v/b z/b -> *
         deny * -> v/a
         allow */c -> v/a",
    ),
    case(
        "a global policy of all namespaces: only to and from pods of the own team",
        "global p {selector: has(pod), order: 1, ingress: [{action: Allow, source: {namespaceSelector:
                   team == 'red'}, destination: {namespaceSelector: team == 'red'}}, {action: Allow, source:
                   {namespaceSelector: team == 'blue'}, destination: {namespaceSelector: team == 'blue'}}]}",
        "deny * -> pods
         allow x/* v/* -> x/* v/*
         allow z/* -> z/*",
    ),
    case(
        "egress of one and ingress of the other are judged each by itself",
        "own x/p {egress: [{action: Allow, destination: {namespaceSelector: ns == 'v'}}]}
         own v/p {ingress: [{action: Allow, source: {selector: pod == 'a', namespaceSelector: all()}}]}",
        "deny x/* -> *
         allow x/* -> v/*
         deny * -> v/*
         allow */a -> v/*
         deny x/b x/c -> v/*",
    ),
];
