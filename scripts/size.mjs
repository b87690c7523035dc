// Measures what users of a package download, and which dependencies its entry points reach. A size
// is that of one bundled, minified module, compressed with Brotli. Modules with a limit are built
// for browsers; all others are built for Node, without the dependencies that a user installs
// separately. Needs built packages (`tsc -b`).

import { readFileSync } from 'node:fs';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'esbuild';

/** Bytes after Brotli: a signer must not cost a page more than a small picture. */
const limits = {
  // A third of it is the digest for browsers.
  shared: { limit: 10_600 },
  // What the client adds to shared.
  client: { limit: 8_000, external: ['@countersign/shared'] },
  'client with shared': { entry: 'client', limit: 16_000 },
};
/** The same for entry points that only Node has. */
const nodeLimits = { 'client/undici': 16_000 };

/** Dependencies of the packages. `only` names the entry points that may reach each of them. */
const dependencies = {
  undici: { only: ['client/undici'] },
  ioredis: { only: ['server/redis'] },
  bullmq: { only: ['server/bullmq'] },
  express: { only: ['server/express'] },
  jose: { only: ['server/sessions'] },
  'rate-limiter-flexible': { only: ['server/failures'] },
  'ipaddr.js': { only: ['server/callbacks', 'server/failures'] },
  // Every entry point of the server, and no other package.
  zod: { only: [/^server/] },
};

const rows = [];
const faults = [];

for (const [name, { entry = name, limit, external }] of Object.entries(limits)) {
  try {
    const { outputFiles } = await bundle(`packages/${entry}/dist/index.js`, 'browser', external);
    const size = brotliCompressSync(outputFiles[0].contents).length;
    rows.push({ entry: name, 'size (B)': size, 'limit (B)': limit });
    if (!(size <= limit)) faults.push(`@countersign/${name} has ${size} bytes, more than ${limit}`);
  } catch ({ message }) {
    // If a Node library is imported, the whole message has hundreds of lines.
    faults.push(`Cannot bundle @countersign/${name} for browsers: ${message.slice(0, 500)}`);
  }
}

for (const { entry, file } of entryPoints()) {
  const { size, reached } = await measure(file);
  const limit = nodeLimits[entry];
  const row = rows.find((it) => it.entry === entry) ?? {
    entry,
    'size (B)': size,
    'limit (B)': limit ?? '',
  };
  if (!rows.includes(row)) rows.push(row);
  row.reaches = reached.join(' ');
  if (limit !== undefined && !(size <= limit))
    faults.push(`@countersign/${entry} has ${size} bytes, more than ${limit}`);
  for (const dependency of reached) {
    if (dependencies[dependency].only.some((it) => it === entry || it.test?.(entry))) continue;
    faults.push(`@countersign/${entry} reaches ${dependency}`);
  }
}

console.table(Object.fromEntries(rows.map(({ entry, ...rest }) => [entry, rest])));
for (const fault of faults) console.error(fault);
process.exitCode = faults.length === 0 ? 0 : 1;

function bundle(file, platform, external = []) {
  return build({
    entryPoints: [file],
    bundle: true,
    minify: true,
    format: 'esm',
    platform,
    external,
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
}

/** `client/undici` and its file, for every JavaScript export of every package. */
function entryPoints() {
  return ['shared', 'client', 'server'].flatMap((name) => {
    const { exports } = JSON.parse(readFileSync(`packages/${name}/package.json`, 'utf8'));
    return Object.entries(exports)
      .filter(([, target]) => target.default !== undefined)
      .map(([path, target]) => ({
        entry: `${name}${path.slice(1)}`,
        file: `packages/${name}/${target.default}`,
      }));
  });
}

/** Measures a module for Node, and finds the `dependencies` that it imports, directly or not. */
async function measure(file) {
  const names = Object.keys(dependencies);
  const { metafile, outputFiles } = await bundle(
    file,
    'node',
    names.flatMap((name) => [name, `${name}/*`]),
  );
  const paths = Object.values(metafile.inputs).flatMap(({ imports }) =>
    imports.map((it) => it.path),
  );
  return {
    size: brotliCompressSync(outputFiles[0].contents).length,
    reached: names.filter((name) =>
      paths.some((path) => path === name || path.startsWith(`${name}/`)),
    ),
  };
}
