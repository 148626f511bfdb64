//! The control plane by itself: what controllers and datastores are tested against.

use corduroy_tests::eventually;
use corduroy_tests::kube::{ControlPlane, PATIENCE, Part};

const THING: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.org
spec:
  group: example.org
  scope: Cluster
  names:
    kind: Thing
    plural: things
    singular: thing
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size:
                type: integer
            x-kubernetes-validations:
            - rule: self.size < 10
              message: too big
";

fn thing(name: &str, size: u8) -> String {
    format!("apiVersion: example.org/v1\nkind: Thing\nmetadata:\n  name: {name}\nspec:\n  size: {size}\n")
}

#[test]
fn a_control_plane_keeps_its_objects_whichever_part_of_it_dies() {
    let mut control = ControlPlane::alone("control");
    control.kubectl().apply(THING);
    eventually(PATIENCE, || control.kubectl().try_apply(&thing("one", 1)));
    let refused = control.kubectl().try_apply(&thing("two", 20)).unwrap_err();
    assert!(refused.contains("too big"), "{refused}");

    control.kill(Part::ApiServer);
    assert!(control.healthy().is_err(), "a dead API server answers");
    control.start(Part::ApiServer);
    control.ready();
    assert_eq!(control.kubectl().get("thing one").unwrap()["spec"]["size"], 1);

    control.kill(Part::Etcd);
    let lost = control.kubectl().try_run("get thing one --request-timeout=2s");
    assert!(lost.is_err(), "an API server without a store answers: {lost:?}");
    control.start(Part::Etcd);
    control.ready();
    eventually(PATIENCE, || control.kubectl().get("thing one"));
    control.stop(Part::ApiServer);
}
