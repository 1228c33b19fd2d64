package data

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Files lists the user's files that are named, and of folders all regular files in them and below, in order of their
// names. Hidden files are left out. Whether they are images turns out when they are read.
func Files(names []string) ([]Item, error) {
	var items []Item
	for _, name := range names {
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
		for _, path := range below {
			items = append(items, Item{Path: path, File: path, Class: -1})
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
