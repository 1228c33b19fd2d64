package features_test

import (
	"testing"
	"testing/fstest"

	"github.com/cultivar-ml/cultivar/trainer/internal/features"
)

func TestWorkers(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		cores int
		limit int64
		size  int
		want  int
	}{
		"no limit":                 {2, 0, 512, 2},
		"many cores":               {96, 0, 224, 16},
		"no core is known":         {0, 0, 224, 1},
		"less than one takes":      {8, 256 * mib, 224, 1},
		"one byte":                 {8, 1, 224, 1},
		"1 GiB":                    {8, 1024 * mib, 224, 1},
		"2 GiB":                    {8, 2048 * mib, 224, 3},
		"4 GiB":                    {8, 4096 * mib, 224, 8},
		"larger images, 4 GiB":     {8, 4096 * mib, 384, 5},
		"largest images, 4 GiB":    {8, 4096 * mib, 512, 3},
		"largest images, 2 GiB":    {8, 2048 * mib, 512, 1},
		"more memory than cores":   {2, 64 << 30, 224, 2},
		"more memory than workers": {96, 1 << 50, 512, 16},
	} {
		if got := features.Workers(c.cores, c.limit, c.size); got != c.want {
			t.Errorf("%s: %d workers on %d cores with %d MiB at %d pixels, want %d", name, got, c.cores, c.limit/mib, c.size, c.want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	type files map[string]string
	for name, c := range map[string]struct {
		files files
		want  int64
	}{
		"nothing to read": {files{}, 0},
		"container, version 2": {files{"proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "2147483648\n"}, 2147483648},
		"container without a limit, version 2": {files{"proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "max\n"}, 0},
		"container, version 1": {files{"proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"}, 1073741824},
		"container without a limit, version 1": {files{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"a group above has less": {files{"proc/self/cgroup": "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/b.service/memory.max": "max\n", "sys/fs/cgroup/a.slice/memory.max": "1000000000\n"}, 1000000000},
		"the group itself has less": {files{"proc/self/cgroup": "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/b.service/memory.max": "500\n", "sys/fs/cgroup/a.slice/memory.max": "1000\n"}, 500},
		"memory among several controllers": {files{"proc/self/cgroup": "3:cpu,memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "700\n"}, 700},
		"another controller's group": {files{"proc/self/cgroup": "3:cpu:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "700\n"}, 0},
		"outside the namespace": {files{"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/x/memory.max": "700\n"}, 700},
		"nonsense": {files{"proc/self/cgroup": "\n::\n0:\n0::\n\x00:a\n",
			"sys/fs/cgroup/memory.max": "many\n"}, 0},
		"less than nothing":  {files{"sys/fs/cgroup/memory.max": "-1\n"}, 0},
		"more than a number": {files{"sys/fs/cgroup/memory.max": "99999999999999999999\n"}, 0},
		"zero":               {files{"sys/fs/cgroup/memory.max": "0\n"}, 0},
	} {
		root := fstest.MapFS{}
		for path, content := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(content)}
		}
		if got := features.MemoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
