// Entries: headers, epochs and sealed content, from docs/protocol.md ("Entries") and proto/ alone.
import { join } from "node:path";
import { need, Refused, sha256, uint64 } from "./notes.mjs";
import { contract, load } from "./packages.mjs";

const { default: protobuf } = await load("protobufjs");
const { gcmsiv } = await load("@noble/ciphers/aes.js");
const { x25519 } = await load("@noble/curves/ed25519.js");
const { combineKEMS, _ecdhKem } = await load("@noble/post-quantum/hybrid.js");
const { ml_kem768 } = await load("@noble/post-quantum/ml-kem.js");
const { sha3_256 } = await load("@noble/hashes/sha3.js");
const { Aes256Gcm, CipherSuite, HkdfSha256 } = (await load("@hpke/core")).default;
const { XCryptoKey } = (await load("@hpke/common")).default;

export const SEALED = 1;
export const OPENING = 2;
const CLASSES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65024];
const HEADER = 44;
const TAG = 16;

const root = new protobuf.Root();
root.resolvePath = (_, name) => join(contract, name);
root.loadSync("signalfire/v1/ledger.proto", { keepCase: true });
const typeOf = (name) => root.lookupType(`signalfire.v1.${name}`);

// --- canonical form

// Without what holds its default value: protobufjs keeps what it read, and would write it again.
function bare(value) {
  if (Array.isArray(value)) return value.map(bare);
  if (value instanceof Uint8Array || value === null || typeof value !== "object" || protobuf.util.Long?.isLong(value)) {
    return value;
  }
  const kept = Object.entries(value).filter(([, each]) => each !== 0 && each !== "" && each?.length !== 0);
  return Object.fromEntries(kept.map(([name, each]) => [name, bare(each)]));
}

// A message that must be in canonical form, as a plain object; what is not set is not there.
export function canonical(name, bytes) {
  const type = typeOf(name);
  let read;
  try {
    read = bare(type.toObject(type.decode(bytes)));
  } catch (error) {
    throw new Refused(`not a ${name}: ${error.message}`);
  }
  need(Buffer.from(type.encode(type.fromObject(read)).finish()).equals(Buffer.from(bytes)), `a ${name} not in canonical form`);
  return read;
}

// --- headers

export function parseHeader(entry, index) {
  need(entry.length > HEADER && entry.length <= 65535, "an entry of another length");
  const [version, kind, padding, reserved] = entry;
  need(version === 1, "another format version");
  need(kind === SEALED || kind === OPENING, "another kind");
  need(reserved === 0, "the reserved byte is set");
  const header = Buffer.from(entry.subarray(0, HEADER));
  const epoch = header.readBigUInt64BE(4);
  const commitment = header.subarray(12);
  if (kind === OPENING) {
    need(padding === 0 && commitment.every((byte) => byte === 0), "an opening with padding or commitment");
    need(epoch === index, "an opening of another epoch");
  } else {
    need(padding < CLASSES.length, "another padding class");
    need(entry.length === HEADER + CLASSES[padding] + TAG, "a class of another length");
    need(epoch < index, "content that does not name an earlier index as its epoch");
  }
  return { kind, padding, epoch, commitment, header, body: Buffer.from(entry.subarray(HEADER)) };
}

// --- epochs

// X-Wing from the two seeds of a key, as they lie: a key of one seed of 32 bytes would be expanded to these first.
const xwing = combineKEMS(
  undefined,
  32,
  (seed) => seed,
  (publics, sealed, secrets) => sha3_256(Buffer.concat([...secrets, sealed[1], publics[1], Buffer.from("\\.//^\\")])),
  ml_kem768,
  _ecdhKem(x25519),
);

// A private sealing key: ML-KEM-768 seed (64 bytes) and X25519 scalar.
export function sealingKey(node, mlkemSeed, x25519Scalar) {
  const { secretKey, publicKey } = xwing.keygen(Buffer.concat([mlkemSeed, x25519Scalar]));
  return { node, secret: secretKey, id: sha256(publicKey).subarray(0, 16) };
}

// The KEM in the shape that the HPKE package asks for. It only opens.
const kem = {
  id: 0x647a,
  secretSize: 32,
  encSize: 1120,
  publicKeySize: 1216,
  privateKeySize: 96,
  decap: async ({ enc, recipientKey }) =>
    Uint8Array.from(xwing.decapsulate(new Uint8Array(enc), recipientKey.key)).buffer,
};
const suite = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() });

export function epochInfo(origin, epoch, key) {
  return Buffer.concat([Buffer.from(`signalfire/v1/epoch\0${origin}\0`), uint64(epoch), Buffer.from(key.node), key.id]);
}

// The content key of the epoch that an entry of kind 2 opens, by whichever of `keys` it is wrapped for.
export async function openEpoch(entry, index, origin, keys) {
  const { kind, body } = parseHeader(entry, index);
  need(kind === OPENING, "not an opening");
  const opening = canonical("EpochOpening", body);
  need(opening.suite === 1, "another suite");
  const wraps = opening.wraps ?? [];
  const ids = wraps.map((wrap) => Buffer.from(wrap.key_id ?? []).toString("hex"));
  need(new Set(ids).size === ids.length, "a key id twice");
  for (const [at, wrap] of wraps.entries()) {
    const key = keys.find((each) => each.node === wrap.node && each.id.toString("hex") === ids[at]);
    if (!key) continue;
    need(wrap.ciphertext?.length === 1168, "a wrap of another length");
    // Copies: what protobufjs gives is a view into the whole message.
    const [enc, sealed] = [[0, 1120], [1120, 1168]].map(([from, to]) => Uint8Array.from(wrap.ciphertext.subarray(from, to)));
    try {
      const info = epochInfo(origin, index, key);
      const recipientKey = new XCryptoKey("X-Wing", new Uint8Array(key.secret), "private", ["deriveBits"]);
      const content = await suite.open({ recipientKey, enc: enc.buffer, info }, sealed);
      need(content.byteLength === 32, "a content key of another length");
      return Buffer.from(content);
    } catch (error) {
      throw error instanceof Refused ? error : new Refused(`the epoch does not open: ${error.message}`);
    }
  }
  throw new Refused("an epoch that is not opened for any of these keys");
}

// --- sealed content

export const nonceAt = (index) => Buffer.concat([Buffer.alloc(4), uint64(index)]);

export const associatedData = (origin, index, header) =>
  Buffer.concat([Buffer.from(`${origin}\0`), uint64(index), header]);

// The shown parts of the sealed content at `index`, once every rule of a reader holds.
export function openSealed(entry, index, origin, epoch, contentKey) {
  const parsed = parseHeader(entry, index);
  need(parsed.kind === SEALED, "not sealed content");
  need(parsed.epoch === epoch, "content of another epoch");
  let plain;
  try {
    plain = Buffer.from(gcmsiv(contentKey, nonceAt(index), associatedData(origin, index, parsed.header)).decrypt(parsed.body));
  } catch {
    throw new Refused("the tag does not hold");
  }
  const length = plain.readUInt32BE();
  need(length <= plain.length - 4, "a length beyond the plaintext");
  need(parsed.padding === CLASSES.findIndex((size) => length + 4 <= size), "a class that is not the smallest");
  need(plain.subarray(4 + length).every((byte) => byte === 0), "padding that is not zero");
  return openPayload(canonical("SealedPayload", plain.subarray(4, 4 + length)), parsed.commitment);
}

// The contents of the shown parts of a payload that is what the commitment stands for.
export function openPayload(payload, commitment) {
  const parts = payload.parts ?? [];
  need(parts.length >= 1 && parts.length <= 64, "1 to 64 parts are due");
  const hashes = parts.map((part) => {
    const group = part.group ?? 0;
    if (part.leaf_hash) {
      need(part.leaf_hash.length === 32 && !part.salt && !part.content && group === 0, "a hidden part of another shape");
      return Buffer.from(part.leaf_hash);
    }
    need(part.salt?.length === 32 && group >= 0 && group <= 255, "a shown part of another shape");
    return sha256([0], part.salt, [group], part.content ?? []);
  });
  const shown = parts.filter((part) => !part.leaf_hash);
  need(shown.length, "every part is hidden");
  need(parts.length === 1 || shown.every((part) => part.group), "the whole content beside other parts");
  need(rootOf(hashes).equals(Buffer.from(commitment)), "another commitment");
  return shown.map((part) => Buffer.from(part.content ?? []));
}

function rootOf(hashes) {
  if (hashes.length === 1) return hashes[0];
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  return sha256([1], rootOf(hashes.slice(0, split)), rootOf(hashes.slice(split)));
}

// --- what is said

// The `EntryContent` that shown parts are together: each read by itself, then merged as protobuf merges messages.
export function contentOf(parts) {
  const type = typeOf("EntryContent");
  const read = parts.map((part) => {
    try {
      return type.toObject(type.decode(part), { longs: String });
    } catch (error) {
      throw new Refused(`not an EntryContent: ${error.message}`);
    }
  });
  return read.reduce(merged, {});
}

function merged(first, second) {
  const joined = { ...first };
  for (const [name, value] of Object.entries(second)) {
    const before = first[name];
    if (Array.isArray(value)) joined[name] = [...(before ?? []), ...value];
    else if (value instanceof Uint8Array || typeof value !== "object" || before === undefined) joined[name] = value;
    else joined[name] = merged(before, value);
  }
  return joined;
}

// A content with the names of its enums.
export function legible(content) {
  const type = typeOf("EntryContent");
  return type.toObject(type.fromObject(content), { longs: String, enums: String });
}

// Where a report holds values: dotted paths without indices. Times and durations are values.
export function leaves(report) {
  const found = new Set();
  walk(typeOf("Report"), report, "", (path) => found.add(path));
  return [...found];
}

// The serialised report with those values alone whose path `keep` holds of.
export function only(report, keep) {
  const type = typeOf("Report");
  return Buffer.from(type.encode(type.fromObject(walk(type, report, "", keep) ?? {})).finish());
}

function walk(type, message, before, keep) {
  const kept = Object.entries(message).flatMap(([name, value]) => {
    const inner = type.fields[name].resolve().resolvedType;
    const path = before + name;
    if (!(inner instanceof protobuf.Type) || inner.fullName.startsWith(".google.protobuf.")) return keep(path) ? [[name, value]] : [];
    const below = [value].flat().map((each) => walk(inner, each, `${path}.`, keep)).filter((each) => each);
    return below.length ? [[name, Array.isArray(value) ? below : below[0]]] : [];
  });
  return kept.length ? Object.fromEntries(kept) : null;
}

const ALWAYS = ["report_id", "originator_node", "report_time", "traffic_class", "precedence", "marking"];
const KINDS = ["launch_detection", "track", "impact_prediction", "correction", "cancellation", "all_clear"];

// Refuses content that may not stand in a ledger of `owner`; of a report only what is always released is asked for.
export function judge(content, owner) {
  const said = Object.keys(content);
  need(said.length === 1, "exactly one kind of content is due");
  need(["report", "onward_report", "withdrawal", "succession", "cover", "sealed_recovery"].includes(said[0]), "content of another kind");
  if (content.report) {
    const missing = ALWAYS.filter((name) => content.report[name] === undefined);
    need(!missing.length, `not set: ${missing.join(", ")}`);
    need(content.report.originator_node === owner, "originator_node: not the owner of the ledger");
    need(KINDS.some((kind) => content.report[kind]), "content: not set");
  }
  if (content.withdrawal) {
    const missing = ["report_id", "time", "traffic_class", "precedence"].filter((name) => content.withdrawal[name] === undefined);
    need(!missing.length, `not set: ${missing.join(", ")}`);
  }
  return said[0];
}
