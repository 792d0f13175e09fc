//! Flags for Kubernetes: how it is reached, what is looked at, and how replicas elect a leader there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use zenvoy_controller::leader::{Electing, LeaseOptions};
use zenvoy_controller::source::kube::{Kube, KubeOptions, connect};

use super::store::Chosen;
use crate::value;

#[derive(Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(super) struct KubernetesArgs {
    /// A kubeconfig; else $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE", env = "ZENVOY_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context to use; else its current one
    #[arg(long, value_name = "NAME", env = "ZENVOY_KUBE_CONTEXT")]
    kube_context: Option<String>,
    /// Look at this namespace only, so that a Role is enough; else at all of them
    #[arg(long, value_name = "NAME", env = "ZENVOY_NAMESPACE", value_parser = value::label)]
    namespace: Option<String>,
    /// The namespace of the Lease that elects the leader; else the own one
    #[arg(long, value_name = "NAME", env = "ZENVOY_LEASE_NAMESPACE", value_parser = value::label)]
    lease_namespace: Option<String>,
    /// Status and event writes per second at most
    #[arg(long, value_name = "COUNT", env = "ZENVOY_REPORT_RATE", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..))]
    report_rate: u32,
    /// A pod that finds no node is a failed wake only after this long
    #[arg(long, value_name = "DURATION", env = "ZENVOY_UNSCHEDULABLE_AFTER", default_value = "30s",
        value_parser = value::duration)]
    unschedulable_after: Duration,
}

impl KubernetesArgs {
    /// How the API server is reached.
    pub(super) async fn config(&self) -> anyhow::Result<Config> {
        let options =
            KubeConfigOptions { context: self.kube_context.clone(), ..KubeConfigOptions::default() };
        if let Some(file) = &self.kubeconfig {
            let read = Kubeconfig::read_from(file);
            let kubeconfig = read.with_context(|| format!("--kubeconfig: use {}", file.display()))?;
            return Ok(Config::from_custom_kubeconfig(kubeconfig, &options).await?);
        }
        if self.kube_context.is_some() {
            return Ok(Config::from_kubeconfig(&options).await?);
        }
        Config::infer().await.context("Kubernetes is not configured here; give --kubeconfig")
    }

    /// Connects source, scaler and reporter.
    pub(super) async fn connect(&self, config: &Config) -> anyhow::Result<Kube> {
        let options = KubeOptions {
            namespace: self.namespace.clone(),
            unschedulable_after: self.unschedulable_after,
            instance: value::host_name().0,
            writes_per_second: self.report_rate,
        };
        Ok(Kube::connect(config, options).await?)
    }

    /// How a leader is found: a store that is not shared has one replica.
    pub(super) async fn electing(
        &self,
        config: &Config,
        store: &Chosen,
        cluster: &str,
        ttl: Duration,
    ) -> anyhow::Result<Electing> {
        if !store.is_shared() {
            return Ok(Electing::Alone);
        }
        Ok(Electing::Lease(LeaseOptions {
            client: connect(config).await?,
            namespace: self.lease_namespace.clone().unwrap_or_else(|| config.default_namespace.clone()),
            name: format!("zenvoy-{cluster}"),
            ttl,
        }))
    }
}
