package manifest

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// file is a file of a class, by its names.
type file struct {
	source string // below the scanned root, as the disk has it, forward slashes
	path   string // in the manifest
	class  string
	side   Side
}

// layout is how a folder is organised, and what was left out while finding that.
type layout struct {
	files    []file
	classes  map[string]string // class name to its folder, as first seen
	sides    bool              // train/ val/ test/ folders are used
	problems []Problem
	skipped  map[Reason]int
	hidden   []string // the first few, for the sentence
	taken    map[string]bool
}

const hiddenShown = 3

// walk finds the dataset's root, its classes and all files in them.
func (s *scanner) walk() (layout, error) {
	w := &walker{s: s, layout: layout{classes: map[string]string{}, skipped: map[Reason]int{}, taken: map[string]bool{}}}
	top, err := w.top()
	if err != nil {
		return layout{}, err
	}
	sides := w.sideFolders(w.base, top)
	w.sides = sides != nil
	for _, e := range top {
		name := path.Join(w.base, e.Name)
		switch side, isSide := sides[e.Name]; {
		case isSide:
			err = w.classFolders(name, side)
		case !e.Kind.IsDir() || w.sides:
			w.stray(name, e)
		default:
			err = w.class(name, "")
		}
		if err != nil {
			return layout{}, err
		}
	}
	w.tellHidden()
	s.images = make([]*scanned, len(w.files))
	for i, f := range w.files {
		s.images[i] = &scanned{file: f, Image: Image{Class: f.class, Path: f.path, Split: f.side, Source: f.source}}
	}
	return w.layout, nil
}

// walker builds a layout.
type walker struct {
	s *scanner
	layout
	base string // folder that paths in the manifest are relative to
	full bool   // MaxFiles reached
}

// top lists the dataset's own root: the scanned folder, or the one folder in it that wraps the class folders. It sets base.
func (w *walker) top() ([]Entry, error) {
	w.base = "."
	entries, err := w.list(".")
	if err != nil {
		return nil, err
	}
	wrapper := ""
	for _, e := range entries {
		if e.Kind.IsDir() && wrapper != "" || !e.Kind.IsDir() && looksLikeImage(e.Name) {
			return entries, nil
		}
		if e.Kind.IsDir() {
			wrapper = e.Name
		}
	}
	if wrapper == "" {
		return entries, nil
	}
	// A folder that cannot be read becomes a problem later, as the class it then is.
	inner, _ := w.s.readDir(wrapper)
	folders := 0
	for _, e := range inner {
		if e.Kind.IsDir() {
			if !junk(e.Name) {
				folders++
			}
		} else if looksLikeImage(e.Name) {
			return entries, nil
		}
	}
	if folders < MinClasses {
		return entries, nil
	}
	w.base = wrapper
	for _, e := range entries {
		if !e.Kind.IsDir() {
			w.stray(e.Name, e)
		}
	}
	return w.list(wrapper)
}

// sideFolders maps folder names to sides when at least two sides are there and have only folders in them, so that
// classes that happen to be called train or test stay classes.
func (w *walker) sideFolders(base string, top []Entry) map[string]Side {
	sides := map[string]Side{}
	distinct := map[Side]bool{}
	for _, e := range top {
		side, ok := sideNames()[strings.ToLower(e.Name)]
		if !ok || !e.Kind.IsDir() {
			continue
		}
		inner, err := w.s.readDir(path.Join(base, e.Name))
		folders := slices.ContainsFunc(inner, func(e Entry) bool { return e.Kind.IsDir() && !junk(e.Name) })
		images := slices.ContainsFunc(inner, func(e Entry) bool { return !e.Kind.IsDir() && looksLikeImage(e.Name) })
		if err != nil || !folders || images {
			return nil
		}
		sides[e.Name] = side
		distinct[side] = true
	}
	if len(distinct) < 2 {
		return nil
	}
	return sides
}

func sideNames() map[string]Side {
	return map[string]Side{
		"train": Train, "training": Train,
		"val": Validation, "valid": Validation, "validation": Validation,
		"test": Test, "testing": Test,
	}
}

func (w *walker) classFolders(folder string, side Side) error {
	entries, err := w.list(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name)
		if !e.Kind.IsDir() {
			w.stray(name, e)
		} else {
			err = w.class(name, side)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// class adds a class folder.
func (w *walker) class(folder string, side Side) error {
	raw := path.Base(folder)
	name := cleanName(raw)
	shown := printable(name)
	switch first, known := w.classes[name]; {
	case len(name) > maxComponent:
		w.leave(Problem{Severity: Error, Reason: BadName, Path: w.relative(folder), Text: fmt.Sprintf("The folder name %s is too long (%d bytes; %d are possible), so its images are left out. Rename it.", shown, len(name), maxComponent)})
		return nil
	case !known:
		w.classes[name] = raw
		if strange(name) {
			w.problem(Problem{Severity: Warning, Reason: BadName, Class: name, Text: fmt.Sprintf("The class name %s has characters that cannot be seen or that act on a terminal. It is used as it is and shown like this; better rename the folder.", shown)})
		}
	case first != raw:
		w.problem(Problem{Severity: Warning, Reason: BadName, Class: name, Text: fmt.Sprintf("Two folders are called %s, written with different bytes for the same letters. They are used as one class; rename one if they are two.", shown)})
	}
	return w.tree(folder, name, side, 0)
}

// tree adds all files below a class folder.
func (w *walker) tree(folder, class string, side Side, depth int) error {
	entries, err := w.list(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name)
		switch {
		case w.full:
			return nil
		case e.Kind.IsDir() && depth >= maxDepth:
			w.leave(Problem{Severity: Error, Reason: BadName, Class: class, Path: w.relative(name), Text: fmt.Sprintf("The folder %s lies too deep (%d folders are possible), so its images are left out. Move it up.", printable(w.relative(name)), maxDepth)})
		case e.Kind.IsDir():
			if err := w.tree(name, class, side, depth+1); err != nil {
				return err
			}
		case e.Kind.IsRegular():
			w.add(name, class, side)
		default:
			w.link(name, class, e)
		}
	}
	return nil
}

// add adds a file under a name that is clean and unique.
func (w *walker) add(source, class string, side Side) {
	if len(w.files) == MaxFiles {
		w.full = true
		w.problem(Problem{Severity: Error, Reason: TooMany, Text: fmt.Sprintf("The folder has more than %d files, which is as many as a dataset can have. Take some away, or choose a folder with fewer.", MaxFiles)})
		return
	}
	p := w.relative(source)
	if w.taken[p] {
		was := p
		p = suffixed(p, source)
		w.problem(Problem{Severity: Warning, Reason: BadName, Class: class, Path: p, Text: fmt.Sprintf("Two files are called %s, written with different bytes for the same letters. The second is listed as %s; better rename it.", printable(was), printable(p))})
	}
	if !ValidPath(p) {
		w.leave(Problem{Severity: Error, Reason: BadName, Class: class, Path: p, Text: fmt.Sprintf("The path %s is too long or too deep (%d bytes and %d levels are possible), so the file is left out. Shorten its names.", printable(p), maxPath, maxDepth)})
		return
	}
	w.taken[p] = true
	w.files = append(w.files, file{source: source, path: p, class: class, side: side})
	w.s.update(func(pr *Progress) { pr.Files++ })
}

// relative is a path of the disk as the manifest has it.
func (w *walker) relative(source string) string {
	if w.base != "." {
		source = strings.TrimPrefix(source, w.base+"/")
	}
	parts := strings.Split(source, "/")
	for i, p := range parts {
		parts[i] = cleanName(p)
	}
	return strings.Join(parts, "/")
}

// stray reports what lies outside every class folder.
func (w *walker) stray(name string, e Entry) {
	p := w.relative(name)
	switch {
	case e.Kind.IsDir():
		w.leave(Problem{Severity: Warning, Reason: Stray, Path: p, Text: fmt.Sprintf("The folder %s lies beside the folders for training and testing, so it is left out. Move its images into one of these, or delete it.", printable(p))})
	case !e.Kind.IsRegular():
		w.link(name, "", e)
	case looksLikeImage(p):
		w.leave(Problem{Severity: Warning, Reason: Stray, Path: p, Text: fmt.Sprintf("%s lies outside every class folder, so it is left out. Move it into the folder of its class.", printable(p))})
	default:
		w.leave(Problem{Severity: Info, Reason: Stray, Path: p, Text: fmt.Sprintf("%s lies outside every class folder, so it is left out.", printable(p))})
	}
}

func (w *walker) link(name, class string, e Entry) {
	p := w.relative(name)
	what := "a special file"
	if e.Kind&fs.ModeSymlink != 0 {
		what = "a link"
	}
	w.leave(Problem{Severity: Warning, Reason: Link, Class: class, Path: p, Text: fmt.Sprintf("%s is %s and no file of its own, so it is left out. Put a copy of the image in its place.", printable(p), what)})
}

func (w *walker) problem(p Problem) {
	w.problems = append(w.problems, p)
	if p.Severity != Info {
		w.s.update(func(pr *Progress) { pr.Problems++ })
	}
}

// leave is problem for something that is left out.
func (w *walker) leave(p Problem) {
	w.skipped[p.Reason]++
	w.problem(p)
}

// list returns a folder's entries by name, without hidden ones, which it counts. A folder below the root that cannot be
// read is a problem and empty.
func (w *walker) list(folder string) ([]Entry, error) {
	if err := w.s.ctx.Err(); err != nil {
		return nil, fmt.Errorf("scan stopped: %w", err)
	}
	entries, err := w.s.readDir(folder)
	if err != nil {
		if folder == "." {
			return nil, err
		}
		w.leave(Problem{Severity: Error, Reason: Unreadable, Path: w.relative(folder), Text: fmt.Sprintf("The folder %s cannot be read (%s), so it is left out. Check its permissions.", printable(w.relative(folder)), plainError(err))})
		return nil, nil
	}
	kept := entries[:0]
	for _, e := range entries {
		if !junk(e.Name) {
			kept = append(kept, e)
			continue
		}
		if w.skipped[Hidden]++; len(w.hidden) < hiddenShown {
			w.hidden = append(w.hidden, path.Join(folder, e.Name))
		}
	}
	return kept, nil
}

func (w *walker) tellHidden() {
	if n := w.skipped[Hidden]; n > 0 {
		more := ""
		if n > len(w.hidden) {
			more = ", …"
		}
		w.problem(Problem{Severity: Info, Reason: Hidden, Text: fmt.Sprintf("%s skipped: %s%s.", count(n, "hidden or system file was", "hidden or system files were"), printables(w.hidden), more)})
	}
}

// readDir lists a folder by name.
func (s *scanner) readDir(folder string) ([]Entry, error) {
	out, err := s.tree.List(folder)
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// junk tells names that systems and tools leave behind and that are never a class nor an image.
func junk(name string) bool {
	if strings.HasPrefix(name, ".") {
		return true
	}
	switch strings.ToLower(name) {
	case "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "$recycle.bin", "system volume information", "@eadir", "lost+found":
		return true
	}
	return false
}
