package data

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// Sent is the name that stands for the bytes that are sent rather than for a file.
const Sent = "-"

// Files lists the user's files that are named, and of folders all regular files in them and below, in order of their
// names. Hidden files are left out. Of a folder whose sub-folders are all named as one of labels, what lies in those has
// that class. The name Sent takes what r holds as one file. Whether they are images turns out when they are read.
func Files(names, labels []string, r io.Reader) ([]Item, error) {
	var items []Item
	for _, name := range names {
		if name == Sent {
			content, err := io.ReadAll(io.LimitReader(r, manifest.MaxFileBytes+1))
			if err != nil {
				return nil, fmt.Errorf("read the image that is sent: %w", err)
			}
			items = append(items, Item{Path: name, Bytes: content, Class: -1})
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("look for images: %w", err)
		}
		if !info.IsDir() {
			items = append(items, Item{Path: name, File: name, Class: -1})
			continue
		}
		below, err := walk(name)
		if err != nil {
			return nil, err
		}
		classes, err := classes(name, labels)
		if err != nil {
			return nil, err
		}
		for _, path := range below {
			class := -1
			if in, err := filepath.Rel(name, path); err == nil {
				if at, ok := classes[strings.Split(in, string(filepath.Separator))[0]]; ok {
					class = at
				}
			}
			items = append(items, Item{Path: path, File: path, Class: class})
		}
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("there is no file in %s", strings.Join(names, ", "))
	}
	return items, nil
}

// walk lists the regular, visible files in a folder and below.
func walk(folder string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch hidden := strings.HasPrefix(d.Name(), ".") && path != folder; {
		case err != nil:
			return err
		case hidden && d.IsDir():
			return filepath.SkipDir
		case !hidden && d.Type().IsRegular():
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for images: %w", err)
	}
	return paths, nil
}

// classes are the positions in labels of a folder's sub-folders, or none when one of them is no label.
func classes(folder string, labels []string) (map[string]int, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("look for class folders: %w", err)
	}
	at := map[string]int{}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		class := slices.Index(labels, norm.NFC.String(e.Name()))
		if class < 0 {
			return nil, nil
		}
		at[e.Name()] = class
	}
	return at, nil
}

// ClassFolders lists the files of a folder that has one folder per class; every name must be one of labels.
func ClassFolders(folder string, labels []string) ([]Item, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("look for class folders: %w", err)
	}
	var items []Item
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		class := slices.Index(labels, norm.NFC.String(e.Name()))
		if class < 0 {
			return nil, fmt.Errorf("the model knows no class %q; rename the folder to one of %q, or move it elsewhere", e.Name(), labels)
		}
		paths, err := walk(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			items = append(items, Item{Path: path, File: path, Class: class})
		}
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("there are no images in class folders of %q; it must have one folder for each class", folder)
	}
	return items, nil
}
