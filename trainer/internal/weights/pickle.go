package weights

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nlpodyssey/gopickle/pytorch"
	"github.com/nlpodyssey/gopickle/types"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// ReadPickle reads the float arrays of a PyTorch state dictionary (.pth, either kind of container) under their own
// names and in PyTorch's layouts. No code of the pickle is executed. Other entries, such as counters, are left out.
// Call it on files of a known hash only: a hostile file can make the library use much memory, and one that is cut
// short inside its last array is read as if zeros followed.
func ReadPickle(path string) (arrays network.Weights, err error) {
	// The library panics on variants it does not know; here that is one more unreadable file.
	defer func() {
		if p := recover(); p != nil {
			arrays, err = nil, fmt.Errorf("read %q as a PyTorch file: %v", path, p)
		}
	}()
	if err := checkStart(path); err != nil {
		return nil, fmt.Errorf("read %q as a PyTorch file: %w", path, err)
	}
	loaded, err := pytorch.Load(path)
	if err != nil {
		return nil, fmt.Errorf("read %q as a PyTorch file: %w", path, err)
	}
	arrays = network.Weights{}
	add := func(key, value any) error {
		name, ok := key.(string)
		tensor, isTensor := value.(*pytorch.Tensor)
		if !ok || !isTensor {
			return nil
		}
		storage, isFloat := tensor.Source.(*pytorch.FloatStorage)
		if !isFloat {
			return nil
		}
		array, err := gather(tensor, storage.Data)
		if err != nil {
			return fmt.Errorf("read %q: array %q %w", path, name, err)
		}
		arrays[name] = array
		return nil
	}
	switch dict := loaded.(type) {
	case *types.OrderedDict:
		for e := dict.List.Front(); e != nil; e = e.Next() {
			entry := e.Value.(*types.OrderedDictEntry)
			if err := add(entry.Key, entry.Value); err != nil {
				return nil, err
			}
		}
	case *types.Dict:
		for _, entry := range *dict {
			if err := add(entry.Key, entry.Value); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("read %q: it holds no dictionary of weights; save the model's state_dict()", path)
	}
	return arrays, nil
}

// checkStart keeps away what is neither container: the library never returns from an empty file or an empty archive.
func checkStart(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	start := make([]byte, 4)
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	const pickleOpcode = 0x80 // PROTO, the first byte of every pickle since protocol 2
	if n < len(start) || start[0] != pickleOpcode && string(start) != "PK\x03\x04" {
		return errors.New("it is no file that torch.save wrote, or it is damaged at its beginning")
	}
	return nil
}

// gather copies the values that a tensor views out of its storage into row-major order: weights converted from
// TensorFlow are often transposed views.
func gather(t *pytorch.Tensor, data []float32) (network.Tensor, error) {
	if len(t.Size) != len(t.Stride) {
		return network.Tensor{}, fmt.Errorf("has %d sizes and %d strides", len(t.Size), len(t.Stride))
	}
	n, last := 1, t.StorageOffset
	for i, size := range t.Size {
		if size < 1 || size > len(data)/n {
			return network.Tensor{}, fmt.Errorf("has shape %v, which its %d values do not fill", t.Size, len(data))
		}
		if t.Stride[i] < 0 || t.Stride[i] > len(data) {
			return network.Tensor{}, fmt.Errorf("has strides %v", t.Stride)
		}
		n *= size
		last += (size - 1) * t.Stride[i]
	}
	if t.StorageOffset < 0 || last >= len(data) {
		return network.Tensor{}, fmt.Errorf("views values %d to %d of %d", t.StorageOffset, last, len(data))
	}
	return walk(data[t.StorageOffset:], t.Size, t.Stride), nil
}
