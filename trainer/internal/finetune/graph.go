package finetune

import (
	"fmt"
	"strings"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// shard computes, in a session of its own, the loss of a few images and its gradient with respect to every array that is
// trained. It keeps no state: the arrays are fed, so that shards work on parts of one batch side by side, and all that a
// checkpoint must hold lies in Go.
type shard struct {
	session  *tf.Session
	rows     tf.Output // uint16 [n,dim]: float16 numbers, as the binding has no tensors of halves
	targets  tf.Output // [n,classes]
	weights  tf.Output // [n]
	partners tf.Output // int32 [n]: whom each image is mixed with
	shares   tf.Output // [n]: how much of itself stays
	soft     tf.Output // [n,classes]: softened answers of a teacher
	taught   tf.Output // [n]: how much they count
	arrays   []tf.Output
	loss     tf.Output
	logits   tf.Output
	grads    []tf.Output
}

// newShard builds the graph for a layout. Batch norms use their moving statistics and are folded into the convolutions
// within the graph, so that gradients reach kernel, gamma and beta while activations are passed over once.
func newShard(l *layout, w network.Weights, threads int) (*shard, error) {
	folded, _, err := l.net.Fold(w)
	if err != nil {
		return nil, err
	}
	scope := op.NewScope()
	s := &shard{rows: op.Placeholder(scope.SubScope("rows"), graft.Uint16, op.PlaceholderShape(graft.MakeShape(-1, int64(l.dim))))}
	fed := map[string]tf.Output{}
	for i, a := range l.arrays {
		dims := make([]int64, len(a.shape))
		for d, n := range a.shape {
			dims[d] = int64(n)
		}
		p := op.Placeholder(scope.SubScope(fmt.Sprintf("array%d", i)), graft.Float, op.PlaceholderShape(graft.MakeShape(dims...)))
		s.arrays, fed[a.name] = append(s.arrays, p), p
	}
	f := folder{net: l.net, weights: w, fed: fed}
	named, err := graph.Layers(scope.SubScope("network"), folded, map[string]tf.Output{l.input: s.input(scope.SubScope("input"), l)}, f.array, l.net.Features)
	if err != nil {
		return nil, err
	}
	s.logits = head(scope.SubScope("head"), l, named[l.net.Features], fed)
	s.differentiate(scope, l)
	built, err := scope.Finalize()
	if err != nil {
		return nil, fmt.Errorf("graph for fine-tuning %s: %w", l.net.Name, err)
	}
	s.session, err = tf.NewSession(built, tf.Threads{Intra: threads, Inter: -1, Plain: true})
	return s, err
}

// input makes rows what the network takes, mixed where that is asked for: mixup (Zhang et al. 2018) of activations, as in Verma et
// al. 2019.
func (s *shard) input(scope *op.Scope, l *layout) tf.Output {
	x := op.Cast(scope.SubScope("float"), op.Bitcast(scope.SubScope("half"), s.rows, graft.Half), graft.Float)
	s.partners = op.Placeholder(scope.SubScope("partners"), graft.Int32, op.PlaceholderShape(graft.MakeShape(-1)))
	s.shares = op.Placeholder(scope.SubScope("shares"), graft.Float, op.PlaceholderShape(graft.MakeShape(-1)))
	if l.mix {
		other := op.Gather(scope.SubScope("other"), x, s.partners)
		share := op.ExpandDims(scope.SubScope("share"), s.shares, op.Const(scope.SubScope("axis"), int32(1)))
		x = op.AddV2(scope.SubScope("mixed"), other, op.Mul(scope.SubScope("part"), share, op.Sub(scope.SubScope("apart"), x, other)))
	}
	shape := []int32{-1}
	for _, d := range l.shape {
		shape = append(shape, int32(d))
	}
	return op.Reshape(scope, x, op.Const(scope.SubScope("shape"), shape))
}

// head is a softmax layer on features that are centred, clipped and scaled like those the head before it was trained on.
func head(s *op.Scope, l *layout, features tf.Output, fed map[string]tf.Output) tf.Output {
	z := op.Sub(s.SubScope("centred"), features, op.Const(s.SubScope("mean"), l.mean))
	if l.deviation != nil {
		z = op.Minimum(s.SubScope("below"), z, op.Const(s.SubScope("most"), times(fit.Reach, l.deviation)))
		z = op.Maximum(s.SubScope("above"), z, op.Const(s.SubScope("least"), times(-fit.Reach, l.deviation)))
	}
	z = op.Mul(s.SubScope("scaled"), z, op.Const(s.SubScope("scale"), l.scale))
	return op.BiasAdd(s.SubScope("logits"), op.MatMul(s.SubScope("product"), z, fed[kernelName]), fed[biasName])
}

func times(factor float32, v []float32) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = factor * x
	}
	return out
}

func (s *shard) differentiate(scope *op.Scope, l *layout) {
	s.targets = op.Placeholder(scope.SubScope("targets"), graft.Float, op.PlaceholderShape(graft.MakeShape(-1, int64(l.classes))))
	s.weights = op.Placeholder(scope.SubScope("weights"), graft.Float, op.PlaceholderShape(graft.MakeShape(-1)))
	each, _ := op.SoftmaxCrossEntropyWithLogits(scope.SubScope("loss"), s.logits, s.targets)
	sum := func(at *op.Scope, losses tf.Output) tf.Output {
		return op.Sum(at.SubScope("sum"), op.Mul(at.SubScope("weighted"), losses, s.weights), op.Const(at.SubScope("axes"), []int32{0}))
	}
	s.loss = sum(scope, each)
	learned := s.loss
	if l.softness > 0 {
		learned = sum(scope.SubScope("learned"), s.withTeacher(scope.SubScope("teacher"), l, each))
	}
	s.grads = op.Gradients(scope.SubScope("gradients"), []tf.Output{learned}, s.arrays)
}

// folder gives the arrays of a folded network as expressions of those of the unfolded one.
type folder struct {
	net     network.Network
	weights network.Weights
	fed     map[string]tf.Output
}

func (f folder) plain(s *op.Scope, name string) tf.Output {
	if p, ok := f.fed[name]; ok {
		return p
	}
	t, err := tf.FromFloats(f.weights[name].Shape, f.weights[name].Data)
	if err != nil {
		s.UpdateErr(name, err)
		return tf.Output{}
	}
	return op.Const(s, t)
}

// array is network.Fold's arithmetic as a graph: kernel·s and beta + (bias − mean)·s with s = gamma / √(variance + ε).
func (f folder) array(s *op.Scope, name string) tf.Output {
	layer, array, _ := strings.Cut(name, "/")
	norm, ok := f.net.Layer(layer)
	if !ok || norm.Kind != network.BatchNormalization {
		return f.plain(s, name)
	}
	part := func(n string) tf.Output { return f.plain(s.SubScope(n), layer+"/"+n) }
	switch array {
	case "gamma", "beta", "moving_mean", "moving_variance":
		return f.plain(s, name) // of a batch norm that was not folded
	}
	scale := op.Mul(s.SubScope("scale"), part("gamma"), op.Rsqrt(s.SubScope("rsqrt"),
		op.AddV2(s.SubScope("add"), part("moving_variance"), op.Const(s.SubScope("epsilon"), norm.Epsilon))))
	conv, _ := f.net.Layer(norm.Inputs[0])
	if array == "bias" {
		shift := part("moving_mean")
		if conv.Bias {
			shift = op.Sub(s.SubScope("unbiased"), shift, f.plain(s.SubScope("before"), conv.Name+"/bias"))
		}
		return op.Sub(s.SubScope("bias"), part("beta"), op.Mul(s.SubScope("shift"), shift, scale))
	}
	kernel := f.plain(s.SubScope("kernel"), conv.Name+"/"+array)
	if array == "depthwise_kernel" { // [h,w,in,1]
		scale = op.Reshape(s.SubScope("column"), scale, op.Const(s.SubScope("shape"), []int32{-1, 1}))
	}
	return op.Mul(s.SubScope("folded"), kernel, scale)
}

// part is what a shard works on: n images.
type part struct {
	rows     []byte // float16, [n,dim]
	targets  []float32
	weights  []float32
	partners []int32
	shares   []float32
	soft     []float32 // nil without a teacher
	taught   []float32
}

func (s *shard) feeds(l *layout, arrays []*tf.Tensor, p part) (map[tf.Output]*tf.Tensor, error) {
	n := len(p.rows) / (2 * l.dim)
	rows, err := tf.FromHalves([]int{n, l.dim}, p.rows)
	if err != nil {
		return nil, err
	}
	feeds := map[tf.Output]*tf.Tensor{s.rows: rows}
	for i, a := range s.arrays {
		feeds[a] = arrays[i]
	}
	if !l.mix {
		return feeds, nil
	}
	if feeds[s.partners], err = graft.NewTensor(p.partners); err != nil {
		return nil, fmt.Errorf("fine-tune: %w", err)
	}
	feeds[s.shares], err = tf.FromFloats([]int{n}, p.shares)
	return feeds, err
}

// learn returns the weighted loss of a part and its gradient for each array.
func (s *shard) learn(l *layout, arrays []*tf.Tensor, p part) (loss float64, logits []float32, grads []*tf.Tensor, err error) {
	feeds, err := s.feeds(l, arrays, p)
	if err != nil {
		return 0, nil, nil, err
	}
	if feeds[s.targets], err = tf.FromFloats([]int{len(p.weights), l.classes}, p.targets); err != nil {
		return 0, nil, nil, err
	}
	if feeds[s.weights], err = tf.FromFloats([]int{len(p.weights)}, p.weights); err != nil {
		return 0, nil, nil, err
	}
	if err = s.feedTeacher(feeds, l, p); err != nil {
		return 0, nil, nil, err
	}
	out, err := s.session.Run(feeds, append([]tf.Output{s.loss, s.logits}, s.grads...), nil)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("compute a gradient: %w", err)
	}
	sum, err := tf.Floats(out[0], nil)
	if err != nil {
		return 0, nil, nil, err
	}
	logits, err = tf.Floats(out[1], nil)
	return float64(sum[0]), logits, out[2:], err
}

// answer returns the logits [n,classes] of a part, of which only the rows count.
func (s *shard) answer(l *layout, arrays []*tf.Tensor, p part) ([]float32, error) {
	n := len(p.rows) / (2 * l.dim)
	p.partners, p.shares = make([]int32, n), make([]float32, n)
	for i := range p.shares {
		p.partners[i], p.shares[i] = int32(i), 1
	}
	feeds, err := s.feeds(l, arrays, p)
	if err != nil {
		return nil, err
	}
	out, err := s.session.Run(feeds, []tf.Output{s.logits}, nil)
	if err != nil {
		return nil, fmt.Errorf("run the network while fine-tuning: %w", err)
	}
	return tf.Floats(out[0], nil)
}
