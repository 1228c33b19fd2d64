package data

import (
	"bytes"
	"fmt"
	"image"
	"image/gif"
	"image/png"
	"io"
	"strings"
	"sync"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"
	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// hugePixels is from where on images are decoded one at a time, so that a folder of such photos does not take the
// memory of one a core: 16 megapixels are 64 MB while decoding.
const hugePixels = 16_000_000

// Decoder turns files into pixels. JPEG goes through TensorFlow's libjpeg-turbo, which can shrink while decoding;
// everything else through Go. It is used by one goroutine at a time.
type Decoder struct {
	session *tf.Session
	input   tf.Output
	jpeg    [4]tf.Output // shrinking by 1, 2, 4, 8
	huge    *sync.Mutex
}

// NewDecoder opens a decoder. huge is shared by all decoders of a process. The caller closes it.
func NewDecoder(huge *sync.Mutex) (*Decoder, error) {
	s := op.NewScope()
	d := &Decoder{input: op.Placeholder(s, graft.String, op.PlaceholderShape(graft.ScalarShape())), huge: huge}
	for i := range d.jpeg {
		d.jpeg[i] = op.DecodeJpeg(s.SubScope(fmt.Sprintf("by%d", 1<<i)), d.input,
			op.DecodeJpegChannels(3), op.DecodeJpegRatio(1<<i), op.DecodeJpegFancyUpscaling(true))
	}
	graph, err := s.Finalize()
	if err != nil {
		return nil, fmt.Errorf("build the JPEG decoder: %w", err)
	}
	if d.session, err = tf.NewSession(graph, tf.Threads{Intra: 1, Inter: -1}); err != nil {
		return nil, err
	}
	return d, nil
}

// Close frees the decoder.
func (d *Decoder) Close() error { return d.session.Close() }

// Decode returns the upright pixels of an image file. A JPEG comes shrunk by 2, 4 or 8 as long as its shorter side
// stays at least need pixels; need 0 never shrinks. The error is a *Fault when it is the file that is at fault.
func (d *Decoder) Decode(file []byte, need int) (Pixels, error) {
	format := sniff(file)
	if format == "" {
		return Pixels{}, unknown(file)
	}
	width, height, orientation, err := dimensions(format, file)
	if err != nil {
		return Pixels{}, err
	}
	if int64(width)*int64(height) > manifest.MaxPixels || max(width, height) > manifest.MaxSide {
		return Pixels{}, &Fault{manifest.TooManyPixels, fmt.Sprintf(
			"it has %d×%d pixels, more than the %d million that fit; make it smaller", width, height, manifest.MaxPixels/1_000_000)}
	}
	if width*height > hugePixels {
		d.huge.Lock()
		defer d.huge.Unlock()
	}
	if format != manifest.JPEG {
		return decodeGo(format, file)
	}
	ratio := 0
	for ratio < len(d.jpeg)-1 && need > 0 && shrunk(min(width, height), ratio+1) >= need {
		ratio++
	}
	p, err := d.decodeJPEG(file, ratio)
	if err != nil {
		return Pixels{}, err
	}
	return upright(p, orientation), nil
}

// shrunk is a side after libjpeg's scaling by 1/2^power, which rounds up.
func shrunk(side, power int) int { return (side + 1<<power - 1) >> power }

func (d *Decoder) decodeJPEG(file []byte, ratio int) (Pixels, error) {
	contents, err := graft.NewTensor(string(file))
	if err != nil {
		return Pixels{}, fmt.Errorf("decode a JPEG: %w", err)
	}
	out, err := tf.Run(d.session, d.input, contents, d.jpeg[ratio])
	if err != nil {
		return Pixels{}, &Fault{manifest.Damaged, "its JPEG data are damaged or cut short (" + firstLine(err) + ")"}
	}
	shape := out[0].Shape()
	p := Pixels{Width: int(shape[1]), Height: int(shape[0])}
	p.RGB = make([]uint8, 0, p.Width*p.Height*3)
	buffer := bytes.NewBuffer(p.RGB)
	if _, err := out[0].WriteContentsTo(buffer); err != nil {
		return Pixels{}, fmt.Errorf("decode a JPEG: %w", err)
	}
	p.RGB = buffer.Bytes()
	return p, nil
}

// firstLine drops the graph nodes that TensorFlow lists below its message.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSpace(text)
}

// dimensions reads the header: sides as stored, and the EXIF orientation.
func dimensions(format manifest.Format, file []byte) (width, height, orientation int, err error) {
	if format == manifest.JPEG {
		h, ok := readJPEGHeader(file)
		if !ok {
			return 0, 0, 0, &Fault{manifest.Damaged, "its JPEG header is damaged; save it again from the original"}
		}
		return h.width, h.height, h.orientation, nil
	}
	config, err := guarded(func() (image.Config, error) { return configOf(format, bytes.NewReader(file)) })
	if err != nil || config.Width <= 0 || config.Height <= 0 {
		return 0, 0, 0, damaged(format, err)
	}
	return config.Width, config.Height, 1, nil
}

func configOf(format manifest.Format, r io.Reader) (image.Config, error) {
	switch format {
	case manifest.PNG:
		return png.DecodeConfig(r)
	case manifest.GIF:
		return gif.DecodeConfig(r)
	case manifest.BMP:
		return bmp.DecodeConfig(r)
	default:
		return webp.DecodeConfig(r)
	}
}

// decodeGo decodes all but JPEG; of an animation the first frame.
func decodeGo(format manifest.Format, file []byte) (Pixels, error) {
	img, err := guarded(func() (image.Image, error) {
		r := bytes.NewReader(file)
		switch format {
		case manifest.PNG:
			return png.Decode(r)
		case manifest.GIF:
			return gif.Decode(r)
		case manifest.BMP:
			return bmp.Decode(r)
		default:
			return webp.Decode(r)
		}
	})
	if err != nil {
		return Pixels{}, damaged(format, err)
	}
	return flatten(img), nil
}

// guarded turns a panic of a decoder fed with garbage into an error: one file must not end the run.
func guarded[T any](decode func() (T, error)) (value T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the decoder gave up: %v", r)
		}
	}()
	return decode()
}

func damaged(format manifest.Format, err error) error {
	text := fmt.Sprintf("its %s data are damaged or cut short", strings.ToUpper(string(format)))
	if err != nil {
		text += " (" + firstLine(err) + ")"
	}
	return &Fault{manifest.Damaged, text}
}

func unknown(file []byte) error {
	switch {
	case len(file) == 0:
		return &Fault{manifest.Empty, "it is empty"}
	case bytes.HasPrefix(file, []byte("II*\x00")), bytes.HasPrefix(file, []byte("MM\x00*")):
		return &Fault{manifest.Unsupported, "it is a TIFF, which cannot be trained on; save it as JPEG or PNG"}
	case len(file) >= 12 && string(file[4:8]) == "ftyp":
		return &Fault{manifest.Unsupported, "it is a HEIC or AVIF photo or a video, which cannot be trained on; save it as JPEG"}
	}
	return &Fault{manifest.NotAnImage, "it is not an image of a known format"}
}
