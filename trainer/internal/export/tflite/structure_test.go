package tflite

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

var update = flag.Bool("update", false, "write the golden files anew")

// text lists a program for people and golden files.
func (p *program) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d -> %d\n", p.input, p.output)
	for i, t := range p.tensors {
		fmt.Fprintf(&b, "tensor %d %q %v%v", i, t.name, t.kind, t.shape)
		if t.data != nil {
			fmt.Fprintf(&b, " %d bytes", len(t.data))
		}
		if q := t.quant; q != nil {
			fmt.Fprintf(&b, " scale %.3g zero %d", q.scale[0], q.zero)
			if len(q.scale) > 1 {
				fmt.Fprintf(&b, " and %d scales more along dimension %d", len(q.scale)-1, q.axis)
			}
		}
		b.WriteByte('\n')
	}
	for _, o := range p.ops {
		fmt.Fprintf(&b, "%v version %d %v -> %d", o.code, p.version(o), o.inputs, o.output)
		for _, option := range []struct {
			set  bool
			text string
		}{{o.stride != 0, fmt.Sprint("stride ", o.stride)}, {o.same, "same"}, {o.relu6, "relu6"}, {o.keep, "keep"}} {
			if option.set {
				b.WriteString(" " + option.text)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// smalls are programs of every kind for the small network of every layer kind, made without running it.
func smalls(t *testing.T) map[Kind]*program {
	t.Helper()
	m := exporttest.Small(t)
	float, err := lower(m, false)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := lower(m, true)
	if err != nil {
		t.Fatal(err)
	}
	r := ranges{spans: map[int]span{}}
	channels := map[int]seen{}
	for i, o := range whole.ops {
		n := whole.tensors[o.output].shape
		s := seen{make([]float64, n[len(n)-1]), make([]float64, n[len(n)-1])}
		for c := range s.low {
			s.low[c], s.high[c] = -0.1*float64(c%3), 1+0.5*float64(i+c)
		}
		channels[o.output], r.spans[o.output] = s, s.span()
	}
	if whole, err = spread(whole, channels, r.spans); err != nil {
		t.Fatal(err)
	}
	int8, err := quantize(whole, r)
	if err != nil {
		t.Fatal(err)
	}
	return map[Kind]*program{Float32: float, Float16: halve(float), Int8: int8}
}

func TestStructure(t *testing.T) {
	for kind, p := range smalls(t) {
		t.Run(string(kind), func(t *testing.T) {
			file, err := withFiles(encode(p, "small", describe(about{name: "small", side: 32})), exporttest.Labels(), network.Usage{})
			if err != nil {
				t.Fatal(err)
			}
			read, err := decode(file)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(read, p) {
				t.Errorf("what is read is not what was written:\n%s", read.text())
			}
			if read.kind() != kind {
				t.Errorf("it is read as %s", read.kind())
			}
			golden := filepath.Join("testdata", "small_"+string(kind)+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(read.text()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if read.text() != string(want) {
				t.Errorf("the structure changed; it is now\n%s", read.text())
			}
		})
	}
}

// Runtimes map weights into memory and read them there.
func TestWeightsAreAligned(t *testing.T) {
	for kind, p := range smalls(t) {
		file := encode(p, "small", describe(about{name: "small", side: 32}))
		model := schema.GetRootAsModel(file, 0)
		var buffer schema.Buffer
		for i := range model.BuffersLength() {
			model.Buffers(&buffer, i)
			data := buffer.DataBytes()
			if len(data) == 0 {
				if i != 0 {
					t.Errorf("%s: buffer %d is empty", kind, i)
				}
				continue
			}
			if at := cap(file) - cap(data); at%alignment != 0 {
				t.Errorf("%s: buffer %d begins at byte %d", kind, i, at)
			}
		}
	}
}
