// Reports that another node passed on, with their originator's proof, from docs/protocol.md ("Onward reports") alone.
import { contentOf, leaves, openPayload, only, parseHeader, SEALED } from "./entries.mjs";
import { leafHash, rootFromPath } from "./ledger.mjs";
import { need, openNote, parseCheckpoint, parseOrigin } from "./notes.mjs";

const [WHOLE, IDENTITY, ONWARD, ASSESSMENT] = [0, 7, 8, 13];
const POINTS = "launch_point|launch_point_error|impact_point|impact_point_error|position|velocity|covariance|warning_area";
const GROUPS = [
  [IDENTITY, /^(report_id|originator_node|traffic_class|precedence|derivations\..*)$/],
  [ONWARD, /^marking\.onward_release$/],
  [9, /^marking\.(policy|classification|caveats)$/],
  [10, /^marking\.releasable_to$/],
  [1, /^event_id$/],
  [3, /^(originator_station|source_sequence)$/],
  [2, /^threat\./],
  [12, /^(references\..*|(correction|cancellation)\.(report_ids|replacement_report_id))$/],
  [11, /^(report_time|valid_time|clock_uncertainty|\w+\.((launch|impact)_time(_uncertainty)?|basis_time))$/],
  [4, new RegExp(`^(\\w+\\.(${POINTS})\\..*|\\w+\\.(initial_azimuth_deg|azimuth_uncertainty_deg)|track\\.quality)$`)],
  [14, /^\w+\.sensor_modality$/],
];
const KINDS = ["launch_detection", "track", "impact_prediction", "correction", "cancellation", "all_clear"];

const groupOf = (path) => GROUPS.find(([, paths]) => paths.test(path))?.[0] ?? ASSESSMENT;
const kindOf = (report) => KINDS.find((kind) => report[kind] !== undefined);

// The bytes of those fields of a report that are in a group, without its derivations.
const fieldsOf = (report, group) =>
  only(report, (path) => !path.startsWith("derivations.") && (group === WHOLE || groupOf(path) === group));

// Whether two reports hold exactly the same in a group.
const same = (one, other, group) => fieldsOf(one, group).equals(fieldsOf(other, group));

// Refuses what `node` must not believe of a report that `carrier` passed on to it. `logKeysOf(node, name)` gives the log
// keys of an originator's bundle in force under a name, or null where there is none.
export function checkOnward(onward, carrier, node, logKeysOf) {
  const { report: copy, proof } = onward;
  need(copy && proof, "report and proof are due");
  const originator = copy.originator_node;
  need(originator && originator !== carrier && originator !== node, "not a report of another node");
  const keys = logKeysOf(originator, proof.origin);
  need(keys, "a report of an originator that is not known");

  const origin = parseOrigin(proof.origin);
  need(origin.owner === originator && origin.recipient === carrier, "another ledger");
  const checkpoint = parseCheckpoint(openNote(proof.checkpoint ?? [], keys).text);
  need(checkpoint.origin === origin.line, "a checkpoint of another ledger");
  const index = BigInt(proof.index ?? 0);
  const path = (proof.path ?? []).map((hash) => Buffer.from(hash));
  need(path.every((hash) => hash.length === 32), "a hash of another length");
  const entry = Buffer.from(proof.entry ?? []);
  need(rootFromPath(leafHash(entry), index, checkpoint.size, path).equals(checkpoint.root), "the path leads to another root");

  const { kind, commitment } = parseHeader(entry, index);
  need(kind === SEALED, "not sealed content");
  const contents = openPayload(proof.disclosed ?? {}, commitment);
  const groups = proof.disclosed.parts.filter((part) => !part.leaf_hash).map((part) => groupNumber(part.group));
  const parts = contents.map((content) => contentOf([content]).report);
  for (const [at, part] of parts.entries()) {
    need(part && kindOf(part) && kindOf(part) === kindOf(copy), "a part of another kind");
    need(groups[at] === WHOLE || leaves(part).every((field) => groupOf(field) === groups[at]), "a field of another group");
  }
  const shown = contentOf(contents).report;
  const whole = groups.includes(WHOLE);
  need(whole || groups.includes(IDENTITY), "identity is not shown");
  need(shown.marking?.onward_release?.includes(node), "not allowed onward to this node");

  for (const group of groups) {
    need((group === ONWARD && !whole) || same(shown, copy, group), `group ${group} is not as its originator sealed it`);
  }
  const [before, derivations] = [shown, copy].map((report) => (report.derivations ?? []).map((each) => JSON.stringify(each)));
  need(before.every((each, at) => derivations[at] === each), "derivations that do not begin with the originator's");
  const own = copy.derivations?.slice(before.length) ?? [];
  need(own.length <= 1 && own.every((each) => each.node === carrier), "derivations of others");
  const named = own[0]?.fields ?? [];
  const proved = (group) => whole || (groups.includes(group) && (group !== ONWARD || same(shown, copy, ONWARD)));
  const bare = leaves(copy).filter((field) => !field.startsWith("derivations.") && !proved(groupOf(field)) && !named.includes(field));
  need(!bare.length, `neither proved nor derived: ${bare.join(", ")}`);
  return copy;
}

// The groups of a report; others stand in other entries.
function groupNumber(group) {
  const number = group ?? WHOLE;
  need(number === WHOLE || number === ASSESSMENT || GROUPS.some(([each]) => each === number), "a group of no report");
  return number;
}
