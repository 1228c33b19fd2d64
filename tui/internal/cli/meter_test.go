package cli

import (
	"bytes"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	for name, tc := range map[string]struct {
		terminal bool
		step     time.Duration // between reports
		want     string
	}{
		"quick work":       {false, 10 * time.Millisecond, ""},
		"slow work":        {false, time.Second, "photos  25 %  of many\nphotos  50 %  of many\nphotos  75 %  of many\nphotos 100 %  of many\n"},
		"very slow work":   {false, 11 * time.Second, "photos  12 %  of many\nphotos  25 %  of many\nphotos  37 %  of many\nphotos  50 %  of many\nphotos  62 %  of many\nphotos  75 %  of many\nphotos  87 %  of many\nphotos 100 %  of many\n"},
		"in a terminal":    {true, 125 * time.Millisecond, "\r\x1b[Kphotos  25 %  of many\r\x1b[Kphotos  50 %  of many\r\x1b[Kphotos  75 %  of many\r\x1b[Kphotos 100 %  of many\r\x1b[K"},
		"quick, terminal":  {true, time.Millisecond, ""},
		"nothing happened": {false, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			now := time.Unix(0, 0)
			m := &meter{c: &command{Program: &Program{Err: &out, ErrTerminal: tc.terminal, Now: func() time.Time { return now }}}}
			for done := range int64(9) {
				m.set("photos", done, 8, "of many")
				now = now.Add(tc.step)
			}
			m.end()
			if out.String() != tc.want {
				t.Errorf("it says %q\n    want %q", out.String(), tc.want)
			}
		})
	}
}

func TestMeterIsQuietWhenAsked(t *testing.T) {
	for _, c := range []*command{{quiet: true}, {json: true}} {
		var out bytes.Buffer
		now := time.Unix(0, 0)
		c.Program = &Program{Err: &out, Now: func() time.Time { now = now.Add(time.Minute); return now }}
		m := &meter{c: c}
		m.set("photos", 1, 8, "")
		m.set("photos", 2, 8, "")
		if out.Len() > 0 {
			t.Errorf("it says %q", out.String())
		}
	}
}
