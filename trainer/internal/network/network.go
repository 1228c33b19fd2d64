// Package network describes convolutional networks as data: named layers, their shapes and their weights.
// Graphs, exports, parameter counts and cut points are functions of these values. It knows nothing of TensorFlow.
package network

// Kind is the type of a layer; the names are Keras' class names.
type Kind string

// The layer kinds a network may use.
const (
	Input                  Kind = "InputLayer"
	Rescaling              Kind = "Rescaling"
	ZeroPadding2D          Kind = "ZeroPadding2D"
	Conv2D                 Kind = "Conv2D"
	DepthwiseConv2D        Kind = "DepthwiseConv2D"
	BatchNormalization     Kind = "BatchNormalization"
	ReLU6                  Kind = "ReLU"
	Add                    Kind = "Add"
	Concatenate            Kind = "Concatenate" // along the last axis
	GlobalAveragePooling2D Kind = "GlobalAveragePooling2D"
	Dropout                Kind = "Dropout"
	Dense                  Kind = "Dense"
	Softmax                Kind = "Softmax"
)

// Padding of a convolution, as in Keras and TensorFlow.
type Padding string

// The two paddings. Same pads as TensorFlow does: more at the bottom and right when the total is odd.
const (
	Same  Padding = "same"
	Valid Padding = "valid"
)

// Layer is one named step of a network. Fields that a kind does not use are zero.
type Layer struct {
	Name    string
	Kind    Kind
	Inputs  []string // names of the layers that feed it, in order; empty only for Input
	Filters int      // Conv2D: output channels; Input: channels of the image or activation, 0 for the three of RGB
	Kernel  int      // Conv2D, DepthwiseConv2D: side of the square kernel, pixels
	Stride  int      // Conv2D, DepthwiseConv2D: step in both directions, pixels
	Padding Padding  // Conv2D, DepthwiseConv2D
	Bias    bool     // Conv2D, DepthwiseConv2D, Dense: has a bias weight
	Pad     [4]int   // ZeroPadding2D: top, bottom, left, right, pixels
	Epsilon float32  // BatchNormalization: added to the variance
	Scale   float32  // Rescaling: y = x·Scale + Offset
	Offset  float32
	Rate    float32 // Dropout: share dropped while training, 0…1
	Units   int     // Dense: outputs; Input: length of a flat input such as pooled features, 0 for an image
}

// Tensor is a dense float32 array in row-major order; len(Data) is the product of Shape.
type Tensor struct {
	Shape []int
	Data  []float32
}

// Weights holds a network's arrays by "layer/weight", with Keras' weight names and layouts:
// kernel [h,w,in,out] (Conv2D) or [in,out] (Dense), depthwise_kernel [h,w,in,1], bias [out],
// gamma, beta, moving_mean, moving_variance [channels]. Batch norms are never folded here.
type Weights map[string]Tensor

// Network is a directed acyclic list of layers in execution order: every input stands before its use.
// Images enter as NHWC float32 RGB in 0…255; the Rescaling layer is part of the network.
type Network struct {
	Name   string
	Size   int // side of the square input image or activation, pixels; 0 when the input is flat
	Layers []Layer
	// Features is the layer whose output [n,FeatureDim] (pooled) the head is trained on.
	Features   string
	FeatureDim int
	// Taps are the layers, from input to output, whose pooled outputs Deep puts beside the features. Of the last stage that
	// sees the image at a sixteenth of its size they are the first and the last block, of the first stage at a thirty-second
	// the second block; of a block, what its depthwise convolution found, before it is squeezed together. Which ones was
	// chosen with MobileNetV2 and held for EfficientNet-Lite0 too (docs/bench.md).
	Taps []string
	// Cuts are the layers, from input to output, at whose OUTPUT the network may be cut: everything up to and
	// including a cut is frozen. They are block boundaries with exactly one live tensor.
	Cuts []string
}

// Model is a trained classifier: the whole network with its head, ready to be exported.
// The head is Dense "predictions" (with bias) followed by Softmax "probabilities", on top of Features.
type Model struct {
	Network Network
	Weights Weights
	Labels  []string // class names in output order
	Usage   Usage
}
