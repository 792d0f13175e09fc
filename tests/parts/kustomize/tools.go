//go:build tools

// Package parts pins the kustomize that the tests render manifests with.
package parts

import _ "sigs.k8s.io/kustomize/kustomize/v5"
