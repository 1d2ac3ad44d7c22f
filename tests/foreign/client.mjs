// A C2 system in another language, written from proto/signalfire/v1/*.proto and docs/ alone.
//
//   node client.mjs submit    ADDRESS SERVER_NAME CREDENTIALS < reports.jsonl   one line for each answer
//   node client.mjs subscribe ADDRESS SERVER_NAME CREDENTIALS CLASS [CURSOR]    one line for each item, until caught up
//
// CREDENTIALS is a directory of `signalfire pki c2`. Reports and answers are JSON with the contract's own field names.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

// Packages lie where the caller installed them, which need not be beside this file.
const home = process.env.SIGNALFIRE_NODE_PACKAGES ?? dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(home, "package.json"));
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const contract = resolve(dirname(fileURLToPath(import.meta.url)), "../../proto");
const definition = loader.loadSync("signalfire/v1/c2.proto", {
  includeDirs: [contract],
  keepCase: true,
  enums: String,
  longs: String,
  bytes: String,
  oneofs: true,
  defaults: true,
});
const { signalfire } = grpc.loadPackageDefinition(definition);

function connect(address, serverName, directory) {
  const file = (name) => readFileSync(join(directory, name));
  const credentials = grpc.credentials.createSsl(
    file("gateway-ca.crt.pem"),
    file("c2.key.pem"),
    file("c2.crt.pem"),
  );
  return new signalfire.v1.C2Service(address, credentials, {
    "grpc.ssl_target_name_override": serverName,
    "grpc.default_authority": serverName,
  });
}

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

// Resolves when the call is over, for good or ill.
function finished(call) {
  return new Promise((end) => {
    call.on("error", (error) => end({ code: grpc.status[error.code], details: error.details }));
    call.on("end", () => end(null));
  });
}

// Every gateway takes so many reports in one request. Of bytes it takes more; but an alert waits for the request that is
// being written when it comes.
const REQUEST_REPORTS = 256;
const REQUEST_BYTES = 65_536;

async function submit(client) {
  const { Submit } = signalfire.v1.C2Service.service;
  const call = client.Submit();
  call.on("data", ({ answers, resubmit }) => {
    if (resubmit) print({ resubmit });
    answers.forEach(print);
  });
  const over = finished(call);
  let reports = [];
  let bytes = 0;
  const flush = () => {
    if (reports.length) call.write({ reports });
    reports = [];
    bytes = 0;
  };
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line.trim()) continue;
    const report = JSON.parse(line);
    // What it adds to a request is the request that holds it alone.
    const size = Submit.requestSerialize({ reports: [report] }).length;
    if (reports.length === REQUEST_REPORTS || bytes + size > REQUEST_BYTES) flush();
    // What there is goes together. This runs once all lines that came with this one are taken.
    if (!reports.length) setImmediate(flush);
    reports.push(report);
    bytes += size;
  }
  flush();
  call.end();
  return over;
}

async function subscribe(client, trafficClass, cursor = "") {
  const call = client.Subscribe({ cursor, traffic_classes: [`TRAFFIC_CLASS_${trafficClass}`] });
  let caughtUp = false;
  call.on("data", ({ items }) => {
    items.forEach(print);
    if (items.some(({ item }) => item === "caught_up")) {
      caughtUp = true;
      call.cancel();
    }
  });
  const failure = await finished(call);
  return caughtUp ? null : failure;
}

const [command, address, serverName, directory, ...rest] = process.argv.slice(2);
const client = connect(address, serverName, directory);
const failure = await { submit, subscribe }[command](client, ...rest);
client.close();
if (failure) {
  print({ failure });
  process.exitCode = 1;
}
