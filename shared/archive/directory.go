package archive

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// Limits of an archive.
const (
	// MaxBytes is how large a zip file may be.
	MaxBytes = 20 << 30
	// MaxEntries leaves room for as many photos as a dataset may have, their folders, and what macOS adds.
	MaxEntries = 2*manifest.MaxFiles + 50_000

	// maxRatio is how many times its packed size an entry over freeSize may have; deflate reaches 1,032.
	maxRatio = 100
	freeSize = 1 << 20
	// maxAllRatio is how many times its size the whole archive may unpack to, beyond freeAll.
	maxAllRatio = 10
	freeAll     = 256 << 20
)

// Sizes and marks of records (PKWARE, APPNOTE.TXT 6.3.10, 4.3.12 to 4.3.16).
const (
	endSize       = 22
	locatorSize   = 20
	end64Size     = 56
	centralSize   = 46
	localSize     = 30
	maxComment    = 1<<16 - 1
	endMark       = "PK\x05\x06"
	locatorMark   = "PK\x06\x07"
	end64Mark     = "PK\x06\x06"
	centralMark   = "PK\x01\x02"
	encryptedFlag = 1
)

// Error says for people why a zip file cannot be used.
type Error struct{ Text string }

// Error returns the text.
func (e *Error) Error() string { return e.Text }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

const again = "Zip the folder again with any common program."

func damaged(why string) error { return refuse("The zip file is damaged: %s. %s", why, again) }

// readError tells what is wrong with the archive from what is wrong with reading it.
func readError(err error) error {
	if errors.Is(err, zip.ErrFormat) || errors.Is(err, zip.ErrAlgorithm) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("its list of files cannot be read")
	}
	return fmt.Errorf("read the zip file: %w", err)
}

// checkDirectory counts what the list of files holds before anybody makes a row of each: the list's end must say as many, and
// not too many.
func checkDirectory(r io.ReaderAt, size int64) error {
	if size > MaxBytes {
		return refuse("The zip file has %d GB; at most %d GB are possible. Make photos smaller, models look at a few hundred pixels; or send the folder with the terminal program.", size>>30, int64(MaxBytes)>>30)
	}
	at, count, length, err := end(r, size)
	if err != nil {
		return err
	}
	if count > MaxEntries {
		return refuse("The zip file has %d files; at most %d photos are possible in a dataset. Take some away.", count, manifest.MaxFiles)
	}
	if count == 0 {
		return refuse("The zip file is empty. Zip a folder that has a folder of photos for each class.")
	}
	if length < 0 || at < 0 || at > size-length || uint64(length) < count*centralSize {
		return damaged("the end of its list of files contradicts the list")
	}
	found, err := walk(r, at, length)
	if err != nil {
		return err
	}
	if found != count {
		return damaged(fmt.Sprintf("it claims %d files and lists %d", count, found))
	}
	return nil
}

// end finds where the list of files begins, how many it says it has, and its length. What the end of the file says of the
// place is not believed where something precedes the zip file itself, as in a program that unpacks itself.
func end(r io.ReaderAt, size int64) (at int64, count uint64, length int64, err error) {
	tail := make([]byte, min(size, endSize+maxComment+locatorSize))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, 0, fmt.Errorf("read the zip file: %w", err)
	}
	i := bytes.LastIndex(tail, []byte(endMark))
	for i >= 0 && (i+endSize > len(tail) || i+endSize+int(binary.LittleEndian.Uint16(tail[i+20:])) > len(tail)) {
		i = bytes.LastIndex(tail[:i], []byte(endMark))
	}
	if i < 0 {
		return 0, 0, 0, refuse("It is no zip file, or only a part of one: the end is missing. Send a zip file that has a folder of photos for each class.")
	}
	e := tail[i:]
	ends := size - int64(len(tail)) + int64(i) // where the list ends
	count, length = uint64(binary.LittleEndian.Uint16(e[10:])), int64(binary.LittleEndian.Uint32(e[12:]))
	if binary.LittleEndian.Uint16(e[4:]) != 0 && binary.LittleEndian.Uint16(e[4:]) != 0xffff {
		return 0, 0, 0, refuse("The zip file is one part of several. Make one that is whole.")
	}
	if count != 0xffff && length != 0xffffffff && binary.LittleEndian.Uint32(e[16:]) != 0xffffffff || i < locatorSize || string(tail[i-locatorSize:][:4]) != locatorMark {
		return ends - length, count, length, nil
	}
	where := int64(binary.LittleEndian.Uint64(tail[i-locatorSize+8:]))
	var large [end64Size]byte
	if where < 0 || where > size-end64Size {
		return 0, 0, 0, damaged("the end of its list of files contradicts the list")
	}
	if _, err := r.ReadAt(large[:], where); err != nil {
		return 0, 0, 0, fmt.Errorf("read the zip file: %w", err)
	}
	if string(large[:4]) != end64Mark {
		return 0, 0, 0, damaged("the end of its list of files is missing")
	}
	length = int64(binary.LittleEndian.Uint64(large[40:]))
	return where - length, binary.LittleEndian.Uint64(large[32:]), length, nil
}

// walk counts the records of the list.
func walk(r io.ReaderAt, at, length int64) (uint64, error) {
	list := bufio.NewReaderSize(io.NewSectionReader(r, at, length), 1<<16)
	var count uint64
	for left := length; left > 0; count++ {
		head, err := list.Peek(min(centralSize, int(min(left, centralSize))))
		if err != nil {
			return 0, fmt.Errorf("read the zip file: %w", err)
		}
		if len(head) < centralSize || string(head[:4]) != centralMark {
			break // what follows a list that is signed
		}
		n := centralSize + int(binary.LittleEndian.Uint16(head[28:])) + int(binary.LittleEndian.Uint16(head[30:])) + int(binary.LittleEndian.Uint16(head[32:]))
		if int64(n) > left {
			return 0, damaged("its list of files is cut short")
		}
		if _, err := list.Discard(n); err != nil {
			return 0, fmt.Errorf("read the zip file: %w", err)
		}
		left -= int64(n)
	}
	return count, nil
}

// checkEntries holds what entries claim against each other: bytes are of one entry only, and what is packed is not made up.
func checkEntries(files []*zip.File, size int64) error {
	type extent struct{ from, to int64 }
	extents := make([]extent, 0, len(files))
	var packed, unpacked uint64
	for _, f := range files {
		if f.Flags&encryptedFlag != 0 {
			return refuse("The zip file is protected by a password. Make one without.")
		}
		data, err := f.DataOffset()
		if err != nil {
			return damaged(shown(f.Name) + " is not where its list of files says")
		}
		if f.CompressedSize64 > uint64(size) || data > size-int64(f.CompressedSize64) {
			return damaged(shown(f.Name) + " is cut short")
		}
		// The local header has at least its name before the bytes.
		extents = append(extents, extent{data - localSize - int64(len(f.Name)), data + int64(f.CompressedSize64)})
		if usable(f) == nil {
			packed, unpacked = packed+f.CompressedSize64, unpacked+f.UncompressedSize64
		}
	}
	slices.SortFunc(extents, func(a, b extent) int { return int(min(max(a.from-b.from, -1), 1)) })
	for i := 1; i < len(extents); i++ {
		if extents[i].from < extents[i-1].to {
			return refuse("Files in the zip file overlap, which no honest program makes: it would unpack to far more than it is. %s", again)
		}
	}
	if unpacked > freeAll && unpacked > maxAllRatio*packed {
		return refuse("The zip file would unpack to %d MB, %d times its size, which photos never do. Send the photos themselves.", unpacked>>20, unpacked/max(packed, 1))
	}
	return nil
}

// usable tells why a file is not unpacked.
func usable(f *zip.File) error {
	switch {
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return &manifest.HeaderError{Reason: manifest.Unreadable, Text: fmt.Sprintf("is packed in a way that is rarely used (method %d), so it cannot be read. %s", f.Method, again)}
	case f.UncompressedSize64 > manifest.MaxFileBytes:
		return &manifest.HeaderError{Reason: manifest.TooLarge, Text: fmt.Sprintf("has %d MB; at most %d MB are possible. Save it smaller: models look at a few hundred pixels.", f.UncompressedSize64>>20, manifest.MaxFileBytes>>20)}
	case f.UncompressedSize64 > freeSize && f.UncompressedSize64 > maxRatio*f.CompressedSize64:
		return &manifest.HeaderError{Reason: manifest.Unreadable, Text: fmt.Sprintf("would unpack to %d times its size, which no photo does, so it is not unpacked. Save it as JPEG or PNG.", f.UncompressedSize64/max(f.CompressedSize64, 1))}
	}
	return nil
}
