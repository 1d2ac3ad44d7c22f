// An exported ledger, from docs/protocol.md ("Exported ledgers") alone.
import { need, openNote, parseCheckpoint, Refused } from "./notes.mjs";
import { leafHash, parseStatement, splitEntries, Tree } from "./ledger.mjs";

const WIDTH = 256;
const KINDS = { checkpoint: "log", anchor: "log", pq: "pq", receipt: "receipt" };

// A number as a path: groups of three digits, of which all but the last begin with x.
function pathOf(number) {
  const digits = String(number);
  const groups = digits.padStart(3 * Math.ceil(digits.length / 3), "0").match(/\d{3}/g);
  return groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join("/");
}

// Path and width of each file of a level that has `count` hashes or entries.
function* filesOf(directory, count) {
  for (let tile = 0; tile * WIDTH < count; tile += 1) {
    const width = Math.min(WIDTH, count - tile * WIDTH);
    yield [`${directory}/${pathOf(tile)}${width < WIDTH ? `.p/${width}` : ""}`, tile * WIDTH, width];
  }
}

// Checks the files of an exported ledger, by their path below its directory. `keys` are lists of note keys: log, gateway,
// pq, receipt, and recipient (the recipient's log key under its name as a gateway). Gives its size.
export function checkExport(files, origin, keys) {
  const left = new Set(files.keys());
  const file = (path) => {
    need(files.has(path), `${path} is not there`);
    left.delete(path);
    return files.get(path);
  };
  const opened = openNote(file("checkpoint"), [...keys.log, ...keys.pq, ...keys.receipt]);
  need(opened.by.some(({ key }) => keys.log.includes(key)), "no log key has signed");
  const checkpoint = parseCheckpoint(opened.text);
  need(checkpoint.origin === origin.line, "a checkpoint of another ledger");
  const size = Number(checkpoint.size);

  const hashes = [];
  for (const [path, first, width] of filesOf("tile/entries", size)) {
    for (const [at, entry] of splitEntries(file(path), width).entries()) {
      if (entry.length) hashes.push(leafHash(entry));
      else {
        const said = absent(file(`absent/${pathOf(first + at)}`), origin, keys);
        need(said.index === BigInt(first + at), "a reason for another entry");
        hashes.push(said.leafHash);
      }
    }
  }
  need(new Tree().with(hashes).root.equals(checkpoint.root), "the entries do not give the signed root");

  for (let level = 0, row = hashes; row.length; level += 1) {
    for (const [path, first, width] of filesOf(`tile/${level}`, row.length)) {
      need(Buffer.concat(row.slice(first, first + width)).equals(file(path)), `${path} is not what the entries give`);
    }
    const above = Array.from({ length: Math.floor(row.length / WIDTH) }, (_, at) => row.slice(at * WIDTH, (at + 1) * WIDTH));
    row = above.map((below) => new Tree().with(below).root);
  }

  let last = 0n;
  let whole = false;
  let tree = new Tree();
  for (const line of file("signatures.jsonl").toString("utf-8").split("\n").slice(0, -1)) {
    const { size: at, kind, note } = JSON.parse(line);
    const { text, by } = openNote(note, keys[KINDS[kind]] ?? []);
    const said = parseCheckpoint(text);
    need(by.length && said.origin === origin.line && said.size === BigInt(at) && said.size >= last, "a note of another size");
    need(said.size <= checkpoint.size, "a note beyond the end");
    if (said.size > tree.size) tree = tree.with(hashes.slice(Number(tree.size), at));
    need(said.root.equals(tree.root), "a note over another root");
    last = said.size;
    whole ||= kind === "checkpoint" && said.size === checkpoint.size;
  }
  need(whole, "no checkpoint of the whole ledger");

  for (const path of left) {
    const [, kind, number] = /^(unopenable)\/([x0-9/]+)$/.exec(path) ?? [];
    need(kind, `${path} should not be there`);
    const { index, leafHash: hash } = parseStatement("unopenable", files.get(path), origin, keys.recipient);
    need(pathOf(index) === number && hashes[index]?.equals(hash), "a statement about another entry");
  }
  return size;
}

// The owner's statement; or the recipient's, about what it pruned from its replica.
function absent(note, origin, keys) {
  try {
    return parseStatement("absent", note, origin, keys.gateway);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return parseStatement("absent", note, origin, keys.recipient, origin.recipient);
  }
}
