package features

import (
	"bytes"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// What a pass takes of memory, measured with EfficientNet-Lite0 and MobileNetV2 at 224, 384 and 512 pixels and batches of
// 8: beside TensorFlow, the weights and the files read ahead, a session with a decoder for each worker, whose activations
// grow with the image. One worker took 645 MiB at 224 pixels and 1,292 at 512, each further one 290 and up to 910.
const (
	baseMemory   = 500 << 20
	workerMemory = 193 << 20
	pixelMemory  = 3 << 10 // of each worker, for each pixel of an image
)

// Workers is how many workers a pass over images of that side has on that many cores within limit bytes of memory; limit
// 0 is none. A tenth of the limit stays free, as a container that goes beyond it is killed. It is at least 1 and at most
// maxWorkers.
func Workers(cores int, limit int64, size int) int {
	n := min(cores, maxWorkers)
	if limit > 0 {
		each := int64(workerMemory) + pixelMemory*int64(size)*int64(size)
		n = int(min(int64(n), (limit-limit/10-baseMemory)/each))
	}
	return max(1, n)
}

// MemoryLimit is the least memory limit of the control groups that this process is in, bytes; 0: none is known. root is
// the root of the file system. Both versions of control groups are read (cgroups(7)): in a container the files are at
// the top of /sys/fs/cgroup, on a host at the process' group and those above it. What cannot be read sets no limit.
func MemoryLimit(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	for _, dir := range groups(root) {
		for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
			content, err := fs.ReadFile(root, path.Join(dir, name))
			if err != nil {
				continue
			}
			limit, err := strconv.ParseInt(string(bytes.TrimSpace(content)), 10, 64) // version 2 says "max" for none
			if err == nil && limit > 0 {
				least = min(least, limit)
			}
		}
	}
	if least >= noLimit {
		return 0
	}
	return least
}

// noLimit is less than what version 1 says for none, the largest multiple of a page, and more than any machine has.
const noLimit = 1 << 60

// groups lists the folders of the process' control groups for memory, without the leading slash, and of those above.
func groups(root fs.FS) []string {
	const v1, v2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
	dirs := []string{v2, v1}
	content, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return dirs
	}
	for line := range strings.Lines(string(content)) {
		// number:controllers:group, of version 2 with number 0 and no controllers.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		top := v2
		if fields[1] != "" {
			if !strings.Contains(","+fields[1]+",", ",memory,") {
				continue
			}
			top = v1
		}
		for group := path.Clean("/" + fields[2]); group != "/"; group = path.Dir(group) {
			dirs = append(dirs, top+group)
		}
	}
	return dirs
}
