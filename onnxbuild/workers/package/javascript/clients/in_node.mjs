// node in_node.mjs JOB.json RESULT.json: one case in Node, with the library of the project folder that the job names.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

import { runCase } from "./run_case.mjs";

const [job, result] = [JSON.parse(readFileSync(process.argv[2], "utf8")), process.argv[3]];
const library = createRequire(`${job.project}/`)("@huggingface/transformers");
Object.assign(library.env, { allowRemoteModels: false, localModelPath: `${job.root}/`, useFSCache: false });
// ONNX Runtime's threads can outlive the last statement, and keep the process.
const answer = await runCase(library, job).catch((error) => ({ error: String(error?.message ?? error) }));
writeFileSync(result, JSON.stringify(answer));
process.exit(0);
