package kubernetes

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// namespaceFile is where a pod finds the name of its own namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// access finds the API server, and the namespace that is meant when the settings name none.
func access(o Options) (*rest.Config, string, error) {
	if o.Access != nil {
		return o.Access, "", nil
	}
	if o.Settings.Kubeconfig != "" {
		load := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: o.Settings.Kubeconfig}, &clientcmd.ConfigOverrides{})
		c, err := load.ClientConfig()
		if err != nil {
			return nil, "", fmt.Errorf("read kubeconfig: %w", err)
		}
		namespace, _, err := load.Namespace()
		if err != nil {
			return nil, "", fmt.Errorf("read kubeconfig: %w", err)
		}
		return c, namespace, nil
	}
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, "", fmt.Errorf("this server runs in no cluster, and the setting kubernetes.kubeconfig names none: %w", err)
	}
	if o.Settings.Namespace != "" {
		return c, "", nil
	}
	b, err := os.ReadFile(namespaceFile)
	if err != nil {
		return nil, "", fmt.Errorf("find the namespace: %w", err)
	}
	return c, strings.TrimSpace(string(b)), nil
}
