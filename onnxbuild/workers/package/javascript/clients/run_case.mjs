// Runs one model of a package in Transformers.js, in Node and in a browser, and returns what it was fed and what it
// computed. A tensor is {type, dims, data}, its data in base64.

const RECORDING_SAMPLES = 16_000; // one second

export async function runCase(library, job) {
  const whole = job.whole ? await wholeModel(library, job) : {};
  const halves = {};
  for (const [name, half] of Object.entries(job.halves)) halves[name] = await halfModel(library, half, job);
  return { version: library.env.version, ...whole, halves };
}

async function wholeModel(library, job) {
  const run = job.class ? await ofClass(library, job)
    : await library.pipeline(job.pipeline, job.model, { dtype: job.dtype, device: job.device });
  const inputs = await INPUTS[job.reads](library, run, job);
  const compute = () => (job.tokens ? generated(library, run, inputs, job) : forward(run, inputs));
  const computed = await compute();
  return { inputs: tensors(inputs), ...computed, ...(job.calls ? { seconds: await timed(compute, job.calls) } : {}) };
}

// What a pipeline has, for a model that only a class runs.
async function ofClass(library, job) {
  const model = await library[job.class].from_pretrained(job.model, { dtype: job.dtype, device: job.device });
  return { model, processor: await library.AutoProcessor.from_pretrained(job.model) };
}

// The seconds of the fastest call: other programs can only make one slower.
async function timed(compute, calls) {
  let least = Infinity;
  for (let i = 0; i < calls; i++) {
    const began = performance.now();
    await compute();
    least = Math.min(least, (performance.now() - began) / 1000);
  }
  return least;
}

// One half of a model, by the class that looks for its file.
async function halfModel(library, half, job) {
  const model = await library[half.class].from_pretrained(job.model, { dtype: job.dtype, device: job.device });
  const maker = half.reads === "text" ? { tokenizer: await library.AutoTokenizer.from_pretrained(job.model) }
    : { processor: await library.AutoProcessor.from_pretrained(job.model) };
  const inputs = await INPUTS[half.reads](library, maker, job);
  return { inputs: tensors(inputs), outputs: tensors(await model(inputs)) };
}

async function forward(run, inputs) {
  return { outputs: tensors(await run.model(inputs)) };
}

// The tokens of a greedy search. `given`: with how many of them the search begins.
async function generated(library, run, inputs, job) {
  const settings = { max_new_tokens: job.tokens, do_sample: false, num_beams: 1, repetition_penalty: 1.0 };
  const asked = { ...inputs, ...settings, no_repeat_ngram_size: 0 };
  const outputs = job.words ? await withTimes(run, asked) : { tokens: await run.model.generate(asked) };
  return { outputs: tensors(outputs), given: started(run.model, inputs) };
}

// The tokens, and the second at which each ends.
async function withTimes(run, asked) {
  const { sequences, token_timestamps } = await run.model.generate({ ...asked, return_token_timestamps: true });
  if (!token_timestamps) throw new Error("the library gave the words no times");
  return { tokens: sequences, token_timestamps };
}

function started(model, inputs) {
  if (!model.config.is_encoder_decoder) return inputs.input_ids.dims.at(-1);
  return model._retrieve_init_tokens?.({ ...model.generation_config }).length ?? 1;
}

const INPUTS = {
  text: (_library, run, job) => run.tokenizer(job.texts, { padding: true, truncation: true }),
  pair: (_library, run, job) =>
    run.tokenizer(job.texts.slice(0, 1), { text_pair: job.texts.slice(1, 2), padding: true, truncation: true }),
  image: (library, run) => run.processor([picture(library)]),
  audio: (_library, run) => run.processor(recording()),
  // Two points of the object, and one beside it.
  "image-and-points": (library, run) =>
    run.processor(picture(library), { input_points: [[[20, 15], [31, 22], [50, 40]]], input_labels: [[1, 1, 0]] }),
  "image-and-text": async (library, run, job) => ({
    ...run.tokenizer(job.texts, { padding: true, truncation: true }),
    ...(await run.processor([picture(library)])),
  }),
};

// A picture whose sides differ, with other values in each channel.
function picture(library) {
  const [width, height] = [61, 43];
  const data = new Uint8ClampedArray(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = (i * 7 + (i % 3) * 50 + (i % width)) % 256;
  return new library.RawImage(data, width, height, 3);
}

function recording() {
  return Float32Array.from({ length: RECORDING_SAMPLES }, (_, i) => Math.sin(i / 9) * Math.cos(i / 1500));
}

function tensors(named) {
  const isTensor = ([, value]) => value?.dims !== undefined && value?.data !== undefined;
  return Object.fromEntries(Object.entries(named).filter(isTensor).map(([name, one]) => [name, dumped(one)]));
}

function dumped({ type, dims, data }) {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return { type, dims: [...dims], data: btoa(text) };
}
