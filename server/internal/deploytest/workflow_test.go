package deploytest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// workflow has the fields of GitHub's that we use, and no others.
type workflow struct {
	Name        string            `json:"name"`
	On          map[string]any    `json:"on"`
	Permissions map[string]string `json:"permissions"`
	Concurrency map[string]any    `json:"concurrency"`
	Jobs        map[string]struct {
		If             string            `json:"if"`
		Needs          string            `json:"needs"`
		RunsOn         string            `json:"runs-on"`
		TimeoutMinutes int               `json:"timeout-minutes"`
		Environment    string            `json:"environment"`
		Permissions    map[string]string `json:"permissions"`
		Strategy       map[string]any    `json:"strategy"`
		Env            map[string]string `json:"env"`
		Steps          []struct {
			ID     string            `json:"id"`
			Name   string            `json:"name"`
			If     string            `json:"if"`
			Uses   string            `json:"uses"`
			With   map[string]any    `json:"with"`
			Run    string            `json:"run"`
			Env    map[string]string `json:"env"`
			Folder string            `json:"working-directory"`
		} `json:"steps"`
	} `json:"jobs"`
}

var (
	action   = regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+@(v[0-9]+(\.[0-9]+){0,2}|[0-9a-f]{40})$`)
	variable = regexp.MustCompile(`\b(vars|secrets)\.([A-Z_]+)`)
	// foreign is text that whoever opens a pull request chooses; in a script it would be code.
	foreign = regexp.MustCompile(`\$\{\{[^}]*(github\.event\.|github\.head_ref|inputs\.)`)
)

func TestWorkflowsAskForLittleAndRunNobodysText(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil || len(found) < 2 {
		t.Fatalf("%v, %v", found, err)
	}
	for _, path := range found {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var w workflow
			strictly(t, []byte(strings.Replace(string(text), "\non:", "\n\"on\":", 1)), &w) // YAML 1.1 reads on as true
			if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
				t.Errorf("permissions of all jobs: %v", w.Permissions)
			}
			if _, ok := w.On["pull_request_target"]; ok {
				t.Error("a pull request's code would run with the repository's rights")
			}
			for name, job := range w.Jobs {
				for scope, right := range job.Permissions {
					signs := scope == "id-token" && right == "write" && filepath.Base(path) == "deploy.yml"
					if !signs && (scope != "contents" || right != "read") {
						t.Errorf("%s may %s %s", name, right, scope)
					}
				}
				if job.TimeoutMinutes == 0 || strings.HasSuffix(job.RunsOn, "-latest") {
					t.Errorf("%s runs on %q for %d minutes", name, job.RunsOn, job.TimeoutMinutes)
				}
				for _, s := range job.Steps {
					if (s.Uses == "") == (s.Run == "") {
						t.Errorf("%s: a step does nothing, or two things: %+v", name, s)
					}
					if s.Uses != "" && !action.MatchString(s.Uses) {
						t.Errorf("%s: %q is not pinned", name, s.Uses)
					}
					if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != false {
						t.Errorf("%s: the checkout leaves its token in the folder", name)
					}
					if foreign.MatchString(s.Run) {
						t.Errorf("%s: a script has others' text in it:\n%s", name, s.Run)
					}
				}
			}
			for _, v := range variable.FindAllStringSubmatch(string(text), -1) {
				if !strings.Contains(string(docs), "`"+v[2]+"`") {
					t.Errorf("docs/operations.md does not explain %s", v[0])
				}
			}
		})
	}
}

func TestDeploymentComesFromMainOnlyAndByDigest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".github", "workflows", "deploy.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var w workflow
	strictly(t, []byte(strings.Replace(string(text), "\non:", "\n\"on\":", 1)), &w)
	push, ok := w.On["push"].(map[string]any)
	if branches, _ := push["branches"].([]any); !ok || len(w.On) != 1 || len(branches) != 1 || branches[0] != "main" {
		t.Errorf("it runs on %v", w.On)
	}
	for _, want := range []string{"sbom: true", "provenance: mode=max", "cosign sign --yes", "cosign verify", "@$digest", "kubectl apply -k", "workload_identity_provider"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in it", want)
		}
	}
	if strings.Contains(string(text), "secrets.") {
		t.Error("it uses a stored credential")
	}
}
