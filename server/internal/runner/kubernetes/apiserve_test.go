package kubernetes_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// published is what the double says to everybody.
var published = map[string]string{
	"/openid/v1/jwks":                   `{"keys":[{"kid":"one"}]}`,
	"/.well-known/openid-configuration": `{"issuer":"https://kubernetes.default.svc"}`,
}

// ServeHTTP answers like an API server, or does not.
func (d *double) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	// Only when all of a request is read does its context end with the connection.
	sent, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(sent))
	d.mu.Lock()
	f := d.faults
	refuse, lose, hang, busy := d.away || d.dice(f.refuse), d.dice(f.lose), d.dice(f.hang), d.dice(f.busy)
	code := []int{429, 500, 503, 504}[d.rng.IntN(4)]
	d.mu.Unlock()
	switch {
	case refuse:
		panic(http.ErrAbortHandler)
	case hang:
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	case busy:
		if code == 429 {
			w.Header().Set("Retry-After", "1")
		}
		fail(w, req, apierrors.NewGenericServerResponse(code, req.Method, schema.GroupResource{}, "", "the double is busy", 1, true))
		return
	}
	if isWatch := req.URL.Query().Get("watch"); isWatch != "" && isWatch != "false" {
		d.watch(w, req)
		return
	}
	if text, ok := d.text(req); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	d.mu.Lock()
	status, body, err := d.serve(req, sent)
	d.mu.Unlock()
	switch {
	case lose:
		panic(http.ErrAbortHandler)
	case err != nil:
		fail(w, req, err)
	default:
		answer(w, req, status, body)
	}
}

// text is what is answered without a kind: what is published, and logs.
func (d *double) text(req *http.Request) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if text, ok := published[req.URL.Path]; ok {
		return text, true
	}
	pod, ok := strings.CutSuffix(strings.TrimPrefix(req.URL.Path, "/api/v1/namespaces/ns/pods/"), "/log")
	if !ok || d.objects["pods"][pod] == nil {
		return "", false
	}
	d.seen["logs"]++
	return d.logs[pod], true
}

// accepted is the encoding that a client likes best: client-go asks for protobuf, with JSON as the fallback.
func accepted(req *http.Request) runtime.SerializerInfo {
	for kind := range strings.SplitSeq(req.Header.Get("Accept"), ",") {
		if info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), strings.TrimSpace(kind)); ok {
			return info
		}
	}
	panic("the double speaks nothing of " + req.Header.Get("Accept"))
}

func answer(w http.ResponseWriter, req *http.Request, code int, body runtime.Object) {
	info := accepted(req)
	b, err := runtime.Encode(info.Serializer, body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", info.MediaType)
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

func fail(w http.ResponseWriter, req *http.Request, err *apierrors.StatusError) {
	st := statusOf(err)
	answer(w, req, int(st.Code), st)
}

func statusOf(err *apierrors.StatusError) *metav1.Status {
	st := err.Status()
	st.Kind, st.APIVersion = "Status", "v1"
	return &st
}

// read decodes what a client sent. One that cannot be read is refused: a double that overlooks a precondition proves nothing.
func read(sent []byte, into runtime.Object) *apierrors.StatusError {
	if err := runtime.DecodeInto(scheme.Codecs.UniversalDeserializer(), sent, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// serve does what a request asks for. d.mu is held.
func (d *double) serve(req *http.Request, sent []byte) (int, runtime.Object, *apierrors.StatusError) {
	path := req.URL.Path
	if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" {
		return d.review(sent)
	}
	_, rest, ok := strings.Cut(path, "/namespaces/ns/")
	resource, name, _ := strings.Cut(rest, "/")
	kind, known := resources[resource]
	if !ok || !known {
		return 0, nil, apierrors.NewNotFound(schema.GroupResource{Resource: path}, "")
	}
	group := schema.GroupResource{Group: kind.Group, Resource: resource}
	have := d.objects[resource][name]
	switch {
	case req.Method == http.MethodPost && resource == "jobs":
		d.seen["create jobs"]++
		return d.create(req, sent, group)
	case req.Method == http.MethodGet && name == "":
		d.seen["list "+resource]++
		return 200, d.list(req, resource), nil
	case have == nil:
		return 0, nil, apierrors.NewNotFound(group, name)
	case req.Method == http.MethodGet:
		d.seen["get "+resource]++
		return 200, have, nil
	case req.Method == http.MethodDelete && resource == "jobs":
		d.seen["delete jobs"]++
		return d.delete(sent, group, have.(*batchv1.Job))
	}
	return 0, nil, apierrors.NewMethodNotSupported(group, req.Method)
}

func (d *double) review(sent []byte) (int, runtime.Object, *apierrors.StatusError) {
	var review authorizationv1.SelfSubjectAccessReview
	if err := read(sent, &review); err != nil {
		return 0, nil, err
	}
	what := review.Spec.ResourceAttributes
	review.SetGroupVersionKind(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"))
	review.Status.Allowed = !d.denied[what.Verb+" "+what.Resource]
	return 201, &review, nil
}

func (d *double) create(req *http.Request, sent []byte, group schema.GroupResource) (int, runtime.Object, *apierrors.StatusError) {
	var j batchv1.Job
	if err := read(sent, &j); err != nil {
		return 0, nil, err
	}
	if d.objects["jobs"][j.Name] != nil {
		return 0, nil, apierrors.NewAlreadyExists(group, j.Name)
	}
	j.UID, j.CreationTimestamp = d.uid(), metav1.Now()
	j.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "double"}}
	if req.URL.Query().Get("dryRun") != "" {
		j.SetGroupVersionKind(resources["jobs"])
		return 201, &j, nil
	}
	if d.onCreate != nil {
		d.onCreate(&j)
	}
	d.put("jobs", &j, "ADDED")
	return 201, &j, nil
}

func (d *double) delete(sent []byte, group schema.GroupResource, j *batchv1.Job) (int, runtime.Object, *apierrors.StatusError) {
	var o metav1.DeleteOptions
	if err := read(sent, &o); err != nil {
		return 0, nil, err
	}
	if o.Preconditions != nil && o.Preconditions.UID != nil && *o.Preconditions.UID != j.UID {
		return 0, nil, apierrors.NewConflict(group, j.Name, fmt.Errorf("the UID in the precondition is not that of the object"))
	}
	switch {
	case o.PropagationPolicy == nil: // a Job's default, which leaves its pods to nobody
		return 0, nil, apierrors.NewBadRequest("the double wants to know what becomes of the pods")
	case *o.PropagationPolicy != metav1.DeletePropagationForeground:
		d.remove("jobs", j.Name)
	case j.DeletionTimestamp == nil:
		d.changeJob(j.Name, func(j *batchv1.Job) {
			now := metav1.Now()
			j.DeletionTimestamp, j.Finalizers = &now, append(j.Finalizers, metav1.FinalizerDeleteDependents)
		})
	}
	return 200, j, nil
}

func (d *double) list(req *http.Request, resource string) runtime.Object {
	all, version := d.all(resource), d.version
	if resource != "events" && d.oldAt > 0 && d.dice(d.faults.stale) {
		all, version = d.old[resource], d.oldAt
	}
	match := matcher(req)
	var found []object
	for _, o := range all {
		if match(o) {
			found = append(found, o)
		}
	}
	meta := metav1.ListMeta{ResourceVersion: strconv.Itoa(version)}
	switch resource {
	case "jobs":
		out := &batchv1.JobList{TypeMeta: metav1.TypeMeta{Kind: "JobList", APIVersion: "batch/v1"}, ListMeta: meta}
		for _, o := range found {
			out.Items = append(out.Items, *o.(*batchv1.Job))
		}
		return out
	case "pods":
		out := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: meta}
		for _, o := range found {
			out.Items = append(out.Items, *o.(*corev1.Pod))
		}
		return out
	}
	out := &corev1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "v1"}, ListMeta: meta}
	for _, o := range found {
		out.Items = append(out.Items, *o.(*corev1.Event))
	}
	return out
}

func matcher(req *http.Request) func(object) bool {
	want, err := labels.Parse(req.URL.Query().Get("labelSelector"))
	if err != nil {
		return func(object) bool { return false }
	}
	field := req.URL.Query().Get("fieldSelector")
	return func(o object) bool {
		if e, ok := o.(*corev1.Event); ok && field != "" {
			return strings.Contains(field, "involvedObject.uid="+string(e.InvolvedObject.UID)) && strings.Contains(field, "type="+e.Type)
		}
		return want.Matches(labels.Set(o.GetLabels()))
	}
}
