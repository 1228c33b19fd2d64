// Package manifest describes a dataset: which images it has, in which classes, what is wrong with them, its digest and
// its split. It reads image headers and bytes for hashes, never a whole image's pixels except for dHash.
package manifest

// Format is an image file format, told by its first bytes, never by its name.
type Format string

// The formats that can be trained on.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	GIF  Format = "gif"
	BMP  Format = "bmp"
	WebP Format = "webp"
)

// Limits of a dataset; each is said to the user when met.
const (
	MaxPixels    = 64_000_000 // of one image
	MaxSide      = 16_384     // pixels
	MaxFileBytes = 32 << 20   // of one image file
	MaxFiles     = 500_000
	MaxClasses   = 1_000
	MinClasses   = 2
	MinPerClass  = 5 // fewer are warned of; one is refused
)

// Image is one file of a dataset, and one line of manifest.jsonl. Path is relative to the dataset's root with forward
// slashes, NFC; it is a name to show and never a path to open on a server. Pack, Offset and Length are filled in by the
// server when it stores the bytes.
type Image struct {
	Class       string `json:"class"`
	Path        string `json:"path"`
	SHA256      string `json:"sha256"` // lower-case hex
	Size        int64  `json:"size"`   // bytes
	Width       int    `json:"width"`  // pixels as stored, before orientation
	Height      int    `json:"height"`
	Format      Format `json:"format"`
	Orientation int    `json:"orientation,omitempty"` // EXIF 1…8; 0: none
	DHash       string `json:"dhash,omitempty"`       // 16 hex digits: 64-bit difference hash, horizontal gradient of a 9×8 grey thumbnail
	Split       Side   `json:"split,omitempty"`       // given by the user's train/ val/ test/ folders; empty: to be chosen
	Pack        string `json:"pack,omitempty"`        // hex name of the pack
	Offset      int64  `json:"offset,omitempty"`      // bytes from the start of the pack
	Length      int64  `json:"length,omitempty"`
	Source      string `json:"-"` // below the scanned folder, as the disk has it; only Scan sets it, see Local
}

// Local is the image's file relative to the folder that was scanned, with forward slashes: what to open on the machine of
// the scan. It differs from Path when a folder wraps the classes or when the disk's name is not NFC.
func (im Image) Local() string {
	if im.Source != "" {
		return im.Source
	}
	return im.Path
}

// Side is the part of the split an image belongs to.
type Side string

// The sides of a split.
const (
	Train      Side = "train"
	Validation Side = "val"
	Test       Side = "test"
)

// Severity orders problems.
type Severity string

// Error: the file is left out or the dataset cannot be trained. Warning: it trains, but look at it. Info: good to know.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Reason is a stable code of a problem; clients and tests key on it.
type Reason string

// The reasons. The comment says what Problem.Related holds where it is used.
const (
	NotAnImage     Reason = "not_an_image"      // bytes are of no image format we know
	Unsupported    Reason = "unsupported"       // an image format that cannot be trained on (TIFF, HEIC, AVIF, …)
	Empty          Reason = "empty"             // zero bytes
	Damaged        Reason = "damaged"           // header broken or file cut short
	TooManyPixels  Reason = "too_many_pixels"   // over MaxPixels or MaxSide
	TooLarge       Reason = "too_large"         // over MaxFileBytes
	TooSmall       Reason = "too_small"         // a side under 32 pixels
	WrongExtension Reason = "wrong_extension"   // content is another format than the name says
	Rotated        Reason = "rotated"           // EXIF orientation; it is applied
	Animated       Reason = "animated"          // only the first frame is used
	DuplicateIn    Reason = "duplicate"         // same bytes twice in a class; Related: the kept path
	DuplicateLeak  Reason = "duplicate_classes" // same bytes in two classes; Related: the other paths
	NearDuplicate  Reason = "near_duplicate"    // dHash distance ≤ 2; Related: the first of the group
	Hidden         Reason = "hidden"            // .DS_Store, Thumbs.db, __MACOSX, dot files: skipped and counted
	Stray          Reason = "stray"             // a file outside every class folder
	Link           Reason = "link"              // symbolic link or special file: skipped
	Unreadable     Reason = "unreadable"        // the system refused to open it
	FewImages      Reason = "few_images"        // class with fewer than MinPerClass
	EmptyClass     Reason = "empty_class"       // class folder without a usable image
	Imbalance      Reason = "imbalance"         // largest class over 5 times the smallest
	NoClasses      Reason = "no_classes"        // no class folder at all
	OneClass       Reason = "one_class"         // fewer than MinClasses usable classes
	SplitFolders   Reason = "split_folders"     // train/ val/ test/ found and used
	BadName        Reason = "bad_name"          // class or file name that cannot be used
	TooMany        Reason = "too_many"          // over MaxFiles or MaxClasses
)

// Problem is one thing to know about a dataset. Path is empty for problems of a class or of the whole.
type Problem struct {
	Severity Severity `json:"severity"`
	Reason   Reason   `json:"reason"`
	Class    string   `json:"class,omitempty"`
	Path     string   `json:"path,omitempty"`
	Text     string   `json:"text"` // a sentence: what, why, what to do
	Related  []string `json:"related,omitempty"`
}

// Manifest is a whole dataset. Images are sorted by class, then path. Classes is the one label order everywhere:
// sorted by code point, classes without images left out.
type Manifest struct {
	Name     string
	Classes  []string
	Images   []Image
	Problems []Problem
	Skipped  map[Reason]int // files left out, by reason
}
