//! What the API server shows of a backend.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::Backend;
use crate::cluster::{Cluster, NAMESPACE};

impl Backend {
    /// Its pods that are not gone, by name.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn pods(&self, cluster: &Cluster) -> Vec<String> {
        let pods = Api::<Pod>::namespaced(cluster.client(), NAMESPACE);
        let of_it = ListParams::default().labels(&format!("app={}", self.app));
        let pods = pods.list(&of_it).await.expect("list pods");
        pods.iter().map(ResourceExt::name_any).collect()
    }

    /// What zenvoy says on the Service, if it has said anything.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn condition(&self, cluster: &Cluster) -> Option<Condition> {
        let api = Api::<Service>::namespaced(cluster.client(), NAMESPACE);
        let service = api.get(&self.name).await.expect("the Service");
        let conditions = service.status?.conditions?;
        conditions.into_iter().find(|condition| condition.type_ == "zenvoy.dev/Ready")
    }

    /// How old its Service is by the creation time that the API server wrote.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn age_in_seconds(&self, cluster: &Cluster) -> i64 {
        let api = Api::<Service>::namespaced(cluster.client(), NAMESPACE);
        let created = api.get(&self.name).await.expect("the Service").metadata.creation_timestamp;
        Timestamp::now().as_second() - created.expect("a creation time").0.as_second()
    }

    /// The notes of the events about the Service, its Upstream or its workload: all bear one name.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn events(&self, cluster: &Cluster) -> Vec<String> {
        self.events_with(cluster, |event| event.note).await
    }

    /// The reasons of the same events.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn event_reasons(&self, cluster: &Cluster) -> Vec<String> {
        self.events_with(cluster, |event| event.reason).await
    }

    async fn events_with(&self, cluster: &Cluster, of: impl Fn(Event) -> Option<String>) -> Vec<String> {
        let api = Api::<Event>::namespaced(cluster.client(), NAMESPACE);
        let events = api.list(&ListParams::default()).await.expect("list events").items.into_iter();
        let about_it = |event: &Event| {
            let regarding = event.regarding.as_ref();
            let reporter = event.reporting_controller.as_deref();
            reporter.is_some_and(|reporter| reporter.contains("zenvoy"))
                && regarding.is_some_and(|object| object.name.as_ref() == Some(&self.name))
        };
        events.filter(about_it).filter_map(of).collect()
    }
}
