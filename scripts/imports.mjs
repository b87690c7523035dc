// Checks who may import whom, types included: a file that knows another's types depends on it. The
// table in ARCHITECTURE.md says what each folder may import. Files directly in `src` of the server
// are doors: they contain named re-exports only.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseSync, Visitor } from 'oxc-parser';

const root = resolve(process.argv[2] ?? '.');
const problems = [];

/** Folder → the folders and packages that its files may import. */
const allowed = new Map(
  [
    ...readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8').matchAll(
      /^\| `([\w/-]+)` \|.*\|(.*)\|$/gm,
    ),
  ].map(([, folder, cell]) => [folder, [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name)]),
);

/** Every source file, as `server/keys/seal.ts`, and what it imports. */
const imports = new Map();
for (const name of readdirSync(join(root, 'packages')))
  for (const path of readdirSync(join(root, `packages/${name}/src`), { recursive: true }))
    if (path.endsWith('.ts'))
      imports.set(`${name}/${path}`, importsOf(`packages/${name}/src/${path}`));

for (const [file, targets] of imports) {
  const folder = dirname(file);
  const may = allowed.get(folder);
  if (may === undefined)
    problems.push(`${file}: its folder is not in the table of ARCHITECTURE.md`);
  for (const target of targets)
    if (!may?.some((it) => isIn(it, target))) problems.push(`${file}: must not import ${target}`);
}

const floors = new Map();
for (const file of imports.keys()) floorOf(file, []);
const stated = /from the door down to the lowest file are (\d+) floors/;
const [, number] = stated.exec(readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')) ?? [];
const highest = Math.max(...[...floors].map(([file, floor]) => (/^server/.test(file) ? floor : 0)));
if (number !== undefined && Number(number) !== highest)
  problems.push(`ARCHITECTURE.md says ${number} floors, the server has ${highest}`);

for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

/** Whether an import is of a folder, or of a package with its subpaths. */
function isIn(name, target) {
  if (name === 'node') return target.startsWith('node:');
  return target.endsWith('.ts')
    ? dirname(target) === name
    : target === name || target.startsWith(`${name}/`);
}

/** One more than the highest floor below. A circle has no floor. */
function floorOf(file, above) {
  if (above.includes(file)) {
    problems.push(
      `${file}: imports itself, through ${above.slice(above.indexOf(file) + 1).join(', ')}`,
    );
    return 0;
  }
  if (!floors.has(file)) {
    const below = [...(imports.get(file) ?? [])].filter((it) => imports.has(it));
    floors.set(file, 1 + Math.max(0, ...below.map((it) => floorOf(it, [...above, file]))));
  }
  return floors.get(file);
}

function importsOf(path) {
  const { program, errors } = parseSync(path, readFileSync(join(root, path), 'utf8'));
  if (errors.length > 0) throw new Error(`Cannot parse ${path}: ${errors[0].message}`);
  if (/^packages\/server\/src\/[^/]+$/.test(path) && !program.body.every(isDoor))
    problems.push(
      `${path.replace(/^packages\/(\w+)\/src/, '$1')}: a door contains named re-exports only`,
    );
  const found = new Set();
  const add = ({ source }) => {
    const name = source?.value;
    if (name?.startsWith('.'))
      found.add(
        relative(root, resolve(root, dirname(path), name)).replace(
          /^packages\/(\w+)\/src\//,
          '$1/',
        ),
      );
    else if (name !== undefined) found.add(name);
  };
  const nodes = [
    'ImportDeclaration',
    'ExportNamedDeclaration',
    'ExportAllDeclaration',
    'ImportExpression',
    'TSImportType',
  ];
  new Visitor(Object.fromEntries(nodes.map((node) => [node, add]))).visit(program);
  return found;
}

function isDoor({ type, source }) {
  return type === 'ExportNamedDeclaration' && source !== null;
}
