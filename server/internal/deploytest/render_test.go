package deploytest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// root is the repository's.
var root = filepath.Join("..", "..", "..")

// deploy is the folder of what is deployed.
var deploy = filepath.Join(root, "deploy")

// manifest is one rendered object.
type manifest struct {
	kind schema.GroupVersionKind
	name string
	ns   string
	yaml []byte
	typed
}

// typed is what an object decodes to; nil for kinds of other projects.
type typed runtime.Object

// kustomizations are the base and all overlays, by name.
func kustomizations(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"base": filepath.Join(deploy, "base")}
	overlays, err := os.ReadDir(filepath.Join(deploy, "overlays"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range overlays {
		found[o.Name()] = filepath.Join(deploy, "overlays", o.Name())
	}
	for _, want := range []string{"local", "gke-filestore", "postgres", "kueue", "gpu"} {
		if found[want] == "" {
			t.Errorf("there is no overlay %s", want)
		}
	}
	return found
}

// render builds a kustomization as kubectl apply -k does, without files from outside of it, and reads each object strictly.
func render(t *testing.T, dir string) []manifest {
	t.Helper()
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []manifest
	for _, r := range objects.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, read(t, text))
	}
	return all
}

// read decodes one object: a field that its type does not have, or has twice, fails the test.
func read(t *testing.T, text []byte) manifest {
	t.Helper()
	var head struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	m := manifest{kind: head.GroupVersionKind(), name: head.Name, ns: head.Namespace, yaml: text}
	if other, ok := otherKinds()[m.kind]; ok {
		strictly(t, text, other)
		return m
	}
	codecs := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict)
	object, _, err := codecs.UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%s %s: %v", m.kind, m.name, err)
	}
	m.typed = object
	return m
}

// strictly decodes YAML into a struct of our own, by its JSON tags.
func strictly(t *testing.T, text []byte, into any) {
	t.Helper()
	plain, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("more than one document in\n%s", text)
	}
}

// of returns the objects of one type.
func of[T runtime.Object](all []manifest) []T {
	var found []T
	for _, m := range all {
		if o, ok := m.typed.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// one returns the only object of a type with that name.
func one[T interface {
	runtime.Object
	metav1.Object
}](t *testing.T, all []manifest, name string) T {
	t.Helper()
	for _, o := range of[T](all) {
		if o.GetName() == name {
			return o
		}
	}
	var none T
	t.Fatalf("there is no %T %s", none, name)
	return none
}

// every runs a check on each kustomization.
func every(t *testing.T, check func(t *testing.T, name string, all []manifest)) {
	t.Helper()
	for name, dir := range kustomizations(t) {
		t.Run(name, func(t *testing.T) { check(t, name, render(t, dir)) })
	}
}
