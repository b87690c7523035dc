// Checks imports, of types too, because a file that uses a type of another file depends on it. The
// table in ARCHITECTURE.md says what the files of each folder may import.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseSync, Visitor } from 'oxc-parser';

const root = resolve(process.argv[2] ?? '.');
const page = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8');
const rows = [...page.matchAll(/^\| `([\w/*.-]+)` \|.*\|(.*)\|$/gm)];
const table = new Map(
  rows.map(([, folder, may]) => [folder, [...may.matchAll(/`(.+?)`/g)].map((it) => it[1])]),
);
const imports = new Map();
const floors = new Map();
const problems = [];

for (const name of readdirSync(join(root, 'packages')))
  for (const path of readdirSync(join(root, `packages/${name}/src`), { recursive: true }))
    if (path.endsWith('.ts')) imports.set(`${name}/${path}`, read(`packages/${name}/src/${path}`));

for (const [file, { targets, isDoor }] of imports) {
  const may = table.get(layerOf(file));
  if (may === undefined) problems.push(`${file}: ARCHITECTURE.md does not list its folder`);
  for (const target of targets)
    if (!may?.some((it) => isIn(it, target))) problems.push(`${file}: must not import ${target}`);
  if (dirname(file) === 'server' && !isDoor) problems.push(`${file}: a door only re-exports names`);
  floorOf(file, []);
}
const [, stated] = /door to the lowest file are (\d+) floors/.exec(page) ?? [];
const highest = Math.max(...[...floors].map(([file, it]) => (file.startsWith('server/') ? it : 0)));
if (stated !== undefined && Number(stated) !== highest)
  problems.push(`ARCHITECTURE.md says ${stated} floors, the server has ${highest}`);

for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

/** The row of a file: its folder, or `shared/*.node` for a file of one platform. */
function layerOf(file) {
  const [, platform] = /\.(node|browser)\.ts$/.exec(file) ?? [];
  return platform === undefined ? dirname(file) : `${dirname(file)}/*.${platform}`;
}

/** Whether `target` is a file of the folder `name`, or the package `name`, or a subpath of it. */
function isIn(name, target) {
  if (target.endsWith('.ts')) return dirname(target) === name;
  return target === name || target.startsWith(name === 'node' ? 'node:' : `${name}/`);
}

/** One more than the highest floor below. A file that imports itself through others has none. */
function floorOf(file, above) {
  if (above.includes(file)) problems.push(`${file}: imports itself through ${above.at(-1)}`);
  else if (!floors.has(file)) {
    const below = [...imports.get(file).targets].filter((it) => imports.has(it));
    floors.set(file, 1 + Math.max(0, ...below.map((it) => floorOf(it, [...above, file]))));
  }
  return floors.get(file) ?? 0;
}

/**
 * Reads what a file imports (files as `server/keys/seal.ts`), and whether it only re-exports names.
 */
function read(path) {
  const { program, errors } = parseSync(path, readFileSync(join(root, path), 'utf8'));
  if (errors.length > 0) throw new Error(`Cannot parse ${path}: ${errors[0].message}`);
  const targets = new Set();
  const add = ({ source }) => {
    const name = source?.value;
    const file = relative(root, resolve(root, dirname(path), name ?? ''));
    if (name !== undefined)
      targets.add(name.startsWith('.') ? file.replace(/^packages\/(\w+)\/src/, '$1') : name);
  };
  const statements = ['ImportDeclaration', 'ExportNamedDeclaration', 'ExportAllDeclaration'];
  const kinds = [...statements, 'ImportExpression', 'TSImportType'];
  new Visitor(Object.fromEntries(kinds.map((kind) => [kind, add]))).visit(program);
  const isDoor = program.body.every((it) => it.type === 'ExportNamedDeclaration' && it.source);
  return { targets, isDoor };
}
