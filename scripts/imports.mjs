// Checks who may import whom: client → shared ← server ← cli, core ← adapters, and no dependency that is not
// listed here. The first layer whose `files` match a file decides; anything not allowed is refused.
// Read with a parser, types included: a layer that knows another's types depends on it.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseSync, Visitor } from 'oxc-parser';

const shared = /^@countersign\/shared$/;
const node = /^node:/;
const zod = /^zod(\/mini)?$/;
const hashes = /^@noble\/hashes\//;
const digest = /^#(digest|private-key)$/;
const options = /^server\/options\.ts$/;
// How any part tells the operator what is wrong: the lowest floor, with what checks options.
const operator = /^server\/(operator-warning|warning-codes)\.ts$/;
const keyStore = /^server\/keys\/key-store\.ts$/;
const nonceStore = /^server\/nonces\/nonce-store\.ts$/;
const nonceWords =
  /^server\/nonces\/(epoch-warning|nonce-pool|nonce-words|widest-limits|words-set)\.ts$/;
const redisNonceParts =
  /^server\/nonces\/(charge-script|claim-script|epoch-warning|nonce-charges|widest-limits|redis-(nonce-warnings|partition|reply))\.ts$/;
const redisConnection = /^server\/redis-(connection|reachable)\.ts$/;
const redis =
  /^server\/redis-(commands|connection|permissions|reachable|self-test|tested|wait)\.ts$/;
// What the life of a key is made of, wherever it is kept.
const keyParts =
  /^server\/keys\/(cutoffs|generate-access-key|key-info|key-record|key-store|key-store-error|last-uses|managed-key-store|master-keys|public-key|record-cache|record-store|revocations|rotation|seal|small-order|store-(history|presence))\.ts$/;
const fileParts = /^server\/keys\/file-(contents|draft|lock|place|records)\.ts$/;
const storeFailed = /^server\/store-failed\.ts$/;
const sessionSource = /^server\/sessions\/session-source\.ts$/;
const sendParts = /^server\/callbacks\/send\/(?!bullmq-(?!commands))/;
const callbackForms = /^server\/callbacks\/(callback-scheme|schemes\/standard-webhooks)\.ts$/;
const serverCore =
  /^server\/(?!(bullmq|callbacks|express|failures|fetch|file|node|redis|sessions)\.ts|http\/|redis-|(callbacks|keys|nonces)\/redis|keys\/file|(failures\/(?!failure-limit)|sessions\/(?!session-source)))/;
// What delivers requests to the core: the adapters of node:http and fetch stand side by side.
const httpShared = /^server\/http\/[^/]+\.ts$/;
const httpNode = /^server\/http\/node\//;
const httpFetch = /^server\/http\/fetch\//;
const serverAny = /^server\//;
const serverPackage = /^@countersign\/server(\/(bullmq|callbacks|file|redis|sessions))?$/;
const cliAny = /^cli\//;

const layers = [
  // Schemes share the steps of the pipeline, never each other.
  { files: /^shared\/schemes\//, may: [/^shared\/[^/]+$/, digest] },
  // The one place in shared that knows its platform.
  { files: /^shared\/[^/]+\.node\.ts$/, may: [/^shared\/[^/]+$/, node] },
  { files: /^shared\//, may: [/^shared\//, digest, hashes] },

  { files: /^client\/undici\.ts$/, may: [/^client\//, shared, node, /^undici$/] },
  { files: /^client\//, may: [/^client\/(?!undici\.ts)/, shared, node, zod] },

  // A store knows its one interface, and how options are checked; never the verifier, never another store.
  {
    files: /^server\/keys\/redis/,
    may: [
      keyParts,
      /^server\/keys\/redis-(access|changes|records|scripts|writer)\.ts$/,
      redis,
      operator,
      options,
      shared,
      node,
      zod,
      /^ioredis$/,
    ],
  },
  {
    files: /^server\/keys\/(file|master-key-file)/,
    may: [keyParts, fileParts, operator, options, shared, node, zod],
  },
  {
    files: /^server\/keys\/memory-key-store/,
    may: [keyParts, /^server\/keys\/memory-records\.ts$/, options, zod],
  },
  { files: /^server\/keys\//, may: [keyParts, operator, options, shared, node, zod] },
  {
    files: /^server\/nonces\/redis/,
    may: [
      nonceStore,
      redisNonceParts,
      redis,
      storeFailed,
      operator,
      options,
      shared,
      node,
      zod,
      /^ioredis$/,
    ],
  },
  {
    files: /^server\/callbacks\/redis-once-store\.ts$/,
    may: [
      /^server\/callbacks\/once-(scripts|store)\.ts$/,
      redis,
      operator,
      options,
      zod,
      /^ioredis$/,
    ],
  },
  {
    files: /^server\/callbacks\/handle-once\.ts$/,
    may: [serverCore, shared, /^express$/],
  },
  {
    files: /^server\/callbacks\/require-callback\.ts$/,
    may: [serverCore, httpNode, shared, node, /^express$/],
  },
  {
    files: /^server\/callbacks\/node-callbacks\.ts$/,
    may: [serverCore, httpShared, httpNode, shared, node],
  },
  {
    files: /^server\/callbacks\/fetch-callbacks\.ts$/,
    may: [serverCore, httpShared, httpFetch, shared],
  },
  { files: httpNode, may: [serverCore, httpShared, httpNode, shared, node, zod] },
  { files: httpFetch, may: [serverCore, httpShared, httpFetch, shared, zod] },
  { files: httpShared, may: [shared] },
  { files: /^server\/session-endpoint\.ts$/, may: [serverAny, shared, zod, /^express$/] },
  {
    files: /^server\/redis-(commands|connection|permissions|reachable|self-test|tested|wait)\.ts$/,
    may: [
      /^server\/redis-(commands|permissions|reachable|self-test)\.ts$/,
      storeFailed,
      operator,
      options,
      shared,
      node,
      /^ioredis$/,
    ],
  },
  // Sessions stand on keys, and the verifier on neither.
  { files: /^server\/sessions\/session-source\.ts$/, may: [keyStore] },
  {
    files: /^server\/sessions\//,
    may: [
      keyParts,
      sessionSource,
      /^server\/(identity|options|store-failed|sessions\/session-token)\.ts$/,
      shared,
      node,
      zod,
      /^jose$/,
    ],
  },
  {
    files: /^server\/nonces\//,
    may: [nonceStore, nonceWords, operator, options, shared, node, zod],
  },
  // What limits failures is given to the verifier, which knows only what to ask it.
  {
    files: /^server\/failures\/redis-failures\.ts$/,
    may: [/^server\/failures\/(count-script|failure-counts)\.ts$/, redis, operator, /^ioredis$/],
  },
  {
    files: /^server\/failures\//,
    may: [
      /^server\/failures\//,
      redisConnection,
      operator,
      options,
      node,
      zod,
      /^(ioredis|ipaddr\.js)$/,
    ],
  },
  // A form of callbacks knows its one interface and what forms share; never another form, never a store.
  {
    files: /^server\/callbacks\/(schemes\/|body-id|signature-headers|text-secret)/,
    may: [
      /^server\/callbacks\/(body-id|callback-scheme|signature-headers|text-secret)\.ts$/,
      /^server\/keys\/small-order\.ts$/,
      shared,
      node,
    ],
  },
  { files: /^server\/options\.ts$/, may: [shared, zod] },
  // What sends callbacks takes only the form of them from what receives them, and one file of it knows Redis.
  {
    files: /^server\/callbacks\/send\/bullmq-/,
    may: [sendParts, redis, operator, options, shared, zod, /^(bullmq|ioredis)$/],
  },
  {
    files: /^server\/callbacks\/send\//,
    may: [
      sendParts,
      callbackForms,
      operator,
      /^server\/thrown\.ts$/,
      options,
      shared,
      node,
      zod,
      /^ipaddr\.js$/,
    ],
  },
  { files: /^server\/bullmq\.ts$/, may: [/^server\/callbacks\/send\/bullmq-callback-queue\.ts$/] },
  // Adapters know the core, never the other way round.
  { files: /^server\/express\.ts$/, may: [serverAny, shared, node, zod, /^express$/] },
  { files: /^server\/(callbacks|failures|file|sessions)\.ts$/, may: [serverAny] },
  { files: /^server\/redis\.ts$/, may: [serverAny, shared, node, zod, /^ioredis$/] },
  { files: /^server\/(fetch|node)\.ts$/, may: [serverAny] },
  { files: /^server\//, may: [serverCore, shared, node, zod] },

  // Commands work with what the server package gives everybody; what they write for shells knows the tree of commands alone.
  { files: /^cli\/completion\//, may: [/^cli\/(command-tree|completion\/quote-word)\.ts$/] },
  {
    files: /^cli\/redis-connection\.ts$/,
    may: [/^cli\/(store-url|redis-tls)\.ts$/, node, /^ioredis$/],
  },
  { files: /^cli\//, may: [cliAny, shared, serverPackage, node, /^commander$/] },
];

const root = resolve(process.argv[2] ?? '.');
const files = readdirSync(join(root, 'packages')).flatMap((it) => {
  const src = `packages/${it}/src`;
  const names = readdirSync(join(root, src), { recursive: true });
  return names.filter((path) => path.endsWith('.ts')).map((path) => join(src, path));
});
let refused = 0;

for (const file of files) {
  const layer = layers.find((it) => it.files.test(name(file)));
  for (const target of importsOf(file)) {
    if (layer?.may.some((allowed) => allowed.test(target))) continue;
    console.error(`${file}: must not import ${target}`);
    refused += 1;
  }
}
process.exitCode = refused === 0 ? 0 : 1;

/** `packages/server/src/verify/key-store.ts` → `server/keys/key-store.ts`. */
function name(file) {
  return file.replace(/^packages\/([^/]+)\/src\//, '$1/');
}

/** Everything `file` imports or re-exports: files by their name, packages by theirs. */
function importsOf(file) {
  const { program, errors } = parseSync(file, readFileSync(join(root, file), 'utf8'));
  if (errors.length > 0) throw new Error(`Cannot parse ${file}: ${errors[0].message}`);
  const found = new Set();
  const add = ({ source }) => {
    const specifier = source?.value;
    if (specifier === undefined) return;
    const isFile = specifier.startsWith('.');
    found.add(isFile ? name(relative(root, resolve(root, dirname(file), specifier))) : specifier);
  };
  new Visitor({
    ImportDeclaration: add,
    ExportNamedDeclaration: add,
    ExportAllDeclaration: add,
    ImportExpression: add,
    TSImportType: add,
  }).visit(program);
  return found;
}
