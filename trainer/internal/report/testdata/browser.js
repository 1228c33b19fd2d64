// Runs a sample for web sites in Node, in the folder of the model, with what a browser has and Node has not. It prints what the
// sample draws of a photo of 640×480 and what it answers, one class a line.
//
// usage: node browser.js TF.MIN.JS SAMPLE.js PIXELS.rgba
'use strict';
const fs = require('fs');

const say = console.log;
console.log = console.info = console.warn; // the bundle greets; the answer is alone on standard output
const [bundle, sample, pixels] = process.argv.slice(2);
globalThis.tf = require(bundle);
globalThis.fetch = async (path) => new Response(fs.readFileSync(path), { headers: { 'Content-Type': path.endsWith('.json') ? 'application/json' : 'application/octet-stream' } });
globalThis.OffscreenCanvas = class {
  getContext() {
    return {
      drawImage: (photo, ...places) => say(places.join()),
      getImageData: (x, y, width, height) => ({ data: new Uint8Array(fs.readFileSync(pixels)), width, height }),
    };
  }
};

(async () => {
  await tf.setBackend('cpu');
  const classify = await (Object.getPrototypeOf(async () => {}).constructor)(`${fs.readFileSync(sample)}\nreturn classify;`)();
  for (const { label, probability } of classify({}, 640, 480)) say(`${probability.toFixed(3)}  ${label.replace(/\n/g, ' ')}`);
})();
