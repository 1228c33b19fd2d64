// The trainer of the tests on a real cluster: it does what its spec file says.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 4 || os.Args[2] != "--spec" {
		fmt.Fprintln(os.Stderr, "arguments:", os.Args)
		os.Exit(10)
	}
	spec, err := os.ReadFile(os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(10)
	}
	behave(strings.TrimSpace(string(spec)))
}

func behave(what string) {
	switch what {
	case "succeed":
		os.Exit(0)
	case "noimage":
		os.Exit(11)
	case "interrupted":
		os.Exit(30)
	case "crash":
		// On one stream, as the trainer writes: a node reads two of them side by side, and has their lines in any order.
		fmt.Fprintln(os.Stderr, "a first line")
		fmt.Fprintln(os.Stderr, "the last words")
		os.Exit(1)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "listen":
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		write("listening") // before this, SIGTERM ends it with the runtime's own exit code
		<-term
		os.Exit(30)
	case "memory":
		var hoard [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			hoard = append(hoard, b)
		}
	case "disk":
		f, err := os.Create("/tmp/full")
		for err == nil {
			_, err = f.Write(make([]byte, 1<<20))
			time.Sleep(5 * time.Millisecond)
		}
	case "part":
		if os.Getenv("JOB_COMPLETION_INDEX") == "" {
			os.Exit(10)
		}
		os.Exit(0)
	case "look":
		look()
	}
	for {
		time.Sleep(time.Minute) // until somebody ends it
	}
}

// look exits with 0 when everything is as a trainer may expect it.
func look() {
	for _, name := range []string{"CULTIVAR_EXECUTOR", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"} {
		if os.Getenv(name) == "" {
			fail(name + " is not set")
		}
	}
	if token, err := os.ReadFile("/var/run/secrets/cultivar/token"); err != nil || strings.Count(string(token), ".") != 2 {
		fail(fmt.Sprint("no token: ", err))
	}
	if os.Getuid() != 65532 {
		fail("the user is another")
	}
	if os.WriteFile("/root-is-writable", nil, 0o600) == nil {
		fail("the root is writable")
	}
	if err := os.WriteFile("/tmp/x", nil, 0o600); err != nil {
		fail(err.Error())
	}
	write("written")
	os.Exit(0)
}

// write makes a file in the task's folder.
func write(name string) {
	if err := os.WriteFile(filepath.Join(filepath.Dir(os.Args[3]), name), []byte(os.Getenv("CULTIVAR_EXECUTOR")), 0o644); err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
