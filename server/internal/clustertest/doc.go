// Package clustertest holds the tests that deploy the real images to a real Kubernetes cluster, train on it and break
// things. They run with the build tag cluster, on the cluster that KUBECONFIG names:
//
//	CULTIVAR_TEST_DATA     folder with the photos to train on (sign-digits below it)
//	CULTIVAR_BIN           folder with the built cultivar
//	CULTIVAR_IMAGE_TAG     tag under which the cluster has cultivar-server and cultivar-trainer (default "test")
//	CULTIVAR_TEST_BRIDGE   address of this machine that pods can reach, on a single-node cluster without Services whose
//	                       node is this machine; empty on any other cluster
//	CULTIVAR_TEST_API      host:port by which pods reach the API server where there is no Service for it
package clustertest
