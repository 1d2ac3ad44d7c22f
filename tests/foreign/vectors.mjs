// Every test vector that a partner can check: what must be accepted is, what must be refused is refused.
//
//   node vectors.mjs DIRECTORY     one line for each: file, name, due ("accepted" or "refused"), held, and why not
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { associatedData, contentOf, epochInfo, nonceAt, openEpoch, openSealed, parseHeader, sealingKey } from "./entries.mjs";
import { checkExport } from "./export.mjs";
import { checkProof, leafHash, parseHeartbeat, parseStatement, rootFromPath, Tree, verifyBatch } from "./ledger.mjs";
import { checkOnward } from "./onward.mjs";
import {
  COSIGNATURE, cosignNote, ED25519, need, noteKey, openNote, parseCheckpoint, parseOrigin, parseVerifierKey, Refused,
  signingKey, signNote,
} from "./notes.mjs";

const directory = process.argv[2];
const read = (name) => JSON.parse(readFileSync(join(directory, `${name}.json`), "utf-8"));
const hex = (text) => Buffer.from(text, "hex");
const same = (bytes, text, what) => need(Buffer.from(bytes).toString("hex") === text, `another ${what}`);

async function check(file, vectors, due, one) {
  for (const vector of vectors) {
    let why = null;
    try {
      await one(vector);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      why = error.message;
    }
    const name = vector.name ?? vector.kind ?? vector.size;
    process.stdout.write(`${JSON.stringify({ file, name, due, held: (why === null) === (due === "accepted"), why })}\n`);
  }
}

async function entries() {
  const { origin, epoch, content_key: contentKey, readers, opening, accepted, refused } = read("entry");
  const keys = readers.map((reader) => sealingKey(reader.node, hex(reader.mlkem_seed), hex(reader.x25519)));
  await check("entry", readers, "accepted", async (reader) => {
    const key = keys.find((each) => each.node === reader.node);
    same(key.id, reader.key_id, "key id");
    same(epochInfo(origin, BigInt(epoch), key), reader.info, "info");
    same(await openEpoch(hex(opening), BigInt(epoch), origin, [key]), contentKey, "content key");
  });
  const open = (vector) => openSealed(hex(vector.entry), BigInt(vector.index), origin, BigInt(epoch), hex(contentKey));
  // JSON.parse rounds the index 2^63 - 1; in the file it is exact.
  const exact = (vectors) => vectors.map((each) => ({ ...each, index: each.index > 2 ** 53 ? 2n ** 63n - 1n : each.index }));
  await check("entry", exact(accepted), "accepted", (vector) => {
    same(Buffer.concat(open(vector)), vector.content, "content");
    const { header } = parseHeader(hex(vector.entry), BigInt(vector.index));
    same(header, vector.header, "header");
    same(nonceAt(vector.index), vector.nonce, "nonce");
    same(associatedData(origin, vector.index, header), vector.associated_data, "associated data");
  });
  await check("entry", exact(refused), "refused", open);
  const spoilt = accepted.slice(0, 3).map(({ name, index, entry }) => ({ name: `${name}, a bit of it altered`, index, entry: spoil(entry) }));
  await check("entry", spoilt, "refused", open);
}

function spoil(text) {
  const bytes = hex(text);
  bytes[bytes.length - 20] ^= 1;
  return bytes.toString("hex");
}

async function checkpoints() {
  const { origin, vkey, accepted, refused } = read("checkpoint");
  const open = (note) => {
    const checkpoint = parseCheckpoint(openNote(note, [parseVerifierKey(vkey)]).text);
    need(checkpoint.origin === origin, "another ledger");
    return checkpoint;
  };
  await check("checkpoint", accepted, "accepted", ({ note, size, root }) => {
    const checkpoint = open(note);
    need(checkpoint.size === BigInt(size), "another size");
    same(checkpoint.root, root, "root");
  });
  await check("checkpoint", refused, "refused", ({ note }) => open(note));
}

async function cosignatures() {
  const { origin, receipt_vkey: receiptKey, receipt_seed: seed, pq_vkey: pqKey, accepted, refused } = read("cosignature");
  const keys = [parseVerifierKey(receiptKey), parseVerifierKey(pqKey)];
  const text = openNote(accepted[0].note, keys).text;
  await check("cosignature", accepted, "accepted", ({ vkey, note, time }) => {
    const { by } = openNote(note, keys);
    need(by.length === 1 && by[0].time === BigInt(time), "another time");
    const known = parseVerifierKey(vkey);
    need(by[0].key.id.equals(known.id), "another key");
    if (known.type !== COSIGNATURE) return;
    // Ed25519 is deterministic: our own receipt is the same to the byte.
    const own = signingKey(known.name, COSIGNATURE, hex(seed));
    need(cosignNote(text, own, time).toString() === note, "our own receipt is another");
  });
  // "The receipt key used as a log key" is refused by who asks for a log key; a bundle never holds one key as both.
  await check("cosignature", refused, "refused", ({ note }) => {
    const opened = openNote(note, keys);
    need(parseCheckpoint(opened.text).origin === origin, "another ledger");
  });
}

async function statements() {
  const { origin, vkeys, accepted, refused } = read("statement");
  const ledger = parseOrigin(origin);
  const keys = Object.fromEntries(Object.entries(vkeys).map(([node, vkey]) => [node, [parseVerifierKey(vkey)]]));
  const one = ({ kind, note, takes }) =>
    kind === "heartbeat"
      ? need(parseHeartbeat(note, ledger.owner, ledger.recipient, keys[ledger.owner]).takes === takes, "another thing taken")
      : parseStatement(kind, note, ledger, keys[kind === "absent" ? ledger.owner : ledger.recipient]);
  await check("statement", accepted, "accepted", one);
  await check("statement", refused, "refused", one);
}

async function proofs() {
  const held = read("proof");
  const known = {
    log: [parseVerifierKey(held.log_vkey)],
    gateway: [parseVerifierKey(held.gateway_vkey)],
    pq: [parseVerifierKey(held.pq_vkey)],
    receipt: [parseVerifierKey(held.receipt_vkey)],
  };
  const one = ({ file }) => need(checkProof(file, () => known).ledger === held.origin, "another ledger");
  await check("proof", held.accepted, "accepted", one);
  await check("proof", held.refused, "refused", one);
}

async function exports() {
  const { origin, log_vkey: log, gateway_vkey: gateway, pq_vkey: pq, receipt_vkey: receipt, files, refused } = read("export");
  const keys = { log, gateway, pq, receipt };
  const known = Object.fromEntries(Object.entries(keys).map(([kind, vkey]) => [kind, [parseVerifierKey(vkey)]]));
  const folder = new Map(Object.entries(files).map(([path, content]) => [path.replace(`${origin}/`, ""), hex(content)]));
  const one = ({ file, content }) => {
    const changed = new Map(folder);
    const path = file?.replace(`${origin}/`, "");
    if (content === null) changed.delete(path);
    else if (file) changed.set(path, hex(content));
    checkExport(changed, parseOrigin(origin), { ...known, recipient: [] });
  };
  await check("export", [{ name: "as it is" }], "accepted", one);
  await check("export", refused, "refused", one);
}

async function onward() {
  const { originator, log_key: key, carrier, node, accepted, refused } = read("onward");
  const keysOf = (who, name) => (who === originator ? [noteKey(name, ED25519, hex(key))] : null);
  // Field 7 of an EntryContent, as it stands in an entry.
  const framed = (bytes) => Buffer.concat([Buffer.from([7 * 8 + 2, (bytes.length & 127) | 128, bytes.length >> 7]), bytes]);
  const one = ({ onward_report: bytes }) => checkOnward(contentOf([framed(hex(bytes))]).onward_report, carrier, node, keysOf);
  await check("onward", accepted, "accepted", one);
  await check("onward", refused, "refused", one);
}

async function trees() {
  const { roots, inclusion, notes } = read("rfc6962");
  const decoded = (text) => Buffer.from(text, "base64");
  const leaf = (index) => leafHash(`entry ${index}`);
  const equal = (root, size) => need(root.equals(decoded(roots[size])), "another root");
  let tree = new Tree();
  for (const size of Object.keys(roots).map(Number).sort((one, other) => one - other)) {
    const from = Number(tree.size);
    tree = tree.with(Array.from({ length: size - from }, (_, at) => leaf(from + at)));
    await check("rfc6962", [{ name: `root of ${size}` }], "accepted", () => equal(tree.root, size));
  }
  const named = inclusion.map((each) => ({ ...each, name: `entry ${each.index} of ${each.size}` }));
  await check("rfc6962", named, "accepted", ({ index, size, proof }) =>
    equal(rootFromPath(leaf(index), BigInt(index), BigInt(size), proof.map(decoded)), size),
  );
  const keys = notes.keys.map((key) => parseVerifierKey(key.public));
  await check("rfc6962", notes.notes, "accepted", ({ signed, signed_by_both: both, text }) => {
    need(openNote(signed, keys).by.length === 1 && openNote(both, keys).by.length === 2, "other signatures");
    need(parseCheckpoint(openNote(both, keys).text).text === text, "another text");
  });
}

// One batch as it comes on a stream, and what an origin may not send in its place.
async function batches() {
  const { origin: line, seed } = read("checkpoint");
  const origin = parseOrigin(line);
  const entries = read("entry").accepted.slice(0, 3).map(({ entry }) => hex(entry));
  const key = (name) => signingKey(name, ED25519, hex(seed));
  const bundle = {
    logKeys: (name) => [noteKey(name, ED25519, key(name).bytes)],
    gatewayKeys: [key("signalfire/v1/JPN/gateway")],
  };
  const bundled = (all) => Buffer.concat(all.flatMap((entry) => [Buffer.from([entry.length >> 8, entry.length & 255]), entry]));
  const signed = (hashes, { name = line, by = line } = {}) => {
    const tree = new Tree().with(hashes);
    return signNote(`${name}\n${tree.size}\n${tree.root.toString("base64")}\n`, key(by));
  };
  const hashes = entries.map((entry) => leafHash(entry));
  const good = { first: "0", count: 3, entries: bundled(entries), absent: [], checkpoint: signed(hashes) };
  const other = "signalfire/v1/JPN/USA/flash/1";
  const one = (changes) => () => verifyBatch({ ...good, ...changes }, origin, new Tree(), bundle);
  const absentAt = (index, hash, by = "JPN") => {
    const text = `signalfire/v1/${by}/absent\n${line}\n${index}\n${hash.toString("base64")}\nthe partner is suspended\n`;
    return { index: String(index), leaf_hash: hash, note: signNote(text, key(`signalfire/v1/${by}/gateway`)) };
  };
  const hole = bundled([entries[0], Buffer.alloc(0), entries[2]]);
  const flipped = Buffer.from(good.entries);
  flipped[700] ^= 1;
  const run = (due, named) =>
    check("batch", Object.entries(named).map(([name, changes]) => ({ name, changes })), due, ({ changes }) => one(changes)());
  await run("accepted", { "three entries": {}, "one of them as its hash": { entries: hole, absent: [absentAt(1, hashes[1])] } });
  await run("refused", {
    "an altered entry": { entries: flipped },
    "entries in another order": { entries: bundled([entries[1], entries[0], entries[2]]) },
    "an entry left out": { entries: bundled(entries.slice(1)), count: 2 },
    "an entry too many": { entries: bundled([...entries, entries[0]]) },
    "a bundle that ends early": { entries: good.entries.subarray(0, -1) },
    "a batch from further on": { first: "1" },
    "no entry": { count: 0, entries: Buffer.alloc(0) },
    "a checkpoint of another size": { checkpoint: signed(hashes.slice(1)) },
    "a checkpoint of another ledger": { checkpoint: signed(hashes, { name: other, by: other }) },
    "another ledger under this key name": { checkpoint: signed(hashes, { name: other }) },
    "a checkpoint by nobody known": { checkpoint: signed(hashes, { by: other }) },
    "an entry that is gone without a word": { entries: hole },
    "an entry that is there and absent": { absent: [absentAt(1, hashes[1])] },
    "a reason for another entry": { entries: hole, absent: [absentAt(0, hashes[1])] },
    "a reason with another hash": { entries: hole, absent: [{ ...absentAt(1, hashes[0]), leaf_hash: hashes[1] }] },
    "a reason by the recipient": { entries: hole, absent: [absentAt(1, hashes[1], "KOR")] },
  });
}

await entries();
await checkpoints();
await cosignatures();
await statements();
await proofs();
await exports();
await onward();
await trees();
await batches();
