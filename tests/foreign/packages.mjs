// Where the packages of package-lock.json lie: where the caller installed them, which need not be beside this file.
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(process.env.SIGNALFIRE_NODE_PACKAGES ?? here, "package.json"));

export const contract = resolve(here, "../../proto");
export const load = (name) => import(pathToFileURL(require.resolve(name)));
