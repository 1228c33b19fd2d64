
'use strict';
(async () => {
  const shown = 5; // answers, the likeliest first
  const largest = 4096; // side of a photo that is looked at in full, pixels: browsers' canvases end not far above
  const element = (id) => document.getElementById(id);
  const status = element('status'), view = element('view'), video = element('video'), file = element('file'), webcam = element('webcam');

  const say = (text, wrong = false) => {
    status.textContent = text;
    status.classList.toggle('wrong', wrong);
  };

  const decode = (text) => {
    const bytes = atob(text);
    const out = new Uint8Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) out[i] = bytes.charCodeAt(i);
    return out.buffer;
  };

  const take = (id) => {
    const holder = element(id), text = holder.textContent;
    holder.remove(); // tens of megabytes that need not stay twice
    return text;
  };

  let model, labels, size, crop, threshold;
  const load = async () => {
    const described = JSON.parse(take('model'));
    const { usage } = described.userDefinedMetadata;
    ({ labels, size } = described.userDefinedMetadata);
    crop = usage.preprocessing === 'crop';
    threshold = usage.threshold || 0;
    model = await tf.loadLayersModel({
      load: async () => ({
        modelTopology: described.modelTopology,
        weightSpecs: described.weightsManifest[0].weights,
        weightData: decode(take('weights')),
      }),
    });
    tf.tidy(() => model.predict(tf.zeros([1, size, size, 3])).dataSync()); // the first answer is slow, so nobody waits for it
  };

  // spans are, for each output pixel of an axis, the input pixels that it is made of and their weights: a triangle, widened
  // when shrinking. The same as in training.
  const spans = (length, offset, part) => {
    const step = part / size, radius = Math.max(step, 1), all = [];
    for (let x = 0; x < size; x++) {
      const centre = offset + (x + 0.5) * step;
      const start = Math.min(length - 1, Math.max(0, Math.ceil(centre - radius - 0.5)));
      const end = Math.min(length - 1, Math.max(0, Math.floor(centre + radius - 0.5))) + 1;
      const weights = [];
      let total = 0;
      for (let i = start; i < end; i++) {
        weights.push(Math.max(0, 1 - Math.abs(i + 0.5 - centre) / radius));
        total += weights[weights.length - 1];
      }
      if (total === 0) { weights[0] = 1; total = 1; }
      all.push({ start, weights: weights.map((w) => w / total) });
    }
    return all;
  };

  // prepare turns RGBA pixels into the square that the network takes.
  const prepare = ({ data, width, height }) => {
    const side = Math.min(width, height);
    const across = crop ? spans(width, (width - side) / 2, side) : spans(width, 0, width);
    const down = crop ? spans(height, (height - side) / 2, side) : spans(height, 0, height);
    const rows = new Float32Array(height * size * 3);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < size; x++) {
        const { start, weights } = across[x];
        let red = 0, green = 0, blue = 0, at = 4 * (y * width + start);
        for (let i = 0; i < weights.length; i++, at += 4) {
          red += weights[i] * data[at];
          green += weights[i] * data[at + 1];
          blue += weights[i] * data[at + 2];
        }
        rows.set([red, green, blue], 3 * (y * size + x));
      }
    }
    const out = new Float32Array(size * size * 3), stride = 3 * size;
    down.forEach(({ start, weights }, y) => weights.forEach((weight, i) => {
      const from = (start + i) * stride, to = y * stride;
      for (let x = 0; x < stride; x++) out[to + x] += weight * rows[from + x];
    }));
    return out;
  };

  const show = (probabilities) => {
    const best = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, shown);
    element('results').replaceChildren(...best.map((i) => {
      const line = document.createElement('li');
      const part = (kind, text = '') => {
        const e = document.createElement(kind === 'track' || kind === 'bar' ? 'div' : 'span');
        e.className = kind;
        e.textContent = text;
        return e;
      };
      const track = part('track'), bar = part('bar');
      bar.style.width = `${100 * probabilities[i]}%`;
      track.append(bar);
      line.append(part('name', labels[i]), part('share', `${(100 * probabilities[i]).toFixed(1)} %`), track);
      return line;
    }));
    const unsure = probabilities[best[0]] < threshold;
    element('unsure').hidden = !unsure;
    element('results').classList.toggle('unsure', unsure);
    element('results').dataset.probabilities = JSON.stringify([...probabilities]);
  };

  const classify = (source, width, height) => {
    const scale = Math.min(1, largest / Math.max(width, height));
    view.width = Math.max(1, Math.round(width * scale));
    view.height = Math.max(1, Math.round(height * scale));
    const context = view.getContext('2d', { willReadFrequently: true });
    context.fillStyle = '#fff'; // what shines through is white, as in training
    context.fillRect(0, 0, view.width, view.height);
    context.drawImage(source, 0, 0, view.width, view.height);
    const start = performance.now();
    const pixels = prepare(context.getImageData(0, 0, view.width, view.height));
    show(tf.tidy(() => model.predict(tf.tensor4d(pixels, [1, size, size, 3])).dataSync()));
    return Math.round(performance.now() - start);
  };

  const photo = async (blob) => {
    stop();
    say('Looking…');
    delete element('results').dataset.probabilities;
    let picture;
    try {
      picture = await createImageBitmap(blob); // upright, as its camera notes
    } catch {
      element('results').replaceChildren();
      element('unsure').hidden = true;
      say(`${blob.name || 'This'} is no photo that this browser can open.`, true);
      return;
    }
    const took = classify(picture, picture.width, picture.height);
    picture.close();
    view.hidden = false;
    element('hint').textContent = 'Drop another photo here';
    say(`Answered in ${took} ms.`);
  };

  let stream = null;
  const stop = () => {
    if (!stream) return;
    stream.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    video.hidden = true;
    webcam.textContent = 'Use the camera';
    webcam.setAttribute('aria-pressed', 'false');
  };

  const watch = async () => {
    if (stream) {
      stop();
      say('');
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
    } catch (error) {
      say(`The camera cannot be used (${error.message || error.name}); choose a photo instead.`, true);
      return;
    }
    webcam.textContent = 'Stop the camera';
    webcam.setAttribute('aria-pressed', 'true');
    view.hidden = true;
    video.hidden = false;
    video.srcObject = stream;
    await video.play();
    const frame = () => {
      if (!stream) return;
      if (video.videoWidth > 0) say(`Answered in ${classify(video, video.videoWidth, video.videoHeight)} ms.`);
      setTimeout(frame, 100); // leaves the page time to breathe
    };
    frame();
  };

  const guarded = (act) => (...values) => Promise.resolve(act(...values)).catch((error) => say(`It failed: ${error.message}`, true));

  try {
    await load();
  } catch (error) {
    say(`The model cannot be loaded: ${error.message}`, true);
    return;
  }
  file.disabled = false;
  webcam.disabled = !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  file.addEventListener('change', guarded(() => file.files.length && photo(file.files[0])));
  webcam.addEventListener('click', guarded(watch));
  const zone = element('drop');
  document.addEventListener('dragover', (event) => {
    event.preventDefault(); // or the browser would open the photo in place of the page
    zone.classList.add('over');
  });
  document.addEventListener('dragleave', () => zone.classList.remove('over'));
  document.addEventListener('drop', guarded((event) => {
    event.preventDefault();
    zone.classList.remove('over');
    const dropped = event.dataTransfer.files[0];
    return dropped ? photo(dropped) : say('That is no file; drop a photo from a folder.', true);
  }));
  say('Ready.');
})();
