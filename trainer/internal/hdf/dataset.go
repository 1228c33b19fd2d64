package hdf

import (
	"fmt"

	"gonum.org/v1/hdf5"
)

// SetFloats stores a float32 array of the given shape (row-major) as dataset name; name holds no slash.
func (g Group) SetFloats(name string, shape []int, data []float32) error {
	n := 1
	dims := make([]uint, len(shape))
	for i, d := range shape {
		if d <= 0 {
			return fmt.Errorf("dataset %q: shape %v has an empty side", g.child(name), shape)
		}
		dims[i], n = uint(d), n*d
	}
	if len(shape) == 0 || n != len(data) {
		return fmt.Errorf("dataset %q: %d values do not fill shape %v", g.child(name), len(data), shape)
	}
	space, err := hdf5.CreateSimpleDataspace(dims, nil)
	if err != nil {
		return fmt.Errorf("dataset %q: %w", g.child(name), err)
	}
	g.file.keep(space)
	properties, err := timeless()
	if err != nil {
		return fmt.Errorf("create dataset %q: %w", g.child(name), err)
	}
	g.file.keep(properties)
	set, err := g.group.CreateDatasetWith(name, hdf5.T_IEEE_F32LE, space, properties)
	if err != nil {
		return fmt.Errorf("create dataset %q: %w", g.child(name), err)
	}
	g.file.keep(set)
	if err := set.Write(&data); err != nil {
		return fmt.Errorf("write dataset %q: %w", g.child(name), err)
	}
	return nil
}

// Floats reads the float dataset at name, which may be a path below g: its shape and its values in row-major order.
// 64-bit floats are narrowed; other types are refused.
func (g Group) Floats(name string) ([]int, []float32, error) {
	set, err := g.group.OpenDataset(name)
	if err != nil {
		return nil, nil, fmt.Errorf("dataset %q is missing", g.child(name))
	}
	g.file.keep(set)
	shape, n, err := g.extent(set, name)
	if err != nil {
		return nil, nil, err
	}
	typ, err := set.Datatype()
	if err != nil {
		return nil, nil, fmt.Errorf("dataset %q: %w", g.child(name), err)
	}
	g.file.keep(typ)
	// The binding reads in the file's own type, so the buffer must be of that type and not only of that length.
	switch {
	case typ.Equal(hdf5.T_IEEE_F32LE):
		data := make([]float32, n)
		if n == 0 {
			return shape, data, nil
		}
		if err := set.Read(&data); err != nil {
			return nil, nil, fmt.Errorf("read dataset %q: %w", g.child(name), err)
		}
		return shape, data, nil
	case typ.Equal(hdf5.T_IEEE_F64LE):
		wide := make([]float64, n)
		if n == 0 {
			return shape, []float32{}, nil
		}
		if err := set.Read(&wide); err != nil {
			return nil, nil, fmt.Errorf("read dataset %q: %w", g.child(name), err)
		}
		data := make([]float32, n)
		for i, v := range wide {
			data[i] = float32(v)
		}
		return shape, data, nil
	}
	return nil, nil, fmt.Errorf("dataset %q holds neither 32-bit nor 64-bit little-endian floats", g.child(name))
}

// extent returns the shape of a dataset and the number of its values.
func (g Group) extent(set *hdf5.Dataset, name string) ([]int, int, error) {
	space := set.Space()
	if space == nil {
		return nil, 0, fmt.Errorf("dataset %q has no shape", g.child(name))
	}
	g.file.keep(space)
	// The binding fails on the shape of a scalar.
	if space.SimpleExtentNDims() == 0 {
		if space.SimpleExtentNPoints() != 1 {
			return nil, 0, fmt.Errorf("dataset %q has no values", g.child(name))
		}
		return []int{}, 1, nil
	}
	dims, _, err := space.SimpleExtentDims()
	if err != nil {
		return nil, 0, fmt.Errorf("shape of dataset %q: %w", g.child(name), err)
	}
	n, shape := 1, make([]int, len(dims))
	for i, d := range dims {
		if d > maxBytes || (d > 0 && n > maxBytes/8/int(d)) {
			return nil, 0, fmt.Errorf("dataset %q: shape %v is larger than any network's", g.child(name), dims)
		}
		shape[i], n = int(d), n*int(d)
	}
	return shape, n, nil
}
