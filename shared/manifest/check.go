package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	smallSide     = 32         // pixels below which there is little for a network made for 224 to see
	salvagePixels = 16_000_000 // a JPEG without an end marker is decoded to see if it is whole, up to this size
)

// readHeaders checks each file and sets its size, format, problems and whether it is left out.
func (s *scanner) readHeaders() error {
	return s.each(s.images, func(im *scanned) {
		s.checkFile(im)
		s.update(func(p *Progress) {
			p.Checked++
			for _, problem := range im.problems {
				if problem.Severity != Info {
					p.Problems++
				}
			}
			if im.skipped == "" {
				p.Images++
				p.Bytes += im.Size
				s.classes[im.Class]++
			}
		})
	})
}

func (s *scanner) checkFile(im *scanned) {
	f, info, err := s.open(im.source)
	var refused *HeaderError
	if errors.As(err, &refused) {
		im.leave(Error, refused.Reason, refused.Text)
		return
	}
	if err != nil {
		im.unreadable(err)
		return
	}
	defer f.Close()
	if !info.Mode().IsRegular() {
		im.leave(Error, Link, "is not a file of its own. Put a copy of the image in its place.")
		return
	}
	im.Size, im.mtime, im.inode = info.Size(), info.ModTime().UnixNano(), inode(info)
	h, err := ReadHeader(f, im.Size)
	switch {
	case errors.As(err, &refused):
		im.leave(Error, refused.Reason, refused.Text)
		return
	case err != nil:
		im.unreadable(err)
		return
	}
	if h.NoEnd && !whole(io.NewSectionReader(f, 0, im.Size), h) {
		im.leave(Error, Damaged, "is damaged: "+sayCut+". Copy it again from where it came, or delete it.")
		return
	}
	im.Width, im.Height, im.Format, im.Orientation = h.Width, h.Height, h.Format, h.Orientation
	im.remark(h)
}

// open opens a file, once, with what is said of that very file.
func (s *scanner) open(name string) (File, fs.FileInfo, error) {
	f, err := s.tree.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// whole decodes a JPEG that lacks its end marker with the marker added: when only that is missing, as some webcams leave
// it, all rows are there.
func whole(f io.Reader, h Header) bool {
	if h.Width*h.Height > salvagePixels {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes))
	if err != nil {
		return false
	}
	_, err = decodeImage(append(data, 0xff, 0xd9), JPEG)
	return err == nil
}

// remark adds what is good to know of a usable image.
func (im *scanned) remark(h Header) {
	if h.Width < smallSide || h.Height < smallSide {
		im.problem(Warning, TooSmall, "has only %d×%d pixels. It is used, but there is little in it to learn from; use a larger picture if there is one.", h.Width, h.Height)
	}
	if ext := path.Ext(im.Path); extensions()[strings.ToLower(ext)] != h.Format {
		was := "has no extension"
		if ext != "" {
			was = "is named " + printable(ext)
		}
		im.problem(Warning, WrongExtension, "%s but is %s inside. It is used as what it is; better rename it.", was, article(h.Format))
	}
	if h.Orientation > 1 {
		im.problem(Info, Rotated, "was taken with the camera turned (EXIF orientation %d). It is turned upright before training; nothing to do.", h.Orientation)
	}
	if h.Animated {
		im.problem(Info, Animated, "is animated. Only its first frame is used; nothing to do.")
	}
}

func article(f Format) string {
	return map[Format]string{JPEG: "a JPEG", PNG: "a PNG", GIF: "a GIF", BMP: "a BMP", WebP: "a WebP"}[f]
}

// problem adds a problem whose sentence begins with the file's name.
func (im *scanned) problem(severity Severity, reason Reason, format string, args ...any) *Problem {
	im.problems = append(im.problems, Problem{
		Severity: severity, Reason: reason, Class: im.Class, Path: im.Path,
		Text: printable(im.Path) + " " + fmt.Sprintf(format, args...),
	})
	return &im.problems[len(im.problems)-1]
}

// leave is problem for a file that is left out, which the sentence then says.
func (im *scanned) leave(severity Severity, reason Reason, text string) *Problem {
	im.skipped = reason
	p := im.problem(severity, reason, "%s", text)
	p.Text += " It is left out."
	return p
}

func (im *scanned) unreadable(err error) {
	im.leave(Error, Unreadable, "cannot be read ("+plainError(err)+"). Check its permissions and the disk.")
}
