package weights_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// pickler writes the opcodes of Python's pickle protocol 2 that torch.save uses (Lib/pickletools.py).
type pickler struct{ data []byte }

func (p *pickler) raw(ops ...byte)        { p.data = append(p.data, ops...) }
func (p *pickler) begin()                 { p.raw(0x80, 2) }
func (p *pickler) end()                   { p.raw('.') }
func (p *pickler) class(module, n string) { p.data = append(p.data, "c"+module+"\n"+n+"\n"...) }
func (p *pickler) text(s string) {
	p.raw('X')
	p.data = append(binary.LittleEndian.AppendUint32(p.data, uint32(len(s))), s...)
}
func (p *pickler) number(n int) {
	p.raw('J')
	p.data = binary.LittleEndian.AppendUint32(p.data, uint32(int32(n)))
}
func (p *pickler) numbers(list []int) {
	p.raw('(')
	for _, n := range list {
		p.number(n)
	}
	p.raw('t')
}

// view is a tensor in a state dictionary, on a storage of its own.
type view struct {
	name          string
	offset        int
	shape, stride []int
	storage       []float32
}

// tensor writes _rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict()).
func (p *pickler) tensor(v view) {
	p.class("torch._utils", "_rebuild_tensor_v2")
	p.raw('(')
	p.raw('(')
	p.text("storage")
	p.class("torch", "FloatStorage")
	p.text(v.name)
	p.text("cpu")
	p.number(len(v.storage))
	p.raw('N', 't', 'Q')
	p.number(v.offset)
	p.numbers(v.shape)
	p.numbers(v.stride)
	p.raw(0x89) // False
	p.class("collections", "OrderedDict")
	p.raw(')', 'R', 't', 'R')
}

// legacy is a file as torch.save wrote it before its zip container.
func legacy(views ...view) []byte {
	var p pickler
	p.begin()
	p.raw(0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19) // the magic number, as LONG1
	p.end()
	p.begin()
	p.raw('M', 0xe9, 3) // protocol version 1001
	p.end()
	p.begin()
	p.raw('}') // system information
	p.end()
	p.begin()
	p.class("collections", "OrderedDict")
	p.raw(')', 'R')
	for _, v := range views {
		p.text(v.name)
		p.tensor(v)
		p.raw('s')
	}
	p.text("step")
	p.number(7)
	p.raw('s')
	p.end()
	p.begin()
	p.raw(']', '(')
	for _, v := range views {
		p.text(v.name)
	}
	p.raw('e')
	p.end()
	for _, v := range views {
		p.data = binary.LittleEndian.AppendUint64(p.data, uint64(len(v.storage)))
		for _, f := range v.storage {
			p.data = binary.LittleEndian.AppendUint32(p.data, math.Float32bits(f))
		}
	}
	return p.data
}

func save(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadPickle(t *testing.T) {
	data := legacy(
		view{"row.weight", 0, []int{2, 3}, []int{3, 1}, []float32{1, 2, 3, 4, 5, 6}},
		view{"turned.weight", 1, []int{3, 2}, []int{1, 3}, []float32{0, 1, 2, 3, 4, 5, 6}},
		view{"one.bias", 0, []int{1}, []int{1}, []float32{-2.5}},
	)
	got, err := weights.ReadPickle(save(t, "w.pth", data))
	if err != nil {
		t.Fatal(err)
	}
	want := network.Weights{
		"row.weight":    {Shape: []int{2, 3}, Data: []float32{1, 2, 3, 4, 5, 6}},
		"turned.weight": {Shape: []int{3, 2}, Data: []float32{1, 4, 2, 5, 3, 6}},
		"one.bias":      {Shape: []int{1}, Data: []float32{-2.5}},
	}
	for name, w := range want {
		if g := got[name]; !slices.Equal(g.Shape, w.Shape) || !slices.Equal(g.Data, w.Data) {
			t.Errorf("%s: got %v, want %v", name, g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("read %d arrays, want %d: a counter is no weight", len(got), len(want))
	}
}

func TestReadPickleRefuses(t *testing.T) {
	whole := legacy(view{"a", 0, []int{4}, []int{1}, []float32{1, 2, 3, 4}})
	var evil pickler
	evil.data = append(evil.data, whole[:strings.Index(string(whole), "ccollections")]...)
	evil.class("posix", "system")
	evil.raw('(')
	evil.text("touch executed")
	evil.raw('t', 'R')
	evil.end()
	tests := map[string]struct {
		data []byte
		want string
	}{
		"text":             {[]byte("these are no weights"), "as a PyTorch file"},
		"empty":            {nil, "as a PyTorch file"},
		"cut short":        {whole[:len(whole)/2], "as a PyTorch file"},
		"code":             {evil.data, "as a PyTorch file"},
		"offset too large": {legacy(view{"a", 2, []int{3}, []int{1}, []float32{1, 2, 3, 4}}), "views values 2 to 4 of 4"},
		"negative offset":  {legacy(view{"a", -1, []int{2}, []int{1}, []float32{1, 2}}), "views values"},
		"stride too large": {legacy(view{"a", 0, []int{2}, []int{9}, []float32{1, 2, 3, 4}}), "strides"},
		"negative stride":  {legacy(view{"a", 1, []int{2}, []int{-1}, []float32{1, 2}}), "strides"},
		"stretched":        {legacy(view{"a", 0, []int{1 << 20, 1 << 20}, []int{0, 0}, []float32{1}}), "do not fill"},
		"strides missing":  {legacy(view{"a", 0, []int{2, 2}, []int{1}, []float32{1, 2, 3, 4}}), "2 sizes and 1 strides"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			path := save(t, "w.pth", test.data)
			_, err := weights.ReadPickle(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "w.pth") {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
			if _, err := os.Stat("executed"); err == nil {
				t.Error("the pickle's code was executed")
			}
		})
	}
}
