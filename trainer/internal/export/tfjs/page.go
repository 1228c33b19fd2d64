package tfjs

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// A page is one HTML file that classifies photos in a browser: TensorFlow.js, the layers model, its weights and the class
// names are all inside, and its policy forbids every connection. What a browser asks of a page from the disk (no modules,
// no fetch) is why everything is inline.

// bundleSHA256 is of dist/tf.min.js of the npm package @tensorflow/tfjs 4.22.0, which trainer/setup/tfjs.sh fetches: the
// script runs on the machine of whoever opens the page, so no other is put in.
const bundleSHA256 = "300dfae273d20b4046f46a06d735688f03675a807561e9bcb5f664eb2f3d2831"

//go:embed page/page.html
var pageHTML string

//go:embed page/page.js
var pageScript string

//go:embed page/page.css
var pageStyle string

// globalScript lets the bundle set its one stray global: it would else try Function("…"), which the policy forbids.
const globalScript = "var regeneratorRuntime;"

// Marks around the data in a page.
const (
	modelMark   = `<script type="application/json" id="model">`
	weightsMark = `<script type="text/plain" id="weights">`
	endMark     = `</script>`
)

// maxPage bounds a page that is read, bytes: the weights in base64 and the rest.
const maxPage = maxWeights/3*4 + 1<<24

// Bundle finds tf.min.js where the set-up and the image put it, beside the program. The error says how to get it.
func Bundle() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find TensorFlow.js: %w", err)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "", fmt.Errorf("find TensorFlow.js: %w", err)
	}
	root := filepath.Dir(filepath.Dir(program))
	for _, place := range []string{filepath.Join(root, ".deps", "tfjs"), filepath.Join(root, "share", "cultivar", "tfjs")} {
		path := filepath.Join(place, "tf.min.js")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("TensorFlow.js is not installed beside %s; fetch it with trainer/setup/tfjs.sh, or leave the format html out", program)
}

// WritePage makes the page at path with the tf.min.js at the path bundle, or the one that Bundle finds if that is "". Syncing it and giving it its final name is the caller's.
func WritePage(path string, m network.Model, bundle string) error {
	page, err := buildPage(m, bundle)
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if err := os.WriteFile(path, page, 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

func buildPage(m network.Model, bundle string) ([]byte, error) {
	described, data, err := describe(m)
	if err != nil {
		return nil, err
	}
	described.Metadata.Size = m.Network.Size
	text, err := encode(described) // which escapes < and >
	if err != nil {
		return nil, err
	}
	if bundle == "" {
		if bundle, err = Bundle(); err != nil {
			return nil, err
		}
	}
	library, err := os.ReadFile(bundle)
	if err != nil {
		return nil, fmt.Errorf("TensorFlow.js: %w", err)
	}
	if sum := sha256.Sum256(library); hex.EncodeToString(sum[:]) != bundleSHA256 {
		return nil, fmt.Errorf("TensorFlow.js at %s is not the pinned version; fetch it with trainer/setup/tfjs.sh", bundle)
	}
	sure := "What is in none of its classes is given one of them all the same."
	if t := m.Usage.Threshold; t > 0 {
		sure = fmt.Sprintf("When the likeliest class has less than %.0f %%, the answer is “unsure”.", 100*t)
	}
	parts := struct {
		Policy, Base, Threshold, Style, Global, Bundle, Script, ModelMark, Model, WeightsMark, Weights, EndMark string
		Classes                                                                                                 int
	}{policy(pageStyle, globalScript, string(library), pageScript), html.EscapeString(m.Network.Name), sure, pageStyle, globalScript, string(library), pageScript,
		modelMark, strings.TrimSpace(string(text)), weightsMark, base64.StdEncoding.EncodeToString(data), endMark, len(m.Labels)}
	// text/template, since everything that goes in is a constant, escaped or base64; html/template would parse the bundle.
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	if err := t.Execute(&page, parts); err != nil {
		return nil, err
	}
	return page.Bytes(), nil
}

// policy allows the page's own style and scripts, pictures and films of its own making, and nothing else.
func policy(style string, scripts ...string) string {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	var allowed []string
	for _, s := range scripts {
		allowed = append(allowed, hash(s))
	}
	return "default-src 'none'; script-src " + strings.Join(allowed, " ") + "; style-src " + hash(style) +
		"; img-src blob:; media-src blob: mediastream:; base-uri 'none'; form-action 'none'"
}

// ReadPage rebuilds the classifier that a page of WritePage holds.
func ReadPage(path string) (network.Model, error) {
	page, err := readAtMost(path, maxPage)
	if err != nil {
		return network.Model{}, fmt.Errorf("read page %q: %w", path, err)
	}
	m, err := parsePage(page)
	if err != nil {
		return network.Model{}, fmt.Errorf("read page %q: %w", path, err)
	}
	return m, nil
}

func parsePage(page []byte) (network.Model, error) {
	text, err := between(page, modelMark)
	if err != nil {
		return network.Model{}, err
	}
	return parse(text, func(_ []string, size int) ([]byte, error) {
		encoded, err := between(page, weightsMark)
		if err != nil {
			return nil, err
		}
		if base64.StdEncoding.DecodedLen(len(encoded)) > size+2 { // of padding
			return nil, fmt.Errorf("its weights are longer than the %d bytes of its layers", size)
		}
		return base64.StdEncoding.AppendDecode(nil, encoded)
	})
}

// between is what stands between a mark and the next end.
func between(page []byte, mark string) ([]byte, error) {
	_, rest, ok := bytes.Cut(page, []byte(mark))
	if ok {
		if inside, _, ended := bytes.Cut(rest, []byte(endMark)); ended {
			return inside, nil
		}
	}
	return nil, fmt.Errorf("it has no %s: it was not made here, or was cut short", mark)
}
