//go:build tools

// Package parts pins the Kubernetes control plane that the tests run.
package parts

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
