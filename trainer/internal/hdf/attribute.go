package hdf

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"gonum.org/v1/hdf5"
)

// chunkBytes is the largest list stored in one attribute: HDF5 object headers end at 64 KiB, and Keras splits longer
// lists at this size into name0, name1, … (HDF5_OBJECT_HEADER_LIMIT in tf_keras/saving/legacy/hdf5_format.py).
const chunkBytes = 64512

// maxStrings bounds a list that is read; the networks in use have a few hundred layers.
const maxStrings = 1 << 20

// SetText stores text as a variable-length string attribute, which, unlike a fixed-length one, may exceed 64 KiB:
// its bytes lie outside the object header. The text must hold no NUL.
func (g Group) SetText(name, text string) error {
	if strings.ContainsRune(text, 0) {
		return fmt.Errorf("attribute %q of %q: text holds a NUL, which an HDF5 string cannot", name, g.path)
	}
	space, err := hdf5.CreateDataspace(hdf5.S_SCALAR)
	if err != nil {
		return fmt.Errorf("attribute %q of %q: %w", name, g.path, err)
	}
	g.file.keep(space)
	attr, err := g.group.CreateAttribute(name, hdf5.T_GO_STRING, space)
	if err != nil {
		return fmt.Errorf("create attribute %q of %q: %w", name, g.path, err)
	}
	g.file.keep(attr)
	if err := attr.Write(&text, hdf5.T_GO_STRING); err != nil {
		return fmt.Errorf("write attribute %q of %q: %w", name, g.path, err)
	}
	return nil
}

// SetStrings stores a list as an array of fixed-length strings, split into name0, name1, … when it exceeds what one
// attribute holds. A string may have 64,511 bytes and no NUL.
func (g Group) SetStrings(name string, list []string) error {
	width := 1
	for _, s := range list {
		if len(s) >= chunkBytes || strings.ContainsRune(s, 0) {
			return fmt.Errorf("attribute %q of %q: a name of %d bytes is too long, or holds a NUL", name, g.path, len(s))
		}
		width = max(width, len(s)+1)
	}
	if len(list)*width <= chunkBytes {
		return g.setFixed(name, list, width)
	}
	i := 0
	for part := range slices.Chunk(list, chunkBytes/width) {
		if err := g.setFixed(name+strconv.Itoa(i), part, width); err != nil {
			return err
		}
		i++
	}
	return nil
}

// setFixed writes NUL-terminated strings of width bytes each. An empty list is an attribute of no elements.
func (g Group) setFixed(name string, list []string, width int) error {
	typ, err := hdf5.T_C_S1.Copy()
	if err != nil {
		return fmt.Errorf("attribute %q of %q: %w", name, g.path, err)
	}
	g.file.keep(typ)
	if err := typ.SetSize(width); err != nil {
		return fmt.Errorf("attribute %q of %q: %w", name, g.path, err)
	}
	space, err := hdf5.CreateSimpleDataspace([]uint{uint(len(list))}, nil)
	if err != nil {
		return fmt.Errorf("attribute %q of %q: %w", name, g.path, err)
	}
	g.file.keep(space)
	attr, err := g.group.CreateAttribute(name, typ, space)
	if err != nil {
		return fmt.Errorf("create attribute %q of %q: %w", name, g.path, err)
	}
	g.file.keep(attr)
	if len(list) == 0 {
		return nil
	}
	data := make([]byte, len(list)*width)
	for i, s := range list {
		copy(data[i*width:], s)
	}
	// A slice would hand the C code the slice's header: the binding knows arrays and single values only.
	if err := attr.Write(&data[0], typ); err != nil {
		return fmt.Errorf("write attribute %q of %q: %w", name, g.path, err)
	}
	return nil
}

// Text reads a string attribute, of fixed or variable length. The error says when it is missing or no single string.
func (g Group) Text(name string) (string, error) {
	attr, err := g.group.OpenAttribute(name)
	if err != nil {
		return "", fmt.Errorf("attribute %q of %q is missing", name, g.path)
	}
	g.file.keep(attr)
	n, typ, err := g.inspect(attr, name)
	if err != nil {
		return "", err
	}
	g.file.keep(typ)
	if n != 1 || typ.Class() != hdf5.T_STRING {
		return "", fmt.Errorf("attribute %q of %q is not a single string", name, g.path)
	}
	if !typ.IsVariableStr() {
		list, err := g.fixed(attr, name, typ, 1)
		if err != nil {
			return "", err
		}
		return list[0], nil
	}
	var text string
	if err := attr.Read(&text, nil); err != nil {
		return "", fmt.Errorf("read attribute %q of %q: %w", name, g.path, err)
	}
	return text, nil
}

// Strings reads a list that SetStrings or Keras wrote, joining name0, name1, … when it was split.
func (g Group) Strings(name string) ([]string, error) {
	if attr, err := g.group.OpenAttribute(name); err == nil {
		return g.list(attr, name)
	}
	var all []string
	for i := 0; ; i++ {
		part := name + strconv.Itoa(i)
		attr, err := g.group.OpenAttribute(part)
		if err != nil && i == 0 {
			return nil, fmt.Errorf("attribute %q of %q is missing", name, g.path)
		}
		if err != nil {
			return all, nil
		}
		list, err := g.list(attr, part)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
}

// list reads one attribute. Keras writes an empty list as an array of no numbers.
func (g Group) list(attr *hdf5.Attribute, name string) ([]string, error) {
	g.file.keep(attr)
	n, typ, err := g.inspect(attr, name)
	if err != nil {
		return nil, err
	}
	g.file.keep(typ)
	if n == 0 {
		return nil, nil
	}
	if typ.Class() != hdf5.T_STRING {
		return nil, fmt.Errorf("attribute %q of %q is not a list of strings", name, g.path)
	}
	if typ.IsVariableStr() {
		return g.variable(attr, name, typ, n)
	}
	return g.fixed(attr, name, typ, n)
}

// inspect returns the number of elements and the type of an attribute.
func (g Group) inspect(attr *hdf5.Attribute, name string) (int, *hdf5.VarLenType, error) {
	space := attr.Space()
	if space == nil {
		return 0, nil, fmt.Errorf("attribute %q of %q has no shape", name, g.path)
	}
	g.file.keep(space)
	n := space.SimpleExtentNPoints()
	if n < 0 {
		return 0, nil, fmt.Errorf("attribute %q of %q has no shape", name, g.path)
	}
	return n, &hdf5.VarLenType{Datatype: hdf5.Datatype{Identifier: attr.GetType()}}, nil
}

// fixed reads n strings of the type's size through a buffer of exactly that size: the binding's own reading of such
// strings runs on past the end of one without a terminator.
func (g Group) fixed(attr *hdf5.Attribute, name string, typ *hdf5.VarLenType, n int) ([]string, error) {
	width := int(typ.Size())
	if width <= 0 || n > maxBytes/width {
		return nil, fmt.Errorf("attribute %q of %q has an impossible size", name, g.path)
	}
	data := make([]byte, n*width)
	if err := attr.Read(&data[0], &typ.Datatype); err != nil {
		return nil, fmt.Errorf("read attribute %q of %q: %w", name, g.path, err)
	}
	list := make([]string, n)
	for i := range list {
		s, _, _ := bytes.Cut(data[i*width:(i+1)*width], []byte{0})
		list[i] = string(s)
	}
	return list, nil
}

// variable reads n strings of variable length, which is how h5py stores a list. The library allocates each; the binding
// has no call that frees them, so the few kilobytes of names stay allocated.
func (g Group) variable(attr *hdf5.Attribute, name string, typ *hdf5.VarLenType, n int) ([]string, error) {
	if n > maxStrings {
		return nil, fmt.Errorf("attribute %q of %q has an impossible size", name, g.path)
	}
	texts := make([]unsafe.Pointer, n)
	if err := attr.Read(&texts[0], &typ.Datatype); err != nil {
		return nil, fmt.Errorf("read attribute %q of %q: %w", name, g.path, err)
	}
	list := make([]string, n)
	for i, text := range texts {
		if text == nil {
			continue
		}
		length := 0
		for *(*byte)(unsafe.Add(text, length)) != 0 {
			length++
		}
		list[i] = string(unsafe.Slice((*byte)(text), length))
	}
	return list, nil
}
