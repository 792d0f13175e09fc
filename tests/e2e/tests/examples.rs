//! The examples that users start from on Kubernetes are valid to the last field, and zenvoy takes them as they are.

use std::path::{Path, PathBuf};

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::Value;
use zenvoy_e2e::cluster::NAMESPACE;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Installation, Mode};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/kubernetes")
}

/// The objects of all example files.
fn examples() -> Vec<DynamicObject> {
    let files = std::fs::read_dir(folder()).expect("the examples");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).expect("an example"));
    let objects = texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).expect("YAML"));
    objects.map(|object| serde_json::from_value(object).expect("an object")).collect()
}

fn api(zenvoy: &Installation, object: &DynamicObject) -> Api<DynamicObject> {
    let kind = GroupVersionKind::try_from(object.types.as_ref().expect("kinds")).expect("a kind");
    Api::namespaced_with(zenvoy.cluster.client(), NAMESPACE, &ApiResource::from_gvk(&kind))
}

#[test]
fn the_examples_are_valid_to_the_last_field_and_sleep() {
    in_namespace(async || {
        let zenvoy = Installation::start(Mode::Listen).await;
        let strictly = PatchParams::apply("a-user").validation_strict();
        for object in examples() {
            let name = object.metadata.name.clone().expect("a name");
            let applied = api(&zenvoy, &object).patch(&name, &strictly, &Patch::Apply(&object)).await;
            applied.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for upstream in ["shop/database:6379", "shop/hello:80"] {
            until::so(&format!("{upstream} sleeps"), async || {
                let status = zenvoy.node.status().await;
                let upstreams = status["upstreams"].as_array().expect("a list");
                upstreams.iter().any(|known| known["upstream"] == upstream && known["verdict"] == "hold")
            })
            .await;
        }
        let upstream =
            examples().into_iter().find(|object| object.types.as_ref().is_some_and(|t| t.kind == "Upstream"));
        let upstream = upstream.expect("an example of an Upstream");
        until::so("the Upstream says that it is cold and ready", async || {
            let seen = api(&zenvoy, &upstream).get("database").await.expect("the object").data;
            let conditions = seen.pointer("/status/conditions").and_then(Value::as_array).cloned();
            seen.pointer("/status/phase").is_some_and(|phase| phase == "Cold")
                && conditions.is_some_and(|all| all.iter().all(|condition| condition["status"] == "True"))
        })
        .await;
        zenvoy.node.assert_nothing_refused().await;
    });
}

#[test]
fn a_field_that_does_not_exist_would_be_refused() {
    in_namespace(async || {
        let zenvoy = Installation::start(Mode::Listen).await;
        for mut object in examples() {
            let name = object.metadata.name.clone().expect("a name");
            object.data["spec"]["replicaz"] = 1.into();
            let strictly = PatchParams::apply("a-user").validation_strict();
            let applied = api(&zenvoy, &object).patch(&name, &strictly, &Patch::Apply(&object)).await;
            let error = applied.expect_err("it is checked").to_string();
            assert!(error.contains("replicaz"), "{name}: {error}");
        }
    });
}
