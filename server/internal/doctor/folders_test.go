package doctor_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/doctor"
	"github.com/cultivar-ml/cultivar/server/internal/store"
)

// damage spoils pages in the middle of a file.
func damage(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	for page := range 4 {
		_, err = f.WriteAt(make([]byte, 3000), int64(page+2)*4096)
		must(t, err)
	}
}

func TestFolders(t *testing.T) {
	for _, c := range []struct {
		name         string
		root         bool // needs root
		change       func(*installation)
		group, check string
		state        doctor.State
		text, remedy string
	}{
		{name: "good data", group: "data folder", check: "data folder", state: doctor.OK, text: "can be written"},
		{name: "good disk", group: "data folder", check: "data disk", state: doctor.OK, text: "local disk, "},
		{
			name: "no data yet", change: func(i *installation) { must(i, os.RemoveAll(i.Config.Data)) },
			group: "data folder", check: "data folder", state: doctor.Warning, text: "is not there; the server makes it", remedy: "--config",
		},
		{
			name: "a file in place of the data folder", change: func(i *installation) {
				must(i, os.RemoveAll(i.Config.Data))
				write(i, i.Config.Data, "", 0o600)
			},
			group: "data folder", check: "data folder", state: doctor.Failed, text: "is a file, but the server needs a folder", remedy: "is in the way",
		},
		{
			name: "a file above the data folder", change: func(i *installation) { i.Config.Data = filepath.Join(i.File, "data"); write(i, i.File, "", 0o600) },
			group: "data folder", check: "data folder", state: doctor.Failed, text: "not a directory", remedy: "is in the way",
		},
		{
			name: "a data folder where nobody may write", change: func(i *installation) { i.Config.Data = "/proc/self" },
			group: "data folder", check: "data folder", state: doctor.Failed, text: "/proc/self cannot be written by", remedy: "/proc/self",
		},
		{
			name: "root made the database", root: true, change: func(i *installation) {
				chown(i, i.Config.Data, 65532)
				must(i, os.Chown(i.Database, 0, 0))
			},
			group: "data folder", check: "data folder", state: doctor.Failed, text: "belongs to root (0), the folder to 65532", remedy: "chown -R 65532",
		},
		{
			name: "the owner may not write", root: true, change: func(i *installation) {
				chown(i, i.Config.Data, 65532)
				must(i, os.Chmod(i.Config.Data, 0o500))
			},
			group: "data folder", check: "data folder", state: doctor.Failed, text: "cannot be written by its owner, 65532", remedy: "chmod u+rwx",
		},
		{
			name: "everybody may look", change: func(i *installation) { must(i, os.Chmod(i.Config.Data, 0o755)) },
			group: "data folder", check: "data folder", state: doctor.Warning, text: "every account of this machine", remedy: "chmod 700",
		},
		{name: "good volume", group: "volume", check: "volume", state: doctor.OK, text: "takes files durably: written, synced, renamed, read back, removed; 3 folders of users"},
		{name: "good volume's disk", group: "volume", check: "volume disk", state: doctor.OK, text: "local disk, "},
		{
			name: "no volume yet", change: func(i *installation) { must(i, os.RemoveAll(i.Config.Volume)) },
			group: "volume", check: "volume", state: doctor.OK, text: "the server makes it when it starts",
		},
		{
			name: "no volume though a server runs", change: func(i *installation) {
				i.serve(http.StatusOK, "")
				must(i, os.RemoveAll(i.Config.Volume))
			},
			group: "volume", check: "volume", state: doctor.Failed, text: "is not there", remedy: "Mount the shared volume",
		},
		{
			name: "a file in place of the volume", change: func(i *installation) { i.Config.Volume = write(i, filepath.Join(i.dir, "file"), "", 0o600) },
			group: "volume", check: "volume", state: doctor.Failed, text: "is a file, but the server needs a folder", remedy: "is in the way",
		},
		{
			name: "a volume where nobody may write", change: func(i *installation) { i.Config.Volume = "/proc/self" },
			group: "volume", check: "volume", state: doctor.Failed, text: "/proc/self cannot be written by", remedy: "/proc/self",
		},
		{
			name: "a file in place of the users", change: func(i *installation) {
				must(i, os.RemoveAll(filepath.Join(i.Config.Volume, "users")))
				write(i, filepath.Join(i.Config.Volume, "users"), "", 0o600)
			},
			group: "volume", check: "volume", state: doctor.Failed, text: "users: not a directory", remedy: "is in the way",
		},
		{
			name: "the kubelet made two folders", root: true, change: func(i *installation) {
				for _, kind := range []string{"features", "tasks"} {
					must(i, os.Mkdir(filepath.Join(i.Config.Volume, "users", "ada", kind), 0o755))
				}
				chown(i, i.Config.Data, 65532)
				for _, kind := range []string{"features", "tasks"} {
					must(i, os.Chown(filepath.Join(i.Config.Volume, "users", "ada", kind), 0, 0))
				}
			},
			group: "volume", check: "volume", state: doctor.Failed, text: "users/ada/features, and 1 more cannot be written by the server's account, 65532", remedy: "chown -R 65532",
		},
		{
			name: "another account than the trainers'", root: true, change: func(i *installation) {
				chown(i, i.Config.Data, 65533)
				i.Config.Runner = config.RunnerKubernetes
			},
			group: "volume", check: "volume", state: doctor.Warning, text: "can be written by 65533, but trainers run as 65532", remedy: "Run the server as 65532",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				rooted(t)
			}
			i := install(t)
			if c.change != nil {
				c.change(i)
			}
			expect(t, one(t, doctor.Look(t, i.Options, c.group), c.check), c.state, c.text, c.remedy)
		})
	}
}

func TestRoom(t *testing.T) {
	const gb = 1_000_000_000
	for _, c := range []struct {
		name         string
		free, total  uint64
		urgent       bool
		state        doctor.State
		text, remedy string
	}{
		{"at the share", 5 * gb, 100 * gb, true, doctor.OK, "local disk, 5.0 GB of 100 GB free (5 %)", ""},
		{"below it, for data", 5*gb - 1, 100 * gb, false, doctor.Warning, "a full disk stops the server", "Make room"},
		{"below it, for the volume", 5*gb - 1, 100 * gb, true, doctor.Failed, "below 5 % the server refuses uploads", "Make room"},
		{"at the least", gb, 10 * gb, true, doctor.OK, "1.0 GB of 10 GB", ""},
		{"below the least", gb - 1, 2 * gb, false, doctor.Failed, "less than 1.0 GB is too little", "Make room"},
		{"nothing", 0, 0, false, doctor.Failed, "0 bytes of 0 bytes free (0 %)", "Make room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, doctor.Room("data disk", "local disk", c.free, c.total, gb, c.urgent), c.state, c.text, c.remedy)
		})
	}
	for n, want := range map[uint64]string{0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 9_960: "10 kB", 999_600: "1.0 MB", 1 << 60: "1153 PB"} {
		if got := doctor.Size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestDatabase(t *testing.T) {
	execute := func(i *installation, query string) {
		db, err := sql.Open("sqlite", i.Database)
		must(i, err)
		_, err = db.ExecContext(i.Context(), query)
		must(i, err)
		must(i, db.Close())
	}
	for _, c := range []struct {
		name         string
		change       func(*installation)
		state        doctor.State
		text, remedy string
	}{
		{"good", func(*installation) {}, doctor.OK, "is sound; schema ", ""},
		{"none yet", func(i *installation) { must(i, os.Remove(i.Database)) }, doctor.OK, "is not there yet", ""},
		{"in use", func(i *installation) {
			db, err := store.Open(i.Context(), i.Database, time.Now)
			must(i, err)
			i.Cleanup(func() { _ = db.Close() })
		}, doctor.OK, "is sound", ""},
		{"being written", func(i *installation) {
			db, err := sql.Open("sqlite", i.Database)
			must(i, err)
			i.Cleanup(func() { _ = db.Close() })
			c, err := db.Conn(i.Context())
			must(i, err)
			i.Cleanup(func() { _ = c.Close() })
			_, err = c.ExecContext(i.Context(), "BEGIN IMMEDIATE; CREATE TABLE x (y)")
			must(i, err)
		}, doctor.OK, "is sound", ""},
		{"damaged", func(i *installation) { damage(i, i.Database) }, doctor.Failed, "is damaged: ", "restore the last backup"},
		{"no database", func(i *installation) { write(i, i.Database, "something else, and long enough for a header", 0o600) }, doctor.Failed, "is damaged: file is not a database", "restore the last backup"},
		{"a folder", func(i *installation) {
			must(i, os.Remove(i.Database))
			must(i, os.Mkdir(i.Database, 0o700))
		}, doctor.Failed, "is a folder, but", "is in the way"},
		{"of a newer release", func(i *installation) {
			execute(i, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		}, doctor.Failed, "has schema 99, but this program knows up to", "newer one"},
		{"of an older release", func(i *installation) {
			execute(i, "DELETE FROM goose_db_version WHERE version_id > 1")
		}, doctor.Warning, "schema 1, ", "Make a backup"},
		{"never migrated", func(i *installation) { execute(i, "DROP TABLE goose_db_version") }, doctor.Warning, "schema 0, ", "Make a backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := install(t)
			c.change(i)
			before := i.tree()
			expect(t, one(t, doctor.Look(t, i.Options, "database"), "database"), c.state, c.text, c.remedy)
			if after := i.tree(); len(after) != len(before) {
				t.Errorf("it left files: %v", after)
			}
		})
	}
}

func TestInspectionEndsWithItsContext(t *testing.T) {
	i := install(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Inspect(ctx, i.Database); err == nil {
		t.Error("it went on")
	}
}

// TestMain is also the program that holds a database locked until its input ends.
func TestMain(m *testing.M) {
	path := os.Getenv("DOCTOR_TEST_LOCK")
	if path == "" {
		os.Exit(m.Run())
	}
	db, err := sql.Open("sqlite", path)
	if err == nil {
		db.SetMaxOpenConns(1)
		_, err = db.Exec("BEGIN IMMEDIATE")
	}
	_, _ = fmt.Println("locked", err)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestLockedByAnotherProgram(t *testing.T) {
	i := install(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "DOCTOR_TEST_LOCK="+i.Database)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	said, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	if said != "locked <nil>\n" {
		t.Fatal(said)
	}
	doctor.SetBusyPatience(t, 100*time.Millisecond)
	who := fmt.Sprintf("has been locked for 100ms by process %d (doctor.test)", cmd.Process.Pid)
	expect(t, one(t, doctor.Look(t, i.Options, "database"), "database"), doctor.Failed, who, "End that program")
	must(t, in.Close())
	must(t, cmd.Wait())
	expect(t, one(t, doctor.Look(t, i.Options, "database"), "database"), doctor.OK, "is sound", "")
}
