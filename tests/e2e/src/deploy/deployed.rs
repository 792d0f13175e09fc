//! An overlay put on a cluster: its objects at the API server, secrets from its certificates, and pods of its workloads.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::api::{Api, PostParams};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::container::Container;
use super::image::Images;
use super::network::{Network, Place};
use super::pod::{Pod, Surroundings};
use super::{Object, render, render_text, secrets, user};
use crate::cluster::{Cluster, User};
use crate::folder::Folder;

/// An overlay on a cluster, in a network of its own.
#[derive(Debug)]
pub struct Deployed {
    objects: Vec<Object>,
    /// Of all namespaces.
    pods: Api<PodObject>,
    images: Images,
    secrets: PathBuf,
    account: PathBuf,
    hosts: PathBuf,
    folder: PathBuf,
    places: BTreeMap<String, Place>,
    // Ends with the rest.
    _api: JoinSet<()>,
}

impl Deployed {
    /// Applies what is no workload, makes secrets as cert-manager or people would, and a place in the network for each of these pods:
    /// (workload, pod). To be called in a test's namespace, once.
    ///
    /// # Panics
    /// When something is refused.
    pub async fn new(folder: &Folder, cluster: &Cluster, overlay: &str, pods: &[(&str, &str)]) -> Self {
        let kustomization = format!("overlays/{overlay}");
        let (objects, text) = (render(&kustomization), render_text(&kustomization));
        let is_plain =
            |object: &&Object| !object.is_workload() && !object.text("/apiVersion").contains("cert-manager");
        for object in objects.iter().filter(is_plain) {
            let applied = object.apply(&cluster.client()).await;
            assert!(applied.is_clean(), "{} {}: {applied}", object.kind(), object.name());
        }
        let secrets = folder.path().join("secrets");
        if overlay == "secrets" {
            secrets::by_the_documentation(folder.path(), &secrets);
        } else {
            secrets::by_cert_manager(&folder.write("manifests.yaml", &text), &secrets);
        }
        let mut network = Network::new();
        let places: BTreeMap<String, Place> =
            pods.iter().map(|(_, pod)| ((*pod).to_owned(), network.join())).collect();
        let hosts = folder.write("hosts", &hosts(&objects, pods, &places));
        let listener = TcpListener::bind((Network::HUB, 443)).await.expect("the API server's place");
        let mut api = JoinSet::new();
        api.spawn(relay(listener, cluster.address()));
        Self {
            objects,
            pods: Api::all(cluster.client()),
            images: Images::make(folder),
            secrets,
            account: account(folder, cluster),
            hosts,
            folder: folder.path().to_path_buf(),
            places,
            _api: api,
        }
    }

    /// A pod of a workload, with its object at the API server, not started yet.
    ///
    /// # Panics
    /// When it was not announced, or is there already.
    pub async fn pod(&mut self, workload: &str, name: &str) -> Pod {
        let place = self.places.remove(name).expect("a pod that was announced");
        let object = self.objects.iter().find(|object| object.is_workload() && object.name() == workload);
        let object = object.expect("a workload of the overlay");
        let (spec, folder) = (object.pod(), self.folder.join(name));
        self.fill_volumes(object, &folder);
        let objects: Api<PodObject> = Api::namespaced(self.pods.clone().into_client(), object.namespace());
        let uid = create(&objects, &object.as_pod_named(name)).await;
        let setting = |map: &str, key: &str| {
            let data = self.config_map(object.namespace(), map);
            data[key].as_str().unwrap_or_else(|| panic!("ConfigMap {map} has no {key}")).to_owned()
        };
        let around = Surroundings {
            pod_name: name,
            uid: &uid,
            namespace: object.namespace(),
            place: &place,
            security: &spec["securityContext"],
            hosts: &self.hosts,
            account: (spec["automountServiceAccountToken"] == true).then_some(self.account.as_path()),
            folder: &folder,
            logs: &self.folder,
            setting: &setting,
        };
        let containers = |list: &str| -> Vec<Container> {
            let specs = spec[list].as_array().into_iter().flatten();
            let made = specs.map(|spec| {
                let image = self.images.get(spec["image"].as_str().expect("an image"));
                Container::new(spec, &image, &around)
            });
            made.collect()
        };
        let (before, containers) = (containers("initContainers"), containers("containers"));
        Pod { name: name.into(), objects, place, before, containers }
    }

    fn config_map(&self, namespace: &str, name: &str) -> &Value {
        let maps = self.objects.iter().filter(|object| object.kind() == "ConfigMap");
        let map = maps.filter(|map| map.namespace() == namespace).find(|map| map.name() == name);
        map.unwrap_or_else(|| panic!("no ConfigMap {name}")).at("/data")
    }

    /// As the kubelet lays them out: what is secret belongs to root and the pod's group.
    fn fill_volumes(&self, workload: &Object, folder: &Path) {
        let group = workload.pod()["securityContext"]["fsGroup"].as_u64().map(user);
        let group = group.and_then(|id| u32::try_from(id).ok());
        let claims = workload.list("/spec/volumeClaimTemplates").iter().map(|claim| &claim["metadata"]);
        let volumes = workload.pod()["volumes"].as_array().into_iter().flatten().chain(claims);
        for volume in volumes {
            let at = folder.join("volumes").join(volume["name"].as_str().expect("a name"));
            std::fs::create_dir_all(&at).expect("make a volume");
            own(&at, group, 0o2775);
            if let Some(secret) = volume["secret"]["secretName"].as_str() {
                let mode = volume["secret"]["defaultMode"].as_u64().and_then(|mode| u32::try_from(mode).ok());
                let from = self.secrets.join(workload.namespace()).join(secret);
                for file in ["tls.crt", "tls.key", "ca.crt"] {
                    std::fs::copy(from.join(file), at.join(file)).expect("a file of a secret");
                    own(&at.join(file), group, mode.unwrap_or(0o644));
                }
            }
            if let Some(map) = volume["configMap"]["name"].as_str() {
                let data = self.config_map(workload.namespace(), map).as_object().expect("data");
                for (file, text) in data {
                    std::fs::write(at.join(file), text.as_str().expect("text")).expect("write a file");
                    own(&at.join(file), group, 0o644);
                }
            }
        }
    }
}

/// Returns its UID. It is bound to a node that no kubelet runs, so that nobody else starts it.
async fn create(objects: &Api<PodObject>, pod: &Object) -> String {
    let mut pod: PodObject = serde_json::from_value(pod.value().clone()).expect("a Pod");
    pod.spec.as_mut().expect("a spec").node_name = Some("deployed".into());
    let created = objects.create(&PostParams::default(), &pod).await.expect("a Pod is let in");
    created.metadata.uid.expect("an object has a UID")
}

fn own(path: &Path, group: Option<u32>, mode: u32) {
    chown(path, Some(0), group).expect("give a file to a group");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set a file's mode");
}

/// What the cluster's DNS would say: headless Services stand for their pods, and those of a StatefulSet have names.
fn hosts(objects: &[Object], pods: &[(&str, &str)], places: &BTreeMap<String, Place>) -> String {
    let mut lines = vec!["127.0.0.1 localhost".into(), format!("{} kubernetes.default.svc", Network::HUB)];
    let services =
        objects.iter().filter(|object| object.kind() == "Service" && object.at("/spec/clusterIP") == "None");
    for service in services {
        let domain = format!("{}.{}.svc", service.name(), service.namespace());
        for (workload, pod) in pods {
            let named = objects.iter().find(|object| object.is_workload() && object.name() == *workload);
            let named = named.expect("a workload of the overlay");
            if named.at("/spec/template/metadata/labels/app.kubernetes.io~1name")
                != service.at("/spec/selector/app.kubernetes.io~1name")
            {
                continue;
            }
            let ip = places[*pod].ip;
            lines.push(format!("{ip} {domain}"));
            if named.at("/spec/serviceName") == service.name() {
                lines.push(format!("{ip} {pod}.{domain}"));
            }
        }
    }
    lines.join("\n") + "\n"
}

/// The folder of the controllers' ServiceAccount, as pods find it.
fn account(folder: &Folder, cluster: &Cluster) -> PathBuf {
    let text = std::fs::read(cluster.kubeconfig(User::Zenvoy)).expect("a kubeconfig");
    let config: Value = serde_json::from_slice(&text).expect("the kubeconfig is JSON");
    let at =
        |pointer: &str| config.pointer(pointer).and_then(Value::as_str).expect("a part of the kubeconfig");
    let account = folder.path().join("account");
    std::fs::create_dir_all(&account).expect("make a folder");
    let write = |file: &str, text: &str| std::fs::write(account.join(file), text).expect("write a file");
    write("token", at("/users/0/user/token"));
    write("namespace", at("/contexts/0/context/namespace"));
    std::fs::copy(at("/clusters/0/cluster/certificate-authority"), account.join("ca.crt"))
        .expect("the authority");
    account
}

/// Brings connections from pods to the API server.
async fn relay(listener: TcpListener, to: std::net::SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut to) = TcpStream::connect(to).await {
                // How a connection ends is for its two ends to say.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
