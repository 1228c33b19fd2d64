package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

func system(env map[string]string, exists ...string) config.System {
	return config.System{
		Getenv: func(k string) string { return env[k] }, Executable: "/opt/cultivar/bin/cultivar-server", Home: "/home/ada",
		Exists: func(p string) bool {
			for _, e := range exists {
				if e == p {
					return true
				}
			}
			return false
		},
	}
}

func TestResolve(t *testing.T) {
	long := "/" + strings.Repeat("d", 120)
	for _, c := range []struct {
		name   string
		config config.Config
		sys    config.System
		want   config.Config
	}{
		{"nothing given", config.Config{}, system(nil),
			config.Config{Data: "/home/ada/.local/share/cultivar", Listen: "unix:/home/ada/.local/share/cultivar/server.sock", Bases: "/home/ada/.local/share/cultivar/bases"}},
		{"data folder of the environment", config.Config{}, system(map[string]string{"CULTIVAR_DATA": "/data", "XDG_DATA_HOME": "/x"}),
			config.Config{Data: "/data", Listen: "unix:/data/server.sock", Bases: "/data/bases"}},
		{"data folder of the desktop", config.Config{}, system(map[string]string{"XDG_DATA_HOME": "/x"}),
			config.Config{Data: "/x/cultivar", Listen: "unix:/x/cultivar/server.sock", Bases: "/x/cultivar/bases"}},
		{"the flag wins", config.Config{Data: "/flag", Bases: "/b"}, system(map[string]string{"CULTIVAR_DATA": "/data", "CULTIVAR_BASES": "/env"}),
			config.Config{Data: "/flag", Listen: "unix:/flag/server.sock", Bases: "/b"}},
		{"bases beside the program", config.Config{Data: "/d"}, system(nil, "/opt/cultivar/.deps/bases"),
			config.Config{Data: "/d", Listen: "unix:/d/server.sock", Bases: "/opt/cultivar/.deps/bases"}},
		{"own bases first", config.Config{Data: "/d"}, system(nil, "/opt/cultivar/.deps/bases", "/d/bases"),
			config.Config{Data: "/d", Listen: "unix:/d/server.sock", Bases: "/d/bases"}},
		{"long path, no runtime folder", config.Config{Data: long}, system(nil),
			config.Config{Data: long, Listen: "unix:" + long + "/server.sock", Bases: long + "/bases"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Trainer, c.want.Slots, c.want.Runner, c.want.Features = "/opt/cultivar/bin/cultivar-trainer", 1, config.RunnerLocal, 16<<30
			c.want.Volume = c.want.Data + "/volume"
			if got, err := c.config.Resolve(c.sys); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
	if got := config.SocketPath(long, "/run/user/1"); !strings.HasPrefix(got, "/run/user/1/cultivar-") || len(got) > 100 {
		t.Errorf("socket of a long path: %s", got)
	}
}

func TestListen(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "[::1]:80": true, "127.8.8.8:1": true, "unix:/a/b": true,
		"0.0.0.0:80": false, ":80": false, "192.168.1.5:80": false, "[::]:80": false, "example.org:80": false, "unix:rel": false, "127.0.0.1": false,
	} {
		_, err := config.Config{Data: "/d", Listen: listen}.Resolve(system(nil))
		if (err == nil) != ok {
			t.Errorf("%s: %v", listen, err)
		}
	}
}
