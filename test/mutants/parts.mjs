// What is mutated, and which tests have to notice.

const server = (path) => `packages/server/${path}`;
const shared = (path) => `packages/shared/${path}`;

export const PARTS = {
  sessions: {
    mutate: [server('src/sessions/**/*.ts')],
    tests: [server('test/sessions/*.test.ts')],
  },
  seal: {
    mutate: [server('src/keys/seal.ts')],
    tests: [server('test/keys/seal.test.ts')],
  },
  'master-keys': {
    mutate: [server('src/keys/master-keys.ts')],
    tests: [server('test/keys/master-keys.test.ts')],
  },
  verify: {
    mutate: [server('src/verify/**/*.ts')],
    tests: [
      server('test/verify/*.test.ts'),
      server('test/keys/public-keys.test.ts'),
      server('test/lib/options.test.ts'),
      server('test/http/body.test.ts'),
      server('test/http/chunks/*.test.ts'),
      'test/attacks/*.test.ts',
      'test/vectors/vectors.test.ts',
    ],
  },
  shared: {
    mutate: [
      shared('src/schemes/**/*.ts'),
      ...['canonical-headers', 'canonical-query', 'canonical-request', 'credential-scope'].map(
        (name) => shared(`src/${name}.ts`),
      ),
      ...['percent-encoding', 'signature-params', 'target'].map((name) => shared(`src/${name}.ts`)),
    ],
    tests: [
      shared('test/*.test.ts'),
      server('test/verify/*.test.ts'),
      'test/attacks/canonicalisation.test.ts',
      'test/attacks/one-view-of-a-message.test.ts',
      'test/properties/{injectivity,parsers}.test.ts',
      'test/vectors/vectors.test.ts',
    ],
  },
  nonces: {
    mutate: [server('src/nonces/*.ts'), server('src/nonces/memory/**/*.ts')],
    tests: [server('test/nonces/memory/*.test.ts')],
  },
  'nonces-redis': {
    mutate: [server('src/nonces/redis/**/*.ts')],
    tests: [server('test/nonces/redis/*.test.ts'), server('test/lib/redis/redis-warnings.test.ts')],
    redis: true,
  },
};
