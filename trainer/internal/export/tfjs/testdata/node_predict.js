// Loads layers models with TensorFlow.js in Node and prints what each answers, as a JSON list.
//
// usage: node node_predict.js TF.MIN.JS [FOLDER PIXELS.bin SIZE ...]
'use strict';
const fs = require('fs');
const path = require('path');

console.log = console.info = console.warn; // the bundle greets; the answer is alone on standard output
const [bundle, ...rest] = process.argv.slice(2);
const tf = require(path.resolve(bundle));

const floats = (name) => {
  const bytes = fs.readFileSync(name);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};

const answer = async (folder, pixels, size) => {
  const described = JSON.parse(fs.readFileSync(path.join(folder, 'model.json')));
  const shards = described.weightsManifest[0].paths.map((name) => fs.readFileSync(path.join(folder, name)));
  const data = Buffer.concat(shards);
  const model = await tf.loadLayersModel({
    load: async () => ({
      modelTopology: described.modelTopology,
      weightSpecs: described.weightsManifest[0].weights,
      weightData: data.buffer.slice(data.byteOffset, data.byteOffset + data.length),
    }),
  });
  const images = floats(pixels);
  const out = model.predict(tf.tensor4d(images, [images.length / (3 * size * size), size, size, 3]));
  return {
    version: tf.version.tfjs,
    backend: tf.getBackend(),
    probabilities: [...out.dataSync()],
    layers: model.layers.map((layer) => `${layer.getClassName()} ${layer.name} ${JSON.stringify(layer.outputShape)}`),
    parameters: model.countParams(),
    shards: shards.map((shard) => shard.length),
  };
};

(async () => {
  await tf.setBackend('cpu');
  const all = [];
  for (let i = 0; i < rest.length; i += 3) all.push(await answer(rest[i], rest[i + 1], Number(rest[i + 2])));
  process.stdout.write(JSON.stringify(all));
})();
