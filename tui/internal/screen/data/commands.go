package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/adrg/xdg"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/tui/internal/home"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/thumb"
)

const (
	redraw    = 100 * time.Millisecond // at most so often during a scan
	maxRecent = 5
	maxSurvey = 3000 // entries looked at in one folder of the list
	maxList   = 2000 // folders in the list
)

// listedMsg is a folder's sub-folders and the datasets used before.
type listedMsg struct {
	dir     string
	folders []string
	recent  []string
	err     error
}

// survey is a first look at a folder: files are told by their names only.
type survey struct {
	images  int
	classes int // sub-folders with images
	more    bool
}

type surveyedMsg struct {
	dir    string // of the list
	path   string
	survey survey
}

// scanItem is one thing a scan told.
type scanItem struct {
	progress *manifest.Progress
	headers  *manifest.Manifest
	whole    *manifest.Manifest
	err      error
}

type scanMsg struct {
	root  string
	feed  *screen.Feed[scanItem]
	items []scanItem
	over  bool
}

type thumbMsg struct {
	key   string
	image thumb.Image
	err   error
}

// checkedMsg says whether a typed path is a folder.
type checkedMsg struct {
	path string
	err  error
}

func (m *Model) browse(dir string) tea.Cmd {
	return func() tea.Msg {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return listedMsg{dir: dir, err: err}
		}
		msg := listedMsg{dir: abs, recent: readRecent()}
		list, err := os.ReadDir(abs)
		if err != nil {
			msg.err = fmt.Errorf("the folder cannot be listed: %w", err)
			return msg
		}
		for _, e := range list {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && len(msg.folders) < maxList {
				msg.folders = append(msg.folders, e.Name())
			}
		}
		return msg
	}
}

func lookInto(dir, path string, deep bool) tea.Cmd {
	return func() tea.Msg { return surveyedMsg{dir: dir, path: path, survey: look(path, deep)} }
}

// look counts files with an image's name, and the direct sub-folders that have some.
func look(root string, deep bool) survey {
	var s survey
	seen := 0
	classes := map[string]bool{}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // a folder that cannot be read has nothing to count
		}
		if seen++; seen > maxSurvey {
			s.more = true
			return fs.SkipAll
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return nil
		}
		parts := strings.Split(rel, string(filepath.Separator))
		if strings.HasPrefix(d.Name(), ".") || d.IsDir() && (len(parts) > 3 || !deep && len(parts) > 1) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.IsDir() && imageName(d.Name()) {
			s.images++
			if len(parts) > 1 {
				classes[parts[0]] = true
			}
		}
		return nil
	})
	s.classes = len(classes)
	return s
}

func imageName(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp":
		return true
	}
	return false
}

func check(path string) tea.Cmd {
	return func() tea.Msg {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("there is no folder %s; check its name", text.Home(path))
		case err == nil && !info.IsDir():
			err = fmt.Errorf("%s is a file; give the folder that holds one folder per class", text.Home(path))
		}
		return checkedMsg{path: path, err: err}
	}
}

func (m *Model) startScan(ctx context.Context, root string) tea.Cmd {
	return func() tea.Msg {
		feed := screen.StartFeed(ctx, redraw, func(ctx context.Context, emit func(scanItem)) {
			mf, err := manifest.Scan(ctx, root, manifest.ScanOptions{
				Cache:    home.ScanCache(root),
				Progress: func(p manifest.Progress) { emit(scanItem{progress: &p}) },
				Headers:  func(mf *manifest.Manifest) { emit(scanItem{headers: mf}) },
			})
			if err == nil {
				writeRecent(root)
			}
			emit(scanItem{whole: mf, err: err})
		})
		return nextScan(root, feed)()
	}
}

func nextScan(root string, feed *screen.Feed[scanItem]) tea.Cmd {
	return func() tea.Msg {
		items, ok := feed.Next()
		return scanMsg{root: root, feed: feed, items: items, over: !ok}
	}
}

func makeThumb(key, path string, orientation, w, h int) tea.Cmd {
	return func() tea.Msg {
		im, err := thumb.Load(path, orientation, w, h)
		return thumbMsg{key: key, image: im, err: err}
	}
}

// recentFile keeps the folders used last, newest first.
func recentFile() (string, error) { return xdg.StateFile("cultivar/recent.json") }

func readRecent() []string {
	path, err := recentFile()
	if err != nil {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var all []string
	if json.Unmarshal(b, &all) != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(dir string) bool {
		info, err := os.Stat(dir)
		return err != nil || !info.IsDir()
	})
}

// writeRecent remembers a folder. It is a convenience: when it fails, the list is just shorter next time.
func writeRecent(root string) {
	path, err := recentFile()
	if err != nil {
		return
	}
	all := slices.DeleteFunc(readRecent(), func(dir string) bool { return dir == root })
	all = append([]string{root}, all...)
	b, err := json.Marshal(all[:min(len(all), maxRecent)])
	if err != nil {
		return
	}
	if os.WriteFile(path+".new", b, 0o600) == nil {
		_ = os.Rename(path+".new", path)
	}
}
