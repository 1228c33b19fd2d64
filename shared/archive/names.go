package archive

import (
	"archive/zip"
	"path"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"github.com/cultivar-ml/cultivar/shared/safe"
)

// cleaned is an entry's name as a path below the top, and whether it is a folder. What leads out of the top keeps its "..".
func cleaned(f *zip.File, slashes bool) (name string, isFolder bool) {
	name = decoded(f)
	if slashes {
		name = strings.ReplaceAll(name, `\`, "/")
	}
	isFolder = strings.HasSuffix(name, "/") || f.Mode().IsDir()
	for strings.HasPrefix(name, "./") {
		name = name[len("./"):]
	}
	if name = strings.TrimSuffix(name, "/"); name == "" {
		return ".", isFolder
	}
	return name, isFolder
}

// decoded is an entry's name as text: UTF-8 where it is that, whatever the flag says, since macOS does not set it; else the
// code page of the format (APPNOTE.TXT, appendix D).
func decoded(f *zip.File) string {
	if utf8.ValidString(f.Name) {
		return f.Name
	}
	text, err := charmap.CodePage437.NewDecoder().String(f.Name)
	if err != nil {
		return f.Name
	}
	return text
}

// within tells whether a cleaned name stays below the top.
func within(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return false
		}
	}
	return true
}

// backslashed tells whether the archive was made by a program that writes Windows' paths as they are.
func backslashed(files []*zip.File) bool {
	found := false
	for _, f := range files {
		if strings.Contains(f.Name, "/") {
			return false
		}
		found = found || strings.Contains(f.Name, `\`)
	}
	return found
}

// shown is a name that nobody has looked at yet, to be shown.
func shown(name string) string {
	return safe.Text(path.Base(strings.ToValidUTF8(name, "\ufffd"))).String()
}
