//! The Kubernetes source, scaler and reporter on a real API server with its controllers. Pods are marked ready by the
//! tests themselves: what a kubelet does is not what is tested here.

mod configuration;
mod scaling;
mod source;
mod trouble;
mod world;
