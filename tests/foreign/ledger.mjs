// Trees, statements, batches and proof files, from docs/protocol.md ("Ledgers", "Proof files") alone.
import {
  base64, decimal, linesOf, need, openNote, parseCheckpoint, parseOrigin, EMPTY_ROOT, sha256, signNote,
} from "./notes.mjs";
import { canonical, contentOf, openPayload, parseHeader, SEALED } from "./entries.mjs";

export const leafHash = (data) => sha256([0], data);
const nodeHash = (left, right) => sha256([1], left, right);

// --- trees (RFC 6962)

// An append-only tree, as the roots of its perfect subtrees, the largest first.
export class Tree {
  constructor(size = 0n, peaks = []) {
    this.size = size;
    this.peaks = peaks;
  }

  with(leaves) {
    const peaks = [...this.peaks];
    let size = this.size;
    for (let hash of leaves) {
      for (let bits = size; bits & 1n; bits >>= 1n) hash = nodeHash(peaks.pop(), hash);
      peaks.push(hash);
      size += 1n;
    }
    return new Tree(size, peaks);
  }

  get root() {
    if (!this.peaks.length) return EMPTY_ROOT;
    return this.peaks.reduceRight((right, left) => nodeHash(left, right));
  }
}

// The root to which an inclusion path leads (RFC 9162, 2.1.3.2). Refused where the path has another length.
export function rootFromPath(leaf, index, size, path) {
  need(index < size, "an index beyond the tree");
  let [place, last, hash] = [index, size - 1n, leaf];
  for (const other of path) {
    need(last > 0n, "a path that is too long");
    if (place & 1n || place === last) {
      hash = nodeHash(other, hash);
      while (!(place & 1n) && place) [place, last] = [place >> 1n, last >> 1n];
    } else hash = nodeHash(hash, other);
    [place, last] = [place >> 1n, last >> 1n];
  }
  need(last === 0n, "a path that is too short");
  return hash;
}

// --- statements

// What can be printed: letters, marks, numbers, punctuation, symbols and the space.
const REASON = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,256}$/u;

// A statement `absent` or `unopenable` about an entry of `origin`, by one of `keys`, which are the node's that makes it.
export function parseStatement(kind, note, origin, keys, by = kind === "absent" ? origin.owner : origin.recipient) {
  const [header, ledger, index, hash, reason] = linesOf(openNote(note, keys).text, 5);
  need(header === `signalfire/v1/${by}/${kind}`, "a statement of another kind or node");
  need(ledger === origin.line, "a statement about another ledger");
  need(REASON.test(reason), "no reason of one printable line");
  return { index: decimal(index), leafHash: base64(hash, 32), reason };
}

export function unopenable(origin, index, leaf, reason, key) {
  const text = [`signalfire/v1/${origin.recipient}/unopenable`, origin.line, index, leaf.toString("base64"), reason];
  return signNote(`${text.join("\n")}\n`, key);
}

const TAKES = ["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH", "nothing"].map((each) => `takes ${each}`);

// A heartbeat of `from` for `to`: time, counter, what its node takes from its own systems, and the heads by origin line.
export function parseHeartbeat(note, from, to, keys) {
  const [header, recipient, time, counter, takes, ...heads] = linesOf(openNote(note, keys).text, 5, true);
  need(header === `signalfire/v1/${from}/heartbeat` && recipient === to, "a heartbeat of another node, or for another");
  need(TAKES.includes(takes), "it does not say what is taken");
  need(heads.length <= 64, "more than 64 ledgers");
  const found = heads.map((line) => {
    const [origin, size, root, more] = line.split(" ");
    need(root !== undefined && more === undefined, "a head of another shape");
    const { owner, recipient: reader } = parseOrigin(origin);
    need(owner === from && reader === to, "a ledger for another");
    const head = parseCheckpoint(`${origin}\n${size}\n${root}\n`);
    return [head.origin, head];
  });
  need(heads.every((line, at) => at === 0 || found[at - 1][0] < found[at][0]), "ledgers twice or out of order");
  return { time: decimal(time), counter: decimal(counter), takes: takes.slice("takes ".length), heads: new Map(found) };
}

// --- batches

// An entry bundle of exactly `count` entries.
export function splitEntries(bytes, count) {
  const entries = [];
  for (let at = 0; at < bytes.length; ) {
    need(at + 2 <= bytes.length, "an entry bundle that ends early");
    const length = bytes.readUInt16BE(at);
    need(at + 2 + length <= bytes.length, "an entry bundle that ends early");
    entries.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  need(entries.length === count, "another number of entries");
  return entries;
}

// Rules 1 to 4 of a follower: the tree with the batch, its checkpoint, and entries and leaf hashes.
export function verifyBatch(batch, origin, tree, bundle) {
  const { text } = openNote(batch.checkpoint, bundle.logKeys(origin.line));
  const checkpoint = parseCheckpoint(text);
  need(checkpoint.origin === origin.line, "a checkpoint of another ledger");
  const first = BigInt(batch.first);
  need(first === tree.size, "a batch that does not begin where the replica ends");
  need(batch.count >= 1 && batch.count <= 8192, "a batch of no entry, or of too many");
  need(batch.entries.length <= 2 ** 21, "a batch of more than 2 MiB");
  need(checkpoint.size === first + BigInt(batch.count), "a checkpoint of another size");
  const entries = splitEntries(batch.entries, batch.count);
  const absent = [...batch.absent];
  const hashes = entries.map((entry, at) => {
    if (entry.length) return leafHash(entry);
    const given = absent.shift();
    const index = first + BigInt(at);
    need(given && BigInt(given.index) === index, "an entry of no bytes that is not said to be absent");
    const said = parseStatement("absent", given.note, origin, bundle.gatewayKeys);
    need(said.index === index && said.leafHash.equals(given.leaf_hash), "a reason for another entry");
    return said.leafHash;
  });
  need(!absent.length, "a reason for an entry that is there");
  need(origin.lane !== "witness" || batch.absent.length === 0, "a witness ledger with an absent entry");
  const next = tree.with(hashes);
  need(next.root.equals(checkpoint.root), "the entries do not give the signed root");
  return { tree: next, checkpoint, entries, hashes };
}

// --- proof files

const HEADER = "c2sp.org/tlog-proof@v1";

// Checks a proof file. `keys(origin)` gives { log, gateway, pq, receipt }: lists of note keys.
export function checkProof(file, keys) {
  const bytes = Buffer.from(file);
  need(bytes.length <= 327680, "a file of more than 327,680 bytes");
  const text = bytes.toString("utf-8");
  const end = text.indexOf("\n\n");
  need(end > 0, "not a proof file");
  const lines = text.slice(0, end).split("\n");
  need(lines.shift() === HEADER, "another first line");
  need(lines[0]?.startsWith("extra ") && lines[0].length > 6, "no extra data");
  const extra = base64(lines.shift().slice(6));
  need(extra.length <= 131072, "more than 131,072 bytes of extra data");
  need(lines[0]?.startsWith("index "), "no index");
  const index = decimal(lines.shift().slice(6));
  need(lines.length <= 63, "a path of more than 63 hashes");
  const path = lines.map((line) => base64(line, 32));
  const note = text.slice(end + 2);
  const origin = parseOrigin(note.slice(0, note.indexOf("\n")));
  need(origin.recipient !== origin.owner, "not a release ledger");
  const known = keys(origin);
  const opened = openNote(note, [...known.log, ...known.pq, ...known.receipt]);
  const checkpoint = parseCheckpoint(opened.text);
  need(index < checkpoint.size, "an index beyond the ledger");
  const proof = canonical("ReleaseProof", extra);
  need(Boolean(proof.entry?.length) !== Boolean(proof.absent?.length), "an entry or a reason for its absence is due");
  let leaf;
  if (proof.absent?.length) {
    need(!proof.disclosed, "parts of what is absent");
    const said = parseStatement("absent", proof.absent, origin, known.gateway);
    need(said.index === index, "a reason for another entry");
    leaf = said.leafHash;
  } else {
    need(parseHeader(proof.entry, index).kind === SEALED, "not sealed content");
    leaf = leafHash(proof.entry);
  }
  need(opened.by.some(({ key }) => known.log.includes(key)), "no log key has signed");
  need(rootFromPath(leaf, index, checkpoint.size, path).equals(checkpoint.root), "the path leads to another root");
  let content = null;
  if (proof.disclosed) {
    const { commitment } = parseHeader(proof.entry, index);
    content = contentOf(openPayload(proof.disclosed, commitment));
    need(content.report || content.onward_report || content.withdrawal, "content that is no release");
    need(!content.report || content.report.originator_node === origin.owner, "a report of another node");
  }
  const signed = (list) => opened.by.some(({ key }) => list.includes(key));
  return { ledger: origin.line, index, content, receipt: signed(known.receipt), postQuantum: signed(known.pq) };
}
