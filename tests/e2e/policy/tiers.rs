//! The one order of all kinds: tiers, what is passed from one to the next, and policies of several kinds side by side.

use super::language::{Trial, case};

pub(super) const CASES: &[Trial] = &[
    case(
        "an early tier allows what a policy of Kubernetes denies",
        "tier early {order: 100}
         global p {tier: early, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Allow, source:
                   {namespaceSelector: ns == 'v'}}, {action: Pass}]}
         np x/deny {podSelector: {}, policyTypes: [Ingress]}",
        "deny * -> x/*
         allow v/* -> x/*",
    ),
    case(
        "an early tier denies what a policy of Kubernetes allows",
        "tier early {order: 100}
         global p {tier: early, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Deny, source:
                   {namespaceSelector: ns == 'v'}}, {action: Pass}]}
         np x/allow {podSelector: {}, ingress: [{}]}",
        "deny v/* -> x/*",
    ),
    case(
        "what no rule of a tier decides its default action denies, for those its policies select",
        "tier early {order: 100}
         global p {tier: early, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Pass, source:
                   {namespaceSelector: ns == 'v'}}]}",
        "deny * -> x/*
         allow v/* -> x/*",
    ),
    case(
        "a tier whose default action is Pass leaves it to the next",
        "tier early {order: 100, defaultAction: Pass}
         global p {tier: early, namespaceSelector: has(ns), types: [Ingress], ingress: [{action: Deny, source:
                   {namespaceSelector: ns == 'v'}}]}
         np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]}",
        "deny v/* -> pods
         deny * -> x/*
         allow x/* -> x/*",
    ),
    case(
        "Pass skips the other policies of its tier",
        "tier early {order: 100}
         global a {tier: early, order: 1, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Pass,
                   source: {namespaceSelector: ns == 'v'}}]}
         global b {tier: early, order: 2, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Deny,
                   source: {namespaceSelector: \"ns in {'v', 'z'}\"}}, {action: Allow}]}
         np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}",
        "deny z/* -> x/*
         deny v/* -> x/a",
    ),
    case(
        "tiers are asked by their order and not by their names, and Pass goes through all of them",
        "tier a-late {order: 300}
         tier b-middle {order: 200.5}
         tier c-early {order: 20}
         global early {tier: c-early, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Allow, source:
                       {namespaceSelector: ns == 'z', selector: pod == 'a'}}, {action: Pass}]}
         global middle {tier: b-middle, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Deny,
                        source: {namespaceSelector: ns == 'z'}}, {action: Pass}]}
         global late {tier: a-late, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Allow, source:
                      {namespaceSelector: \"ns in {'v', 'z'}\"}}, {action: Deny, source: {nets: [$4(out)/32]}},
                      {action: Pass}]}
         np x/deny {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}",
        "deny z/* -> x/*
         allow z/a -> x/*
         deny out -> x/* : v4
         deny x/* nodes outside -> x/a",
    ),
    case(
        "tiers for egress, with Pass to the namespaces and on to Baseline",
        "tier early {order: 100}
         global p {tier: early, namespaceSelector: ns == 'x', types: [Egress], egress: [{action: Deny, destination:
                   {nets: [$4(out)/32, '$6(out)/128']}}, {action: Pass}]}
         own x/p {selector: pod == 'a', egress: [{action: Allow, destination: {namespaceSelector: ns == 'v'}},
                  {action: Allow, destination: {nets: [10.1.3.0/24]}}]}
         cnp base {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                   egress: [{action: Deny, to: [{namespaces: {matchLabels: {ns: z}}}]}]}",
        "deny x/* -> out
         deny x/b x/c -> z/*
         deny x/a -> *
         allow x/a -> v/*
         allow x/a -> far : v4",
    ),
    case(
        "a policy in a namespace has a tier too",
        "tier early {order: 100}
         own x/p {tier: early, ingress: [{action: Allow, source: {selector: pod == 'b'}}, {action: Deny, source:
                  {selector: pod == 'c'}}, {action: Pass}]}
         np x/deny {podSelector: {}, policyTypes: [Ingress]}",
        "deny * -> x/*
         allow x/b -> x/*",
    ),
    case(
        "a tier without an order is last: behind Baseline",
        "tier last {}
         global p {tier: last, namespaceSelector: has(ns), types: [Ingress], ingress: [{action: Deny, source:
                   {namespaceSelector: ns == 'v'}}, {action: Allow}]}
         cnp base {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                   ingress: [{action: Accept, from: [{namespaces: {matchLabels: {ns: v}}}]}]}",
        "deny v/* -> v/* z/*",
    ),
    case(
        "a tier before Admin and one between Admin and the namespaces",
        "tier first {order: 999}
         tier second {order: 1001}
         global first {tier: first, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Allow, source:
                       {namespaceSelector: ns == 'v'}}, {action: Pass}]}
         cnp admin {tier: Admin, priority: 0, subject: {namespaces: {matchLabels: {ns: x}}},
                    ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: v}}}]},
                              {action: Accept, from: [{pods: {namespaceSelector: {matchLabels: {ns: z}}, podSelector:
                               {matchLabels: {pod: a}}}}]}]}
         global second {tier: second, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Deny, source:
                        {namespaceSelector: ns == 'z'}}, {action: Pass}]}",
        "deny z/b z/c -> x/*",
    ),
    case(
        "in the tier of the namespaces ours of a lower order come before those of Kubernetes, without one behind",
        "own x/before {order: 10, ingress: [{action: Deny, source: {namespaceSelector: ns == 'v'}}]}
         np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]}
         own x/behind {ingress: [{action: Deny, source: {namespaceSelector: ns == 'x'}}, {action: Allow, source:
                       {namespaceSelector: ns == 'z'}}]}",
        "deny * -> x/*
         allow x/* z/* -> x/*",
    ),
    case(
        "all three of Kubernetes, ours and the cluster's for one pod",
        "cnp admin {tier: Admin, priority: 50, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels:
                    {pod: a}}}},
                    ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: z}}}], protocols: [{tcp:
                               {destinationPort: {number: 80}}}]},
                              {action: Pass, from: [{namespaces: {}}]}]}
         global all {order: 5000, namespaceSelector: has(ns), selector: pod == 'a', types: [Ingress], ingress: [
                     {action: Allow, protocol: TCP, source: {namespaceSelector: ns == 'z'}}]}
         np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80, protocol: UDP}]}]}
         cnp base {tier: Baseline, priority: 1, subject: {namespaces: {}},
                   ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: x}}}]}]}",
        "deny x/* -> pods
         deny * -> */a
         allow z/* -> */a : tcp/81-82
         allow * -> x/a : udp/80",
    ),
    case(
        "a policy of a tier that nobody has made is in a last tier that denies",
        "global p {tier: unknown, namespaceSelector: ns == 'x', types: [Ingress], ingress: [{action: Allow, source:
                   {namespaceSelector: ns == 'v'}}]}",
        "deny * -> x/*
         allow v/* -> x/*",
    ),
    case(
        "no policy of the tier of the namespaces but that of ours selects the pod, and Baseline is not asked",
        "own x/p {selector: pod == 'a', ingress: [{action: Allow, source: {namespaceSelector: ns == 'v'}}]}
         cnp base {tier: Baseline, priority: 1, subject: {namespaces: {matchLabels: {ns: x}}},
                   ingress: [{action: Deny, from: [{namespaces: {matchLabels: {ns: v}}}]}]}",
        "deny v/* -> x/*
         deny * -> x/a
         allow v/* -> x/a",
    ),
];
