package attempt

import (
	"encoding/binary"
	"runtime"
	"sync"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/half"
)

// studio renders photos for several goroutines, each view afresh. What it made last is not kept.
type studio struct {
	packs string
	item  func(row int) data.Item
	idle  chan *bench
}

// bench is what one goroutine renders with.
type bench struct {
	decoder  *data.Decoder
	renderer data.Renderer
	image    []float32
}

func (a *Attempt) openStudio(t *training) (*studio, error) {
	n := runtime.GOMAXPROCS(0)
	s := &studio{packs: a.spec.Paths.Packs, item: func(row int) data.Item { return t.items[t.wants[row].Item] }, idle: make(chan *bench, n)}
	huge := new(sync.Mutex)
	for range n {
		decoder, err := data.NewDecoder(huge)
		if err != nil {
			s.close()
			return nil, err
		}
		b := &bench{decoder: decoder, renderer: data.Renderer{Size: t.base.Size, Fit: t.key.Fit}}
		b.image = make([]float32, b.renderer.Values())
		s.idle <- b
	}
	return s, nil
}

// close frees the decoders. No goroutine may be reading.
func (s *studio) close() {
	close(s.idle)
	for b := range s.idle {
		b.decoder.Close()
	}
}

// read fills dst with the view of a sample as float16, 0…255.
func (s *studio) read(one fit.Sample, dst []byte) error {
	b := <-s.idle
	defer func() { s.idle <- b }()
	item := s.item(one.Row)
	file, err := item.Read(s.packs)
	if err != nil {
		return err
	}
	pixels, err := b.decoder.Decode(file, data.Need(one.View, b.renderer.Size))
	if err != nil {
		return err
	}
	b.renderer.Render(b.image, pixels, data.ViewOf(item.Hash, one.View))
	for i, x := range b.image {
		binary.LittleEndian.PutUint16(dst[2*i:], half.Of(x))
	}
	return nil
}
