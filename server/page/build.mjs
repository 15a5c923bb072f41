// Builds the page into the server's package. Names of built files hold a digest of their content;
// build.json says from which source they come, and tests hold it against what is there.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

const OUT = "../brainmvp_server/page";
const SOURCES = ["src", "build.mjs", "package-lock.json", "package.json", "tsconfig.json"];

rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT, { recursive: true });
const { metafile } = await build({
  entryPoints: { main: "src/main.ts", style: "src/style.css", docs: "src/docs.ts" },
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none", // the licences are all in licences.txt
  // NiiVue reads zarr stores with it; ours are NIfTI files.
  alias: { zarrita: "./src/no-zarr.ts" },
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  outdir: OUT,
  metafile: true,
  logLevel: "warning",
});

const built = {};
for (const [path, { entryPoint }] of Object.entries(metafile.outputs)) {
  if (entryPoint) built[basename(path).replace(/-[A-Z0-9]{8}(?=\.)/, "")] = `page/${basename(path)}`;
  else if (path.endsWith(".css")) built["docs.css"] = `page/${basename(path)}`;
}
for (const name of ["index.html", "docs.html"]) {
  const html = readFileSync(`src/${name}`, "utf8");
  const filled = html.replace(/\{\{(.+?)\}\}/g, (_, file) => {
    if (!built[file]) throw new Error(`${name} names ${file}, which was not built`);
    return built[file];
  });
  writeFileSync(join(OUT, name), filled);
}
writeFileSync(join(OUT, "licences.txt"), licences(Object.keys(metafile.inputs)));
writeFileSync(
  join(OUT, "build.json"),
  JSON.stringify({ source: digest(SOURCES.flatMap(walk)), files: digests(OUT) }, null, 2) + "\n",
);

/** The licences of the packages that are in the built files. */
function licences(inputs) {
  const folders = inputs.map((path) => /^node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  return [...new Set(folders)]
    .filter(Boolean)
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice)/i.test(file)).sort();
      const texts = files.map((file) => readFileSync(join(folder, file), "utf8").trim());
      return [`${name} ${version} (${license})`, ...texts].join("\n\n");
    })
    .join(`\n\n${"=".repeat(80)}\n\n`) + "\n";
}

function walk(path) {
  try {
    return readdirSync(path).sort().flatMap((name) => walk(`${path}/${name}`));
  } catch (error) {
    if (error.code === "ENOTDIR") return [path];
    throw error;
  }
}

/** SHA-256 over names and contents. */
function digest(paths) {
  const hash = createHash("sha256");
  for (const path of paths.sort()) hash.update(`${path}\0`).update(readFileSync(path)).update("\0");
  return hash.digest("hex");
}

function digests(folder) {
  return Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [name, createHash("sha256").update(readFileSync(join(folder, name))).digest("hex")]),
  );
}
