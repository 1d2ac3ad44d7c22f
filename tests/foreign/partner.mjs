// A gateway of another nation, in another language: it follows the ledgers that a partner keeps for it. Written from
// docs/protocol.md and proto/signalfire/v1/*.proto alone; it shares no code with the gateway.
//
//   node partner.mjs follow CONFIG           until standard input ends; a line `reconnect` on it drops every stream
//   node partner.mjs inspect CONFIG          compares what is held here with what the partner says that it holds
//   node partner.mjs prove CONFIG FILE       checks a proof file with both nations' bundles
//   node partner.mjs export CONFIG DIRECTORY LEDGER      checks an exported ledger with them
//
// What happens is printed as JSON lines. CONFIG is JSON: what a nation gives its gateway (see test_node_partner.py).
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readdirSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { contentOf, judge, legible, OPENING, openEpoch, openSealed, parseHeader, sealingKey } from "./entries.mjs";
import { checkExport } from "./export.mjs";
import { checkProof, parseHeartbeat, Tree, unopenable, verifyBatch } from "./ledger.mjs";
import { checkOnward } from "./onward.mjs";
import {
  COSIGNATURE, cosignNote, ED25519, inForce, need, openNote, parseBundle, parseCheckpoint, parseOrigin, Refused,
  signingKey, signNote,
} from "./notes.mjs";
import { contract, load } from "./packages.mjs";

const grpc = (await load("@grpc/grpc-js")).default;
const loader = (await load("@grpc/proto-loader")).default;

const options = { includeDirs: [contract], keepCase: true, longs: String, defaults: true, oneofs: true };
const definition = loader.loadSync("signalfire/v1/exchange.proto", options);
const { ExchangeService } = grpc.loadPackageDefinition(definition).signalfire.v1;

const plainly = (_, value) => (typeof value === "bigint" ? String(value) : value);
const print = (event, held) => process.stdout.write(`${JSON.stringify({ event, ...held }, plainly)}\n`);
const pause = (seconds) => new Promise((end) => setTimeout(end, seconds * 1000));

// Durable when it returns: written beside, synced, and put in place.
function keep(path, bytes) {
  const file = openSync(`${path}.new`, "w", 0o600);
  writeSync(file, bytes);
  fsyncSync(file);
  closeSync(file);
  renameSync(`${path}.new`, path);
}

// --- what this gateway is, and what it believes

class Partner {
  constructor(path) {
    this.config = JSON.parse(readFileSync(path, "utf-8"));
    const { node, keys, partner } = this.config;
    const seed = (name) => Buffer.from(keys[name], "hex");
    this.log = signingKey(`signalfire/v1/${node}/gateway`, ED25519, seed("log"));
    this.receipt = signingKey(`signalfire/v1/${node}/receipt`, COSIGNATURE, seed("receipt"));
    this.sealing = keys.sealing.map(({ mlkem768, x25519 }) => sealingKey(node, Buffer.from(mlkem768, "hex"), Buffer.from(x25519, "hex")));
    const believed = [partner.bundle, this.path("bundle.note")].filter((each) => existsSync(each));
    this.bundle = believed.map((each) => parseBundle(readFileSync(each), partner.root)).reduce((one, other) => (other.sequence > one.sequence ? other : one));
    need(this.bundle.node === partner.node, "a bundle of another node");
  }

  // The log keys of other originators: of nobody, for this gateway has pinned its one partner alone.
  logKeysOf = () => null;

  path(name) {
    return join(this.config.store, name);
  }

  get own() {
    return parseBundle(readFileSync(this.config.bundle), this.config.root);
  }

  // Takes up a bundle that came in band, before anything of the message that brought it is judged.
  hear(note) {
    if (!note?.length) return;
    const told = parseBundle(note, this.config.partner.root);
    if (told.sequence <= this.bundle.sequence) return;
    keep(this.path("bundle.note"), told.note);
    this.bundle = told;
    print("bundle", { node: told.node, sequence: told.sequence });
  }

  connect() {
    need(inForce(this.bundle), "the partner's bundle has expired");
    const { address, server_name: serverName } = this.bundle.endpoints[0];
    const { key, certificate } = this.config.tls;
    const roots = Buffer.from(this.bundle.authorities.join("\n"));
    const credentials = grpc.credentials.createSsl(roots, readFileSync(key), readFileSync(certificate));
    return new ExchangeService(address, credentials, {
      "grpc.ssl_target_name_override": serverName,
      "grpc.default_authority": serverName,
      "grpc.max_receive_message_length": 8 * 2 ** 20,
      "grpc.use_local_subchannel_pool": 1,
      // A connection whose other end is gone is noticed though nothing is said on it.
      "grpc.keepalive_time_ms": 1000,
      "grpc.keepalive_timeout_ms": 2000,
    });
  }
}

// --- the challenge

// One message of a stream, by its name; what the stream ends with otherwise is thrown.
async function next(messages, name) {
  const { value, done } = await messages.next();
  need(!done && value.message === name, `${name} is due`);
  return value[name];
}

async function challenge(partner, call, messages, purpose) {
  const { spiffe_id: own } = partner.config;
  const nonce = randomBytes(32);
  call.write({ hello: { spiffe_id: own, nonce, bundle_sequence: String(partner.bundle.sequence) } });
  const told = await next(messages, "challenge");
  partner.hear(told.bundle);
  const trust = partner.config.partner.node.toLowerCase();
  need(new RegExp(`^spiffe://${trust}/gateway/[a-z0-9-]+$`).test(told.spiffe_id), "not a gateway of the node that was meant");
  need(told.nonce.length === 32 && !nonce.equals(told.nonce), "a nonce of another shape");
  need(told.note.length <= 4096, "a note that is too long");
  const text = (side) =>
    ["signalfire/v1/challenge", purpose, side, own, told.spiffe_id, nonce.toString("base64"), told.nonce.toString("base64"), ""].join("\n");
  need(openNote(told.note, partner.bundle.gatewayKeys).text === text("server"), "a challenge over something else");
  const bundle = partner.own;
  const news = BigInt(told.bundle_sequence) < bundle.sequence ? bundle.note : Buffer.alloc(0);
  call.write({ proof: { note: signNote(text("client"), partner.log), bundle: news } });
  print("proven", { purpose, server: told.spiffe_id, believes: told.bundle_sequence, told: news.length > 0 });
}

// --- one ledger

class Replica {
  constructor(partner, line) {
    this.partner = partner;
    this.origin = parseOrigin(line);
    this.file = partner.path(`${line.replaceAll("/", "-")}.json`);
    const held = existsSync(this.file) ? JSON.parse(readFileSync(this.file, "utf-8")) : {};
    this.entries = (held.entries ?? []).map((each) => Buffer.from(each, "base64"));
    this.hashes = (held.hashes ?? []).map((each) => Buffer.from(each, "base64"));
    this.texts = new Map(held.texts ?? []);
    this.checkpoint = Buffer.from(held.checkpoint ?? "", "base64");
    this.unusable = held.unusable ?? [];
    this.successor = held.successor ?? null;
    this.tree = new Tree().with(this.hashes);
    this.epoch = null;
  }

  keep() {
    const encoded = (list) => list.map((each) => each.toString("base64"));
    const held = {
      entries: encoded(this.entries), hashes: encoded(this.hashes), texts: [...this.texts],
      checkpoint: this.checkpoint.toString("base64"), unusable: this.unusable, successor: this.successor,
    };
    keep(this.file, JSON.stringify(held));
  }

  // Signed anew each time, under the keys of the day.
  receipt() {
    return { receipt: { note: cosignNote(this.texts.get(String(this.tree.size)), this.partner.receipt, Math.floor(Date.now() / 1000)) } };
  }

  answer({ index, reason }) {
    const note = unopenable(this.origin, BigInt(index), this.hashes[index], reason, this.partner.log);
    return { unopenable: { note } };
  }

  async take(batch) {
    const taken = verifyBatch(batch, this.origin, this.tree, this.partner.bundle);
    const first = Number(this.tree.size);
    this.tree = taken.tree;
    this.entries.push(...taken.entries.map((entry) => Buffer.from(entry)));
    this.hashes.push(...taken.hashes);
    this.texts.set(String(taken.checkpoint.size), taken.checkpoint.text);
    this.checkpoint = Buffer.from(batch.checkpoint);
    const said = [];
    const unusable = [];
    if (this.origin.lane !== "witness") {
      for (const [at, entry] of taken.entries.entries()) {
        if (!entry.length) continue;
        try {
          const parts = await this.open(entry, first + at);
          if (!parts) continue;
          const content = contentOf(parts);
          const kind = judge(content, this.origin.owner);
          if (kind === "onward_report") checkOnward(content[kind], this.origin.owner, this.partner.config.node, this.partner.logKeysOf);
          said.push({ index: first + at, kind, parts: parts.length, content: legible(content) });
        } catch (error) {
          if (!(error instanceof Refused)) throw error;
          unusable.push({ index: first + at, reason: error.message.slice(0, 256) });
        }
      }
      need(unusable.length <= 256 || unusable.length * 2 <= taken.entries.length, "most of the batch cannot be opened");
    }
    this.unusable.push(...unusable);
    this.keep();
    return { first, size: this.tree.size, said, unusable };
  }

  // The parts of the entry at `index`; nothing where it opens an epoch.
  async open(entry, index) {
    const keys = this.partner.sealing;
    const { kind, epoch } = parseHeader(entry, BigInt(index));
    const opening = kind === OPENING ? index : Number(epoch);
    if (this.epoch?.index !== opening) {
      const key = await openEpoch(this.entries[opening], BigInt(opening), this.origin.line, keys);
      this.epoch = { index: opening, key };
    }
    return kind === OPENING ? null : openSealed(entry, BigInt(index), this.origin.line, epoch, this.epoch.key);
  }

  // A further signature of the owner: which it is, the name of its key says.
  cosignature(note) {
    const { bundle } = this.partner;
    const { text, by } = openNote(note, [...bundle.logKeys(this.origin.line), ...bundle.pqKeys]);
    const { origin, size } = parseCheckpoint(text);
    need(origin === this.origin.line && this.texts.get(String(size)) === text, "a checkpoint that is not on record");
    return { size, kind: by[0].key.type === ED25519 ? "anchor" : "pq", time: by[0].time };
  }
}

async function follow(partner, replica, call) {
  const messages = call[Symbol.asyncIterator]();
  const ledger = replica.origin.line;
  await challenge(partner, call, messages, "follow");
  const { size, root } = replica.tree;
  call.write({ open: { origin: ledger, size: String(size), root, checkpoint: replica.checkpoint } });
  const opened = await next(messages, "opened");
  print("opened", { ledger, from: size, size: opened.size });
  if (size > 0n) call.write(replica.receipt());
  for (const each of replica.unusable.slice(-256)) call.write(replica.answer(each));
  for await (const told of messages) {
    if (told.message === "batch") {
      const taken = await replica.take(told.batch);
      call.write(replica.receipt());
      for (const each of taken.unusable) call.write(replica.answer(each));
      print("batch", { ledger, ...taken });
    } else if (told.message === "cosignature") {
      print("cosignature", { ledger, ...replica.cosignature(told.cosignature.note) });
    } else {
      need(told.message === "ended", "a message out of turn");
      const next = parseOrigin(told.ended.successor);
      const { owner, recipient, lane, generation } = replica.origin;
      need(next.owner === owner && next.recipient === recipient && next.lane === lane, "a successor of another ledger");
      need(next.generation === generation + 1n, "not the next generation");
      replica.successor = next.line;
      replica.keep();
      print("ended", { ledger, successor: next.line });
    }
  }
}

// --- heartbeats

async function listen(partner, replicas, call) {
  const messages = call[Symbol.asyncIterator]();
  await challenge(partner, call, messages, "heartbeat");
  const file = partner.path("heartbeat.json");
  let last = existsSync(file) ? JSON.parse(readFileSync(file, "utf-8")) : { counter: "0", sizes: {} };
  for await (const { pulse, message } of messages) {
    need(message === "pulse", "a message out of turn");
    partner.hear(pulse.bundle);
    const { node, partner: other } = partner.config;
    const beat = parseHeartbeat(pulse.note, other.node, node, partner.bundle.gatewayKeys);
    need(beat.counter > BigInt(last.counter), "a counter that does not grow");
    for (const [line, head] of beat.heads) {
      const text = replicas.find((each) => each.origin.line === line)?.texts.get(String(head.size));
      need(!text || text === head.text, "evidence: a head that contradicts a checkpoint on record");
      if (head.size < BigInt(last.sizes[line] ?? 0)) print("evidence", { notes: [last.note, String(pulse.note)] });
    }
    const sizes = Object.fromEntries([...beat.heads].map(([line, { size }]) => [line, String(size)]));
    last = { counter: String(beat.counter), sizes, note: String(pulse.note) };
    keep(file, JSON.stringify(last));
    const now = BigInt(Date.now()) * 1_000_000n;
    call.write({ echo: { counter: last.counter, time_ns: String(now), bundle_sequence: String(partner.bundle.sequence) } });
    const offset = beat.time + BigInt(pulse.round_trip_ns) / 2n - now;
    print("heartbeat", { counter: last.counter, takes: beat.takes, heads: sizes, round_trip_ns: pulse.round_trip_ns, offset_ms: Number(offset) / 1e6 });
  }
}

// --- comparing

// Asks for every ledger between the two nodes, and for all its leaf hashes; believes nothing that the checkpoint does not
// bear out, and prints whether what is held here is the same as far as both go.
async function inspect(partner, call) {
  const messages = call[Symbol.asyncIterator]();
  await challenge(partner, call, messages, "inspect");
  call.write({ list_heads: {} });
  for (const held of (await next(messages, "heads")).ledgers) {
    const origin = parseOrigin(held.origin);
    const owner = origin.owner === partner.bundle.node ? partner.bundle : partner.own;
    const size = Number(held.size);
    const hashes = [];
    while (hashes.length < size) {
      call.write({ read_hashes: { origin: held.origin, level: 0, first: String(hashes.length), count: Math.min(256, size - hashes.length) } });
      const { hashes: bytes } = await next(messages, "hashes");
      need(bytes.length && bytes.length % 32 === 0, "hashes of another length");
      for (let at = 0; at < bytes.length; at += 32) hashes.push(bytes.subarray(at, at + 32));
    }
    const { root } = new Tree().with(hashes);
    const checkpoint = parseCheckpoint(openNote(held.checkpoint, owner.logKeys(held.origin)).text);
    need(checkpoint.size === BigInt(size) && checkpoint.root.equals(root) && root.equals(held.root), "hashes of another tree");
    const replica = new Replica(partner, held.origin);
    const agrees = replica.hashes.every((hash, at) => at >= size || hash.equals(hashes[at]));
    const receipts = owner === partner.bundle ? partner.own.receiptKeys : partner.bundle.receiptKeys;
    const receipt = held.receipt.length ? parseCheckpoint(openNote(held.receipt, receipts).text).size : null;
    print("held", { ledger: held.origin, size, here: replica.hashes.length, agrees, receipt, successor: held.successor });
  }
  call.end();
}

// --- running

class Streams {
  constructor(partner) {
    this.partner = partner;
    this.open = new Set();
    this.over = false;
  }

  // Dials again after every end, 0.1 s doubling to 2 s, with jitter; a stream that was of use begins anew at 0.1 s.
  async keepUp(what, run, ended = () => false) {
    let wait = 0.1;
    while (!this.over && !ended()) {
      let client = null;
      let call = null;
      const began = Date.now();
      try {
        client = this.partner.connect();
        call = what === "Heartbeat" ? client.Heartbeat() : client.Follow();
        // What ends a stream is thrown where it is read; once nobody reads any more it is of no interest.
        call.on("error", () => {});
        this.open.add(call);
        await run(call);
      } catch (error) {
        const status = grpc.status[error.code];
        if (!(error instanceof Refused) && status === undefined) throw error;
        print("lost", { what, code: status ?? "REFUSED", details: error.details ?? error.message });
      } finally {
        this.open.delete(call);
        call?.cancel();
        client?.close();
      }
      wait = Date.now() - began > 2000 ? 0.1 : Math.min(wait * 2, 2);
      if (!this.over) await pause(wait * (0.5 + Math.random() / 2));
    }
  }

  drop() {
    for (const call of this.open) call.cancel();
  }
}

async function lane(streams, replicas, line) {
  for (let name = line; name && !streams.over; ) {
    const replica = new Replica(streams.partner, name);
    replicas.push(replica);
    await streams.keepUp(name, (call) => follow(streams.partner, replica, call), () => replica.successor);
    name = replica.successor;
  }
}

// The files below a directory, by their path in it.
function filesIn(directory) {
  const all = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return new Map(all.map((each) => {
    const path = join(each.parentPath ?? each.path, each.name);
    return [relative(directory, path), readFileSync(path)];
  }));
}

const proofOf = (proof) => ({ ...proof, content: proof.content && legible(proof.content) });

async function main(command, path, file, ledger) {
  const partner = new Partner(path);
  const { bundle, own } = partner;
  const known = (origin) => ({
    log: bundle.logKeys(origin.line), gateway: bundle.gatewayKeys, pq: bundle.pqKeys, receipt: own.receiptKeys,
    recipient: own.gatewayKeys,
  });
  if (command === "prove") return print("proof", proofOf(checkProof(readFileSync(file), known)));
  if (command === "export") {
    const origin = parseOrigin(ledger);
    return print("export", { ledger, size: checkExport(filesIn(join(file, ledger)), origin, known(origin)) });
  }
  if (command === "inspect") {
    const client = partner.connect();
    await inspect(partner, client.Inspect());
    return client.close();
  }
  const streams = new Streams(partner);
  const replicas = [];
  const { node, partner: other } = partner.config;
  const running = Promise.all([
    lane(streams, replicas, `signalfire/v1/${other.node}/${node}/flash/1`),
    lane(streams, replicas, `signalfire/v1/${other.node}/witness/1`),
    streams.keepUp("Heartbeat", (call) => listen(partner, replicas, call)),
  ]);
  for await (const line of createInterface({ input: process.stdin })) if (line === "reconnect") streams.drop();
  streams.over = true;
  streams.drop();
  await running;
}

try {
  await main(...process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  print("refused", { why: error.message });
  process.exitCode = 1;
}
