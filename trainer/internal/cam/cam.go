// Package cam computes class activation maps: which parts of a photo speak for a class (Zhou et al. 2016,
// arXiv:1512.04150). It draws nothing.
//
// A head that is linear on averages over the image can be moved in front of the averaging. With activations A[k] of n
// places, their averages as features and the head's kernel w,
//
//	logit[c] = b[c] + Σ_k w[k,c] · (1/n) Σ_xy A[k](x,y) = b[c] + (1/n) Σ_xy M[c](x,y)   with   M[c] = Σ_k w[k,c] · A[k]
//
// so M[c] says place by place what the logit is the average of. Features of several depths are averages of several
// activations side by side: the logit is a sum of such averages and its map a sum of such maps. Those of deeper layers are
// coarser; they are brought to the finest one's size by bilinear interpolation, which keeps the average where one size is a
// multiple of the other.
//
// Where features are clipped (network.Clipped), one that lies within the bounds counts with the slope there, and one that
// does not counts nothing: a little more or less of it would change no logit. The mean is then that of the logit's part that
// the others make.
//
// What a kernel has in common for all classes does not change any probability, so w is taken against its mean over the
// classes: a map then tells what speaks for this class rather than for the others.
package cam

import (
	"fmt"
	"math"
	"runtime"

	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// batchSize is how many images run at once: activations of a few depths are megabytes an image.
const batchSize = 8

// Map says how much each place of an image speaks for a class, in logits. The mean of it is the class's logit, without
// biases, less the mean of all classes' logits.
type Map struct {
	Size   int
	Values []float32 // [Size,Size]
}

// Mapper makes the maps of one model. It is used by one goroutine.
type Mapper struct {
	size, classes int
	frozen        *graph.Frozen
	depths        []depth
}

// depth is the part of the features that are averages of one layer.
type depth struct {
	kernel    []float32 // [channels,classes]
	low, high []float32 // [channels]: bounds within which a feature counts; nil: always
}

// New opens a model whose head is linear on averages over the image. The caller closes it.
func New(m network.Model) (*Mapper, error) {
	depths, err := averaged(m.Network)
	if err != nil {
		return nil, err
	}
	shapes, err := m.Network.Shapes()
	if err != nil {
		return nil, err
	}
	mapper := &Mapper{size: m.Network.Size, classes: len(m.Labels)}
	whole := depth{kernel: centred(m.Weights[network.PredictionsName+"/kernel"].Data, mapper.classes)}
	if m.Network.Features == network.ClipName {
		if err := whole.unclip(m, mapper.classes); err != nil {
			return nil, fmt.Errorf("class activation maps of %s: %w", m.Network.Name, err)
		}
	}
	for _, name := range depths {
		channels := shapes[name][2]
		n := channels * mapper.classes
		if n > len(whole.kernel) {
			return nil, fmt.Errorf("class activation maps of %s: its head has too few weights", m.Network.Name)
		}
		part := depth{kernel: whole.kernel[:n]}
		whole.kernel = whole.kernel[n:]
		if whole.low != nil {
			part.low, whole.low, part.high, whole.high = whole.low[:channels], whole.low[channels:], whole.high[:channels], whole.high[channels:]
		}
		mapper.depths = append(mapper.depths, part)
	}
	mapper.frozen, err = graph.NewFrozen(m.Network, m.Weights, depths, graph.Options{Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		return nil, fmt.Errorf("class activation maps: %w", err)
	}
	return mapper, nil
}

// Close frees the model.
func (m *Mapper) Close() error { return m.frozen.Close() }

// averaged lists the layers whose averages over the image are the features, in the features' order.
func averaged(n network.Network) ([]string, error) {
	last := n.Features
	if last == network.ClipName {
		norm, _ := n.Layer(network.ClipNormName)
		last = norm.Inputs[0]
	}
	features, ok := n.Layer(last)
	pools := []string{last}
	if ok && features.Kind == network.Concatenate {
		pools = features.Inputs
	}
	var names []string
	for _, name := range pools {
		pool, ok := n.Layer(name)
		if !ok || pool.Kind != network.GlobalAveragePooling2D {
			return nil, fmt.Errorf("class activation maps of %s: the feature %q is no average over the image", n.Name, name)
		}
		names = append(names, pool.Inputs[0])
	}
	return names, nil
}

// centred is a kernel [features,classes] less, for each feature, its mean over the classes.
func centred(kernel []float32, classes int) []float32 {
	out := make([]float32, len(kernel))
	for at := 0; at < len(kernel); at += classes {
		var sum float64
		for _, w := range kernel[at : at+classes] {
			sum += float64(w)
		}
		mean := float32(sum / float64(classes))
		for c, w := range kernel[at : at+classes] {
			out[at+c] = w - mean
		}
	}
	return out
}

// Of makes a map of each of the images [n,size,size,3] of 0…255 for the class of the same position.
func (m *Mapper) Of(images []float32, classes []int) ([]Map, error) {
	each := m.size * m.size * 3
	if len(images) != len(classes)*each {
		return nil, fmt.Errorf("class activation maps: %d values are not %d images of %d×%d pixels", len(images), len(classes), m.size, m.size)
	}
	var maps []Map
	for len(classes) > 0 {
		n := min(len(classes), batchSize)
		some, err := m.batch(images[:n*each], classes[:n])
		if err != nil {
			return nil, fmt.Errorf("class activation maps: %w", err)
		}
		maps, images, classes = append(maps, some...), images[n*each:], classes[n:]
	}
	return maps, nil
}

func (m *Mapper) batch(images []float32, classes []int) ([]Map, error) {
	tensor, err := tf.FromFloats([]int{len(classes), m.size, m.size, 3}, images)
	if err != nil {
		return nil, err
	}
	depths, err := m.frozen.Run(tensor)
	if err != nil {
		return nil, err
	}
	finest := 0
	for _, d := range depths {
		finest = max(finest, int(d.Shape()[1]))
	}
	maps := make([]Map, len(classes))
	for i := range maps {
		maps[i] = Map{Size: finest, Values: make([]float32, finest*finest)}
	}
	for depth, d := range depths {
		values, err := tf.Floats(d, nil)
		if err != nil {
			return nil, err
		}
		size, channels := int(d.Shape()[1]), int(d.Shape()[3])
		each := size * size * channels
		for i, class := range classes {
			weighed := m.weigh(depth, values[i*each:(i+1)*each], class)
			for at, v := range weighed.Resize(finest).Values {
				maps[i].Values[at] += v
			}
		}
	}
	return maps, nil
}

// weigh sums the channels of one image's activations [size,size,channels], each times its weight for the class.
func (m *Mapper) weigh(depth int, activations []float32, class int) Map {
	d := m.depths[depth]
	channels := len(d.kernel) / m.classes
	places := len(activations) / channels
	kernel := make([]float32, channels)
	for k := range kernel {
		if d.counts(k, activations, channels) {
			kernel[k] = d.kernel[k*m.classes+class]
		}
	}
	out := Map{Values: make([]float32, places)}
	for out.Size*out.Size < places {
		out.Size++
	}
	for at := range out.Values {
		var sum float32
		for k, a := range activations[at*channels : (at+1)*channels] {
			sum += a * kernel[k]
		}
		out.Values[at] = sum
	}
	return out
}

// counts tells whether the average of channel k of activations [places,channels] lies within the bounds.
func (d depth) counts(k int, activations []float32, channels int) bool {
	if d.low == nil {
		return true
	}
	var sum float64
	for at := k; at < len(activations); at += channels {
		sum += float64(activations[at])
	}
	average := float32(sum * float64(channels) / float64(len(activations)))
	return average > d.low[k] && average < d.high[k]
}

// unclip puts the slope and the bounds of clipped features in place.
func (d *depth) unclip(m network.Model, classes int) error {
	norm, ok := m.Network.Layer(network.ClipNormName)
	of := func(weight string) []float32 { return m.Weights[network.ClipNormName+"/"+weight].Data }
	gamma, beta, mean, variance := of("gamma"), of("beta"), of("moving_mean"), of("moving_variance")
	if n := len(gamma); !ok || len(beta) != n || len(mean) != n || len(variance) != n || n*classes != len(d.kernel) {
		return fmt.Errorf("its features are clipped in another way")
	}
	d.low, d.high = make([]float32, len(gamma)), make([]float32, len(gamma))
	for k := range gamma {
		slope := gamma[k] / float32(math.Sqrt(float64(variance[k]+norm.Epsilon)))
		d.low[k], d.high[k] = mean[k]-beta[k]/slope, mean[k]+(6-beta[k])/slope
		for c := range classes {
			d.kernel[k*classes+c] *= slope
		}
	}
	return nil
}

// Resize returns the map in another size, interpolated bilinearly between the centres of its places.
func (m Map) Resize(size int) Map {
	if size == m.Size {
		return m
	}
	out := Map{Size: size, Values: make([]float32, size*size)}
	for y := range size {
		top, bottom, down := between(y, size, m.Size)
		for x := range size {
			left, right, across := between(x, size, m.Size)
			above := m.Values[top*m.Size+left]*(1-across) + m.Values[top*m.Size+right]*across
			below := m.Values[bottom*m.Size+left]*(1-across) + m.Values[bottom*m.Size+right]*across
			out.Values[y*size+x] = above*(1-down) + below*down
		}
	}
	return out
}

// between are the two of n places that place i of size lies between, and how far it is from the first, 0…1.
func between(i, size, n int) (first, second int, share float32) {
	at := (float32(i)+0.5)*float32(n)/float32(size) - 0.5
	at = min(max(at, 0), float32(n-1))
	first = int(at)
	return first, min(first+1, n-1), at - float32(first)
}
