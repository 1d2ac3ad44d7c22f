// Signed notes, keys and trust bundles, from docs/protocol.md ("Who is who") alone.
import { createHash, createPrivateKey, createPublicKey, sign as signEd25519, verify as verifyEd25519 } from "node:crypto";
import { load } from "./packages.mjs";

const { ml_dsa44 } = await load("@noble/post-quantum/ml-dsa.js");

export const ED25519 = 1;
export const COSIGNATURE = 4;
export const POST_QUANTUM = 6;
const LARGEST_NOTE = 65536;
const LARGEST = 2n ** 63n - 1n;
const LANES = ["flash", "immediate", "priority", "routine"];
const ORIGIN = new RegExp(`^signalfire/v1/([A-Z]{3})/(?:([A-Z]{3})/(${LANES.join("|")})|(decisions|witness))/(\\d+)$`);

// What is not as the protocol says.
export class Refused extends Error {}

export function need(condition, why) {
  if (!condition) throw new Refused(why);
}

export const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest();

export function uint64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export function base64(text, length) {
  const bytes = Buffer.from(text, "base64");
  need(bytes.toString("base64") === text, "base64 that is not canonical");
  need(length === undefined || bytes.length === length, `not ${length} bytes`);
  return bytes;
}

export function decimal(text) {
  need(/^(0|[1-9][0-9]*)$/.test(text), "not a decimal");
  need(BigInt(text) <= LARGEST, "above 2^63 - 1");
  return BigInt(text);
}

// The parts of an origin line. The recipient of a node's own ledger is the node.
export function parseOrigin(line) {
  const found = ORIGIN.exec(line);
  need(found, "not an origin line");
  const [, owner, recipient, lane, own, generation] = found;
  need(decimal(generation) > 0n, "generations count from 1");
  need(owner !== recipient, "a node keeps no release ledger for itself");
  return { line, owner, recipient: recipient ?? owner, lane: lane ?? own, generation: BigInt(generation) };
}

// --- keys

// A key under which lines of notes are believed.
export function noteKey(name, type, bytes) {
  return { name, type, bytes: Buffer.from(bytes), id: sha256(name, "\n", [type], bytes).subarray(0, 4) };
}

export function parseVerifierKey(text) {
  const [name, id, encoded] = text.split(/\+([0-9a-f]{8})\+/);
  const bytes = base64(encoded);
  const key = noteKey(name, bytes[0], bytes.subarray(1));
  need(key.id.toString("hex") === id, "the key ID is of another key");
  return key;
}

const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");

// A private Ed25519 key that signs under `name`, from its seed of 32 bytes.
export function signingKey(name, type, seed) {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: "der", type: "pkcs8" });
  const x = createPublicKey(key).export({ format: "jwk" }).x;
  return { ...noteKey(name, type, Buffer.from(x, "base64url")), sign: (message) => signEd25519(null, message, key) };
}

const ed25519Public = (bytes) =>
  createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: bytes.toString("base64url") }, format: "jwk" });

const cosigned = (time, text) => Buffer.from(`cosignature/v1\ntime ${time}\n${text}`);

// What a line of type 0x06 signs: the tree that the checkpoint `text` names, from its first entry on.
function subtree(name, time, text) {
  const { origin, size, root } = parseCheckpoint(text);
  const prefixed = (value) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  return Buffer.concat([
    Buffer.from("subtree/v1\n\0"), prefixed(name), uint64(time), prefixed(origin), uint64(0), uint64(size), root,
  ]);
}

// Whether `signature` by `key` holds over `text`: the POSIX seconds of a cosignature, 0n of a plain signature, or null.
function holds(key, text, signature) {
  if (key.type === ED25519) {
    return signature.length === 64 && verifyEd25519(null, Buffer.from(text), ed25519Public(key.bytes), signature) ? 0n : null;
  }
  if (signature.length !== 8 + (key.type === COSIGNATURE ? 64 : 2420)) return null;
  const time = signature.readBigUInt64BE();
  const rest = signature.subarray(8);
  if (time === 0n) return null;
  const good =
    key.type === COSIGNATURE
      ? verifyEd25519(null, cosigned(time, text), ed25519Public(key.bytes), rest)
      : ml_dsa44.verify(rest, subtree(key.name, time, text), key.bytes);
  return good ? time : null;
}

// --- notes

// The text of a note that at least one of `keys` has signed, and by which of them, each with its time.
export function openNote(note, keys) {
  const bytes = Buffer.from(note);
  need(bytes.length <= LARGEST_NOTE, "a note of more than 65,536 bytes");
  const whole = bytes.toString("utf-8");
  need(Buffer.from(whole).equals(bytes), "a note that is not UTF-8");
  need(!/[\0-\x09\x0b-\x1f]/.test(whole), "a control character in a note");
  const end = whole.lastIndexOf("\n\n");
  need(end > 0 && whole.endsWith("\n"), "not a note");
  const text = whole.slice(0, end + 1);
  const lines = whole.slice(end + 2, -1).split("\n");
  need(lines.length <= 16, "more than 16 signature lines");
  const by = [];
  for (const line of lines) {
    const found = /^— ([^\s+]+) (\S+)$/u.exec(line);
    need(found, "a signature line of another shape");
    const value = base64(found[2]);
    need(value.length > 4, "a signature line without signature");
    const key = keys.find((each) => each.name === found[1] && each.id.equals(value.subarray(0, 4)));
    if (!key) continue;
    need(!by.some((each) => each.key === key), "a known key twice");
    const time = holds(key, text, value.subarray(4));
    need(time !== null, `the signature of ${key.name} does not hold`);
    by.push({ key, time });
  }
  need(by.length, "no known key has signed");
  return { text, by };
}

const signatureLine = (key, signature) => `— ${key.name} ${Buffer.concat([key.id, signature]).toString("base64")}\n`;

export const signNote = (text, key) => Buffer.from(`${text}\n${signatureLine(key, key.sign(Buffer.from(text)))}`);

export function cosignNote(text, key, time) {
  return Buffer.from(`${text}\n${signatureLine(key, Buffer.concat([uint64(time), key.sign(cosigned(time, text))]))}`);
}

// Lines of a text that has exactly `count` of them, or at least so many where `open`.
export function linesOf(text, count, open = false) {
  const lines = text.slice(0, -1).split("\n");
  need(text.endsWith("\n") && (open ? lines.length >= count : lines.length === count), "another number of lines");
  return lines;
}

export const EMPTY_ROOT = sha256("");

export function parseCheckpoint(text) {
  const [origin, size, root] = linesOf(text, 3);
  parseOrigin(origin);
  const checkpoint = { text, origin, size: decimal(size), root: base64(root, 32) };
  need(checkpoint.size > 0n || checkpoint.root.equals(EMPTY_ROOT), "a root of an empty ledger that is another");
  return checkpoint;
}

// --- trust bundles

const MEMBERS = ["endpoints", "gateway_ca", "gateway_crl", "log_keys", "node", "pq_keys", "receipt_keys", "retired",
  "sealing_keys", "trust_domain"];

// Whether an object of valid JSON has a member twice: JSON.parse takes the last and says nothing.
function memberTwice(json) {
  const open = [];
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g) ?? [];
  return tokens.some((token, index) => {
    if (token === "{" || token === "[") open.push(new Set());
    else if (token === "}" || token === "]") open.pop();
    else if (token !== ":" && tokens[index + 1] === ":") {
      const name = JSON.parse(token);
      if (open.at(-1).has(name)) return true;
      open.at(-1).add(name);
    }
    return false;
  });
}

const exactly = (value, names) => {
  need(value && typeof value === "object" && !Array.isArray(value), "not an object");
  need(JSON.stringify(Object.keys(value).sort()) === JSON.stringify([...names].sort()), "other members than these");
};

function listOf(value, least, most, read) {
  need(Array.isArray(value) && value.length >= least && value.length <= most, `a list of ${least} to ${most} is due`);
  return value.map(read);
}

// The bundle of the node whose root is pinned. Whether it has expired is asked with `inForce`.
export function parseBundle(note, rootVerifierKey) {
  const root = parseVerifierKey(rootVerifierKey);
  const { text } = openNote(note, [root]);
  const [header, sequence, expiry, ...rest] = linesOf(text, 4, true);
  const node = /^signalfire\/v1\/([A-Z]{3})\/bundle$/.exec(header)?.[1];
  need(node && root.name === `signalfire/v1/${node}/root`, "a bundle of another node");
  need(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(expiry), "another form of time");
  let held;
  try {
    held = JSON.parse(rest.join("\n"));
  } catch {
    throw new Refused("not JSON");
  }
  need(!memberTwice(rest.join("\n")), "a member twice");
  exactly(held, MEMBERS);
  need(held.node === node && held.trust_domain === node.toLowerCase(), "a bundle of another node");
  const keys = (name, length) => listOf(held[name], 1, 8, (each) => base64(each, length));
  const logs = keys("log_keys", 32);
  const receipts = keys("receipt_keys", 32);
  need(!logs.some((log) => receipts.some((receipt) => receipt.equals(log))), "one key for logs and receipts");
  const retired = listOf(held.retired, 0, 16, (each) => {
    exactly(each, ["kind", "key", "until"]);
    need(["log", "receipt", "pq"].includes(each.kind), "a retired key of another kind");
    return { kind: each.kind, key: base64(each.key), until: Date.parse(each.until) };
  });
  const pq = keys("pq_keys", 1312);
  need(![...logs, ...receipts, ...pq].some((key) => retired.some((each) => each.key.equals(key))), "current and retired");
  return {
    node,
    sequence: decimal(sequence),
    expiry: Date.parse(expiry),
    authorities: listOf(held.gateway_ca, 1, 8, (each) => each),
    endpoints: listOf(held.endpoints, 0, 8, (each) => (exactly(each, ["address", "server_name"]), each)),
    retired,
    logKeys: (name) => logs.map((key) => noteKey(name, ED25519, key)),
    gatewayKeys: logs.map((key) => noteKey(`signalfire/v1/${node}/gateway`, ED25519, key)),
    receiptKeys: receipts.map((key) => noteKey(`signalfire/v1/${node}/receipt`, COSIGNATURE, key)),
    pqKeys: pq.map((key) => noteKey(`signalfire/v1/${node}/pq`, POST_QUANTUM, key)),
    note: Buffer.from(note),
  };
}

export const inForce = (bundle) => Date.now() < bundle.expiry;
