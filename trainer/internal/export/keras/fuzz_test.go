package keras

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// A configuration that is accepted describes a network that can be written again and reads as the same one.
func FuzzParseConfig(f *testing.F) {
	n, err := network.MobileNetV2(0.35)
	if err != nil {
		f.Fatal(err)
	}
	n, err = n.WithHead(3, 0.5)
	if err != nil {
		f.Fatal(err)
	}
	config, err := modelConfig(n)
	if err != nil {
		f.Fatal(err)
	}
	text, err := asciiJSON(config)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	small := `{"class_name":"Functional","config":{"name":"s","layers":[
		{"class_name":"InputLayer","name":"i","config":{"batch_input_shape":[null,4,4,3]},"inbound_nodes":[]},
		{"class_name":"ReLU","name":"r","config":{"max_value":6.0},"inbound_nodes":[[["i",0,0,{}]]]}],
		"input_layers":[["i",0,0]],"output_layers":[["r",0,0]]}}`
	f.Add(small)
	for _, change := range [][2]string{{"4,4", "4,5"}, {"null,4", "4,4"}, {`"i",0,0,`, `"i",1,0,`}, {"6.0", "null"}, {"ReLU", "Add"},
		{`"config":{"max`, `"config":{"axis":{},"max`}, {"4,4,3", "-1,-1,3"}, {"4,4,3", "4,4,null"}} {
		f.Add(strings.Replace(small, change[0], change[1], 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseConfig([]byte(text))
		if err != nil {
			return
		}
		config, err := modelConfig(n)
		if err != nil {
			t.Fatalf("an accepted network cannot be written: %v", err)
		}
		again, err := asciiJSON(config)
		if err != nil {
			t.Fatal(err)
		}
		same, err := parseConfig([]byte(again))
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if !reflect.DeepEqual(n, same) {
			t.Fatalf("got\n%+v\nfrom\n%+v", same, n)
		}
	})
}

// The same of the dialect of Keras 3.
func FuzzParseNative(f *testing.F) {
	n, err := network.MobileNetV2(0.35)
	if err == nil {
		n, err = n.WithHead(3, 0.5)
	}
	if err != nil {
		f.Fatal(err)
	}
	config, err := nativeConfig(n)
	if err != nil {
		f.Fatal(err)
	}
	text, err := asciiJSON(config)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	small := `{"class_name":"Functional","config":{"name":"s","layers":[
		{"class_name":"InputLayer","name":"i","config":{"batch_shape":[null,4,4,3]},"inbound_nodes":[]},
		{"class_name":"ReLU","name":"r","config":{"max_value":6.0},"inbound_nodes":[
			{"args":[{"class_name":"__keras_tensor__","config":{"keras_history":["i",0,0]}}],"kwargs":{"mask":null}}]}],
		"input_layers":[["i",0,0]],"output_layers":[["r",0,0]]}}`
	f.Add(small)
	for _, change := range [][2]string{{"4,4", "4,5"}, {`"i",0,0]}`, `"i",1,0]}`}, {"null}", "true}"}, {"ReLU", "Add"}, {"__keras_tensor__", ""},
		{`[{"class_name":"__keras`, `[[],{"class_name":"__keras`}, {"4,4,3", "-1,-1,3"}, {`["i",0,0]}`, `[]}`}} {
		f.Add(strings.Replace(small, change[0], change[1], 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseNative([]byte(text))
		if err != nil {
			return
		}
		if len(inKerasOrder(n)) != len(n.Layers) {
			t.Fatal("layers are lost in Keras' order")
		}
		config, err := nativeConfig(n)
		if err != nil {
			t.Fatalf("an accepted network cannot be written: %v", err)
		}
		again, err := asciiJSON(config)
		if err != nil {
			t.Fatal(err)
		}
		same, err := parseNative([]byte(again))
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if !reflect.DeepEqual(n, same) {
			t.Fatalf("got\n%+v\nfrom\n%+v", same, n)
		}
	})
}
