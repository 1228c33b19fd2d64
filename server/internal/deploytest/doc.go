// Package deploytest checks what the repository deploys with: each kustomization rendered and read strictly against the
// Kubernetes API's types, the image recipes, the workflows and the systemd unit. It has tests only.
package deploytest
