//! The zenvoy controller's account in a cluster: exactly that of `deploy/ha`, so that a right which is missing there fails
//! tests.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::deploy::{self, ACCOUNT, SYSTEM};

/// The role for kinds that only tests have; clusters with further kinds that scale add one like it.
const FURTHER: &str = "zenvoy-controller-further";

/// Creates the account, grants it its rights, and returns a token for it.
pub(super) async fn grant(client: &Client) -> String {
    let how = PatchParams::apply("zenvoy-e2e").force();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SYSTEM } });
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.patch(SYSTEM, &how, &Patch::Apply(namespace)).await.expect("a namespace");
    for object in deploy::controller_rights() {
        let applied = object.apply(client).await;
        assert!(applied.is_clean(), "{} {}: {applied}", object.kind(), object.name());
    }
    let (role, binding) = further();
    let roles = Api::<ClusterRole>::all(client.clone());
    roles.patch(FURTHER, &how, &Patch::Apply(role)).await.expect("a role");
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    bindings.patch(FURTHER, &how, &Patch::Apply(binding)).await.expect("a binding");
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), SYSTEM);
    let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
    let granted = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
    let status = granted.expect("a token request").status;
    status.and_then(|status| status.token).expect("a token request is answered with a token")
}

/// As `docs/deploy.md` has it for further kinds.
fn further() -> (Value, Value) {
    let group = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": { "name": FURTHER },
        "rules": [
            { "apiGroups": ["test.zenvoy.dev"], "resources": ["*"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["test.zenvoy.dev"], "resources": ["*/scale"], "verbs": ["get", "patch"] },
        ],
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": FURTHER },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": FURTHER },
        "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM }],
    });
    (role, binding)
}
