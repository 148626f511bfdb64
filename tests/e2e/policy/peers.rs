//! NetworkPolicy of Kubernetes: whom it is about, which way, and who is meant by its peers.

use super::language::{Trial, case};

pub(super) const CASES: &[Trial] = &[
    case(
        "a policy without rules denies all ingress of its namespace",
        "np x/deny {podSelector: {}, policyTypes: [Ingress]}",
        "deny * -> x/*",
    ),
    case(
        "a policy without rules denies all egress of its namespace",
        "np x/deny {podSelector: {}, policyTypes: [Egress]}",
        "deny x/* -> * own",
    ),
    case(
        "a policy without rules denies both ways",
        "np x/deny {podSelector: {}, policyTypes: [Ingress, Egress]}",
        "deny * -> x/*
         deny x/* -> *",
    ),
    case(
        "a policy of no types and no rules is about ingress",
        "np x/deny {podSelector: {}}",
        "deny * -> x/*",
    ),
    case(
        "a policy of no types with egress rules is about both ways",
        "np x/egress {podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {ns: v}}}]}]}",
        "deny * -> x/*
         deny x/* -> *
         allow x/* -> v/*",
    ),
    case(
        "rules for a way that the types do not name mean nothing",
        "np x/egress {podSelector: {}, policyTypes: [Egress], ingress: [{from: [{podSelector: {}}]}], egress: [{}]}
         np v/ingress {podSelector: {}, policyTypes: [Ingress], ingress: [{}], egress: [{to: [{podSelector: {}}]}]}",
        "",
    ),
    case(
        "an empty rule allows all ingress, whatever else denies",
        "np x/deny {podSelector: {}, policyTypes: [Ingress]}
         np x/allow {podSelector: {}, ingress: [{}]}",
        "",
    ),
    case(
        "an empty rule allows all egress, whatever else denies",
        "np x/deny {podSelector: {}, policyTypes: [Egress]}
         np x/allow {podSelector: {}, policyTypes: [Egress], egress: [{}]}",
        "",
    ),
    case(
        "an empty list of rules denies like none",
        "np x/deny {podSelector: {}, ingress: []}
         np v/deny {podSelector: {}, policyTypes: [Egress], egress: []}",
        "deny * -> x/*
         deny v/* -> *",
    ),
    case(
        "an empty list of peers or ports means all of them",
        "np x/peers {podSelector: {}, ingress: [{from: [], ports: [{port: 80}]}]}
         np v/ports {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: []}]}",
        "deny * -> x/*
         allow * -> x/* : tcp/80
         deny * -> v/*
         allow v/* -> v/*",
    ),
    case(
        "only the pods that are selected are isolated",
        "np x/a {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}",
        "deny * -> x/a",
    ),
    case(
        "a subject is selected by expressions",
        "np x/in {podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, b]}]}}
         np v/notin {podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [a, b]}]}}
         np z/exists {podSelector: {matchExpressions: [{key: pod, operator: Exists}, {key: pod, operator: NotIn,
                      values: [c]}]}}
         np z/absent {podSelector: {matchExpressions: [{key: pod, operator: DoesNotExist}]}}",
        "deny * -> x/a x/b
         deny * -> v/c
         deny * -> z/a z/b",
    ),
    case(
        "a pod selector means pods of the policy's namespace",
        "np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}",
        "deny * -> x/a
         allow x/b -> x/a",
    ),
    case(
        "an empty pod selector as a peer means the whole namespace and nobody else",
        "np x/p {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
        "deny * -> x/*
         allow x/* -> x/*",
    ),
    case(
        "only within the namespace, both ways",
        "np x/p {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}]}],
                 egress: [{to: [{podSelector: {}}]}]}",
        "deny * -> x/*
         deny x/* -> *
         allow x/* -> x/*",
    ),
    case(
        "a namespace selector means all pods of these namespaces",
        "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}",
        "deny * -> x/*
         allow z/* -> x/*",
    ),
    case(
        "a namespace is known by its name",
        "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels:
                 {kubernetes.io/metadata.name: v}}}]}]}",
        "deny * -> x/*
         allow v/* -> x/*",
    ),
    case(
        "namespaces are selected by expressions",
        "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn,
                 values: [x, v]}]}}]}]}
         np v/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: In,
                 values: [x, z]}]}}]}]}
         np z/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team,
                 operator: Exists}, {key: gone, operator: DoesNotExist}]}}]}]}",
        "deny * -> pods
         allow z/* -> x/*
         allow x/* z/* -> v/*
         allow pods -> z/*",
    ),
    case(
        "an empty namespace selector means all pods, and neither nodes nor the outside",
        "np x/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
        "deny * -> x/*
         allow pods -> x/*",
    ),
    case(
        "both selectors in one peer mean such pods of such namespaces",
        "np x/and {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [
            {namespaceSelector: {matchLabels: {ns: v}}, podSelector: {matchLabels: {pod: b}}}]}]}",
        "deny * -> x/a
         allow v/b -> x/a",
    ),
    case(
        "both selectors in two peers mean either: pods of the own namespace, and whole namespaces",
        "np x/or {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [
            {namespaceSelector: {matchLabels: {ns: v}}}, {podSelector: {matchLabels: {pod: b}}}]}]}",
        "deny * -> x/a
         allow v/* x/b -> x/a",
    ),
    case(
        "policies of one pod are a union",
        "np x/one {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}
         np x/two {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}],
                   ports: [{port: 81}]}]}",
        "deny * -> x/*
         allow x/b -> x/a
         allow z/* -> x/* : tcp/81",
    ),
    case(
        "rules of one policy are a union, and each holds its own peers and ports together",
        "np x/p {podSelector: {matchLabels: {pod: a}}, ingress: [
            {from: [{podSelector: {matchLabels: {pod: b}}}, {podSelector: {matchLabels: {pod: c}}}],
             ports: [{port: 80}, {port: 80, protocol: UDP}]},
            {from: [{namespaceSelector: {matchLabels: {ns: v}}}], ports: [{port: 81}]}]}",
        "deny * -> x/a
         allow x/b x/c -> x/a : tcp/80 udp/80
         allow v/* -> x/a : tcp/81",
    ),
    case(
        "egress is to pods, of the own namespace and of others",
        "np x/p {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [
            {to: [{podSelector: {matchLabels: {pod: c}}}]},
            {to: [{namespaceSelector: {matchLabels: {ns: v}}, podSelector: {matchLabels: {pod: b}}}],
             ports: [{port: 80}]}]}",
        "deny x/a -> *
         allow x/a -> x/c
         allow x/a -> v/b : tcp/80",
    ),
    case(
        "what one may send and the other may not get does not pass, nor the other way round",
        "np x/send {podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [
            {to: [{namespaceSelector: {matchLabels: {ns: v}}}]}]}
         np v/get {podSelector: {matchLabels: {pod: b}}, ingress: [
            {from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}
         np v/none {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}",
        "deny x/a -> *
         allow x/a -> v/*
         deny * -> v/b
         allow x/* -> v/b
         deny * -> v/a",
    ),
    case(
        "answers pass to who may get nothing, and from who may send nothing",
        "np x/a {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress],
                 ingress: [{from: [{namespaceSelector: {matchLabels: {ns: v}}}]}]}
         np z/a {podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress],
                 egress: [{to: [{namespaceSelector: {matchLabels: {ns: v}}}]}]}",
        "deny * -> x/a z/a
         deny x/a z/a -> *
         allow v/* -> x/a
         allow z/a -> v/*",
    ),
    case(
        "pods in the network of their node are neither subject nor peer",
        "np x/subject {podSelector: {matchLabels: {pod: host}}, policyTypes: [Ingress, Egress]}
         np x/peer {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels:
                    {pod: host}}}]}]}
         np x/to {podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: [{to: [{podSelector:
                  {matchLabels: {pod: host}}}]}]}",
        "deny * -> x/a
         deny x/b -> *",
    ),
    case(
        "everybody denied everything still reaches himself, and the node its pods",
        "np x/deny {podSelector: {}, policyTypes: [Ingress, Egress]}
         np v/deny {podSelector: {}, policyTypes: [Ingress, Egress]}
         np z/deny {podSelector: {}, policyTypes: [Ingress, Egress]}",
        "deny * -> *",
    ),
    case(
        "a selector that nobody matches allows nobody",
        "np x/p {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: nobody}}},
                 {namespaceSelector: {matchLabels: {ns: none}}}]}]}
         np v/p {podSelector: {matchLabels: {pod: nobody}}}",
        "deny * -> x/*",
    ),
];
