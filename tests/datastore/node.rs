//! The own Node.

use corduroy_datastore_kubernetes::{NodeView, NodeWatch};
use corduroy_tests::kube::PATIENCE;

use crate::world::{client, on_control_plane};

async fn view(watch: &mut NodeWatch, what: &str, wanted: impl Fn(&NodeView) -> bool) -> NodeView {
    let search = async {
        loop {
            let view = watch.changed().await;
            if wanted(&view) {
                return view;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

#[test]
fn the_own_node_is_seen_as_it_is_and_its_network_is_said_to_work_once() {
    on_control_plane("node", |control, runtime| {
        let kubectl = control.kubectl().clone();
        let store = client(control, runtime, "admin");
        let mut watch = store.watch_node("n1");
        let none = runtime.block_on(view(&mut watch, "an answer", |view| view.known));
        assert_eq!(none.node, None);
        let object = |name: &str| {
            format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{rack: a}}}}\n\
                 spec: {{podCIDRs: [10.244.1.0/24, 'fd00:244:0:1::/64'], podCIDR: 10.244.1.0/24}}\n"
            )
        };
        kubectl.apply(&object("n2"));
        kubectl.apply(&object("n1"));
        let node = runtime.block_on(view(&mut watch, "the node", |view| view.node.is_some())).node.unwrap();
        assert_eq!((node.name.as_str(), node.labels["rack"].as_str()), ("n1", "a"));
        assert_eq!(
            node.pod_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.244.1.0/24", "fd00:244:0:1::/64"]
        );
        let address = r#"{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.7"}]}}"#;
        kubectl.run(&format!("patch node n1 --subresource=status --type=merge -p {address}"));
        let node = runtime
            .block_on(view(&mut watch, "its address", |view| {
                view.node.as_ref().is_some_and(|node| !node.addresses.is_empty())
            }))
            .node
            .unwrap();
        assert_eq!(node.addresses[0].kind, "InternalIP");
        assert_eq!(node.addresses[0].address, "192.0.2.7");
        assert_eq!(runtime.block_on(store.set_network_available(&node)), Ok(true));
        let up = runtime.block_on(view(&mut watch, "the condition", |view| {
            view.node.as_ref().is_some_and(|node| node.network_unavailable == Some(false))
        }));
        let up = up.node.unwrap();
        assert_eq!(runtime.block_on(store.set_network_available(&up)), Ok(false), "it says so already");
        kubectl.run("delete node n1");
        runtime.block_on(view(&mut watch, "its end", |view| view.node.is_none()));
        kubectl.apply(&object("n1"));
        runtime.block_on(view(&mut watch, "another of this name", |view| view.node.is_some()));
        let gone = runtime.block_on(store.set_network_available(&node)).unwrap_err();
        assert!(gone.gone, "{gone}");
    });
}
