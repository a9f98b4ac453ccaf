// node in_chromium.mjs JOB.json RESULT.json: one case in a page of headless Chromium, in WebAssembly or WebGPU.
//
// Every case has a browser of its own: after one session that failed, the library gives later ones the same error.
// Nothing comes from the internet: the library, ONNX Runtime's WebAssembly and the package are served on loopback.

import { createReadStream, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const [job, result] = [JSON.parse(readFileSync(process.argv[2], "utf8")), process.argv[3]];
const modules = path.join(job.project, "node_modules");
const ROOTS = {
  models: job.root,
  library: path.join(modules, "@huggingface/transformers/dist"),
  ort: path.join(modules, "onnxruntime-web/dist"),
  clients: path.dirname(fileURLToPath(import.meta.url)),
};
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
// WebGPU without a GPU; its half precision (`shader-f16`) is missing there.
const SOFTWARE_GPU = [
  "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--use-angle=swiftshader", "--ignore-gpu-blocklist",
];

// These two headers let a page use threads.
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

function serve(request, response) {
  const [, root, ...parts] = decodeURIComponent(request.url.split("?")[0]).split("/");
  if (root === "") return response.writeHead(200, { ...ISOLATED, "Content-Type": "text/html" }).end("<!doctype html>");
  const file = ROOTS[root] && path.resolve(ROOTS[root], ...parts);
  const size = file?.startsWith(path.resolve(ROOTS[root]) + path.sep) && sizeOf(file);
  if (!size) return response.writeHead(404, ISOLATED).end();
  const type = TYPES[path.extname(file)] ?? "application/octet-stream";
  response.writeHead(200, { ...ISOLATED, "Content-Type": type, "Content-Length": size });
  return request.method === "HEAD" ? response.end() : createReadStream(file).pipe(response);
}

function sizeOf(file) {
  const found = statSync(file, { throwIfNoEntry: false });
  return found?.isFile() ? found.size : undefined;
}

// Runs in the page.
async function inPage(job) {
  const library = await import("/library/transformers.js");
  const { runCase } = await import("/clients/run_case.mjs");
  Object.assign(library.env, {
    allowLocalModels: true, allowRemoteModels: false, localModelPath: "/models/", useBrowserCache: false,
    useWasmCache: false,
  });
  library.env.backends.onnx.wasm.wasmPaths = "/ort/";
  return runCase(library, job).catch((error) => ({ error: String(error?.message ?? error) }));
}

async function answerOf(address) {
  const { chromium } = createRequire(`${job.project}/`)("playwright-core");
  const args = ["--no-sandbox", ...(job.device === "webgpu" ? SOFTWARE_GPU : [])];
  const browser = await chromium.launch({ executablePath: job.browser, headless: true, args });
  try {
    const page = await browser.newPage();
    await page.goto(address);
    return { browser: browser.version(), ...(await page.evaluate(inPage, job)) };
  } finally {
    await browser.close();
  }
}

const server = createServer(serve).listen(0, "127.0.0.1", async () => {
  const { port } = server.address();
  const answer = await answerOf(`http://127.0.0.1:${port}/`).catch((error) => ({ failed: String(error) }));
  writeFileSync(result, JSON.stringify(answer));
  process.exit(0);
});
