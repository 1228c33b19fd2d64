package hdf

// #include <hdf5.h>
import "C"

import (
	"errors"

	"gonum.org/v1/hdf5"
)

// timeless are the properties of a dataset that does not keep when it was made, which HDF5 notes in seconds otherwise: equal
// content makes equal files. The binding has no call for it.
func timeless() (*hdf5.PropList, error) {
	p, err := hdf5.NewPropList(hdf5.P_DATASET_CREATE)
	if err != nil {
		return nil, err
	}
	if C.H5Pset_obj_track_times(C.hid_t(p.ID()), false) < 0 {
		return nil, errors.Join(errors.New("HDF5 insists on noting times"), p.Close())
	}
	return p, nil
}
