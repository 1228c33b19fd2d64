package deploytest_test

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is what every kind has.
type object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
}

// backendConfig has the fields we use of GKE's (cloud.google.com/kubernetes-engine/docs/how-to/ingress-configuration).
type backendConfig struct {
	object
	Spec struct {
		TimeoutSec         int `json:"timeoutSec"`
		ConnectionDraining struct {
			DrainingTimeoutSec int `json:"drainingTimeoutSec"`
		} `json:"connectionDraining"`
		HealthCheck struct {
			Type               string `json:"type"`
			RequestPath        string `json:"requestPath"`
			Port               int    `json:"port"`
			CheckIntervalSec   int    `json:"checkIntervalSec"`
			TimeoutSec         int    `json:"timeoutSec"`
			HealthyThreshold   int    `json:"healthyThreshold"`
			UnhealthyThreshold int    `json:"unhealthyThreshold"`
		} `json:"healthCheck"`
	} `json:"spec"`
}

type frontendConfig struct {
	object
	Spec struct {
		RedirectToHTTPS struct {
			Enabled          bool   `json:"enabled"`
			ResponseCodeName string `json:"responseCodeName"`
		} `json:"redirectToHttps"`
	} `json:"spec"`
}

type managedCertificate struct {
	object
	Spec struct {
		Domains []string `json:"domains"`
	} `json:"spec"`
}

// resourceFlavor, clusterQueue and localQueue have the fields we use of Kueue's (kueue.sigs.k8s.io/docs/reference).
type resourceFlavor struct {
	object
	Spec struct{} `json:"spec"`
}

type clusterQueue struct {
	object
	Spec struct {
		NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
		QueueingStrategy  string               `json:"queueingStrategy"`
		ResourceGroups    []struct {
			CoveredResources []string `json:"coveredResources"`
			Flavors          []struct {
				Name      string `json:"name"`
				Resources []struct {
					Name         string `json:"name"`
					NominalQuota any    `json:"nominalQuota"`
				} `json:"resources"`
			} `json:"flavors"`
		} `json:"resourceGroups"`
	} `json:"spec"`
}

type localQueue struct {
	object
	Spec struct {
		ClusterQueue string `json:"clusterQueue"`
	} `json:"spec"`
}

// otherKinds are the only kinds allowed beside Kubernetes' own.
func otherKinds() map[schema.GroupVersionKind]any {
	gvk := func(group, version, kind string) schema.GroupVersionKind {
		return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
	}
	return map[schema.GroupVersionKind]any{
		gvk("cloud.google.com", "v1", "BackendConfig"):        &backendConfig{},
		gvk("networking.gke.io", "v1beta1", "FrontendConfig"): &frontendConfig{},
		gvk("networking.gke.io", "v1", "ManagedCertificate"):  &managedCertificate{},
		gvk("kueue.x-k8s.io", "v1beta1", "ResourceFlavor"):    &resourceFlavor{},
		gvk("kueue.x-k8s.io", "v1beta1", "ClusterQueue"):      &clusterQueue{},
		gvk("kueue.x-k8s.io", "v1beta1", "LocalQueue"):        &localQueue{},
	}
}
