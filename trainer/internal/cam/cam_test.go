package cam_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/cam"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

const classes = 4

// model is a base with a random head and no bias, on features of several depths or of the last one.
func model(t *testing.T, deep bool) network.Model {
	t.Helper()
	const base = "efficientnet_lite0"
	n, w, _, err := bases.Load(tasktest.Bases(t, base), base)
	if err != nil {
		t.Fatal(err)
	}
	if deep {
		if n, err = n.Deep(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err = n.WithHead(classes, 0.2); err != nil {
		t.Fatal(err)
	}
	w = maps.Clone(w)
	r := rand.New(rand.NewPCG(1, 2))
	kernel := make([]float32, n.FeatureDim*classes)
	for i := range kernel {
		kernel[i] = float32(r.NormFloat64()) + 3 // what is equal for all classes must not show
	}
	w[network.PredictionsName+"/kernel"] = network.Tensor{Shape: []int{n.FeatureDim, classes}, Data: kernel}
	w[network.PredictionsName+"/bias"] = network.Tensor{Shape: []int{classes}, Data: make([]float32, classes)}
	return network.Model{Network: n, Weights: w, Labels: []string{"a", "b", "c", "d"}}
}

// photos are n images of noise with a bright square, so that places differ.
func photos(size, n int) []float32 {
	r := rand.New(rand.NewPCG(5, 6))
	out := make([]float32, n*size*size*3)
	for i := range out {
		out[i] = float32(60 * r.Float64())
		x, y := i/3%size, i/3/size%size
		if x > size/2 && y < size/2 {
			out[i] += 180
		}
	}
	return out
}

func mean(values []float32) float64 {
	var sum float64
	for _, v := range values {
		sum += float64(v)
	}
	return sum / float64(len(values))
}

// The mean of a map is what the network itself computes for the class, against the others: this is what makes the map true.
func TestMeanOfAMapIsTheLogit(t *testing.T) {
	for name, c := range map[string]struct {
		deep bool
		size int // of the maps
	}{"several depths": {true, 14}, "the last depth": {false, 7}} {
		t.Run(name, func(t *testing.T) {
			m := model(t, c.deep)
			const n = 10 // more than a batch
			images := photos(m.Network.Size, n)
			mapper, err := cam.New(m)
			if err != nil {
				t.Fatal(err)
			}
			defer mapper.Close()
			want := exporttest.Run(t, m, network.PredictionsName, images)
			for class := range classes {
				asked := make([]int, n)
				for i := range asked {
					asked[i] = (class + i) % classes
				}
				got, err := mapper.Of(images, asked)
				if err != nil {
					t.Fatal(err)
				}
				for i, one := range got {
					row := want[i*classes : (i+1)*classes]
					logit := float64(row[asked[i]]) - mean(row)
					if d := math.Abs(mean(one.Values) - logit); one.Size != c.size || d > 1e-3*max(1, math.Abs(logit)) {
						t.Errorf("image %d, class %d: a map of %d×%d with mean %g, the logit is %g", i, asked[i], one.Size, one.Size, mean(one.Values), logit)
					}
				}
			}
		})
	}
}

// With bounds that no feature reaches a map is that of the slopes; a feature beyond its bound does not show at all.
func TestMapsOfClippedFeatures(t *testing.T) {
	m := model(t, true)
	dim := m.Network.FeatureDim
	mean, deviation := make([]float32, dim), make([]float32, dim)
	for j := range deviation {
		mean[j], deviation[j] = 3, 1.5 // averages of 0…6 pass, as they are
	}
	images := photos(m.Network.Size, 2)
	plain := mapsOf(t, m, images, 1, 2)
	for _, c := range []struct {
		what   string
		beyond int // that many features, from the first, lie beyond their bound
	}{{"all pass", 0}, {"none passes", dim}} {
		for j := range c.beyond {
			mean[j] = 100
		}
		n, _, _, err := bases.Load(tasktest.Bases(t, "efficientnet_lite0"), "efficientnet_lite0")
		if err != nil {
			t.Fatal(err)
		}
		if n, err = n.Deep(); err == nil {
			n, err = n.Clipped()
		}
		if err == nil {
			n, err = n.WithHead(classes, 0.2)
		}
		if err != nil {
			t.Fatal(err)
		}
		w := maps.Clone(m.Weights)
		maps.Copy(w, network.ClipWeights(mean, deviation, 2))
		clipped := mapsOf(t, network.Model{Network: n, Weights: w, Labels: m.Labels}, images, 1, 2)
		for i := range clipped {
			for at, v := range clipped[i].Values {
				want := float64(plain[i].Values[at])
				if c.beyond == dim {
					want = 0
				}
				if d := math.Abs(float64(v) - want); d > 1e-3*max(1, math.Abs(want)) {
					t.Fatalf("%s: image %d has %g where %g was expected", c.what, i, v, want)
				}
			}
		}
	}
}

func mapsOf(t *testing.T, m network.Model, images []float32, asked ...int) []cam.Map {
	t.Helper()
	mapper, err := cam.New(m)
	if err != nil {
		t.Fatal(err)
	}
	defer mapper.Close()
	got, err := mapper.Of(images, asked)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNewRefusesOtherFeatures(t *testing.T) {
	n := network.Network{Name: "other", Size: 32, Features: "norm", FeatureDim: 3, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"input"}},
		{Name: "norm", Kind: network.BatchNormalization, Inputs: []string{"pool"}},
	}}
	if _, err := cam.New(network.Model{Network: n}); err == nil {
		t.Error("features that are no averages are taken for such")
	}
}

func TestOfRefusesPartsOfImages(t *testing.T) {
	mapper, err := cam.New(model(t, false))
	if err != nil {
		t.Fatal(err)
	}
	defer mapper.Close()
	if _, err := mapper.Of(make([]float32, 100), []int{0}); err == nil {
		t.Error("a hundred values are taken for an image")
	}
}

func TestResize(t *testing.T) {
	for name, c := range map[string]struct {
		in   cam.Map
		size int
		want []float32
	}{
		"the same": {cam.Map{Size: 2, Values: []float32{1, 2, 3, 4}}, 2, []float32{1, 2, 3, 4}},
		"one":      {cam.Map{Size: 1, Values: []float32{7}}, 2, []float32{7, 7, 7, 7}},
		"doubled": {cam.Map{Size: 2, Values: []float32{0, 4, 8, 12}}, 4,
			[]float32{0, 1, 3, 4, 2, 3, 5, 6, 6, 7, 9, 10, 8, 9, 11, 12}},
		"smaller": {cam.Map{Size: 3, Values: []float32{1, 1, 1, 1, 5, 1, 1, 1, 1}}, 1, []float32{5}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.in.Resize(c.size)
			if got.Size != c.size || len(got.Values) != len(c.want) {
				t.Fatalf("%+v", got)
			}
			for i, v := range got.Values {
				if math.Abs(float64(v-c.want[i])) > 1e-6 {
					t.Fatalf("%v, want %v", got.Values, c.want)
				}
			}
		})
	}
}
