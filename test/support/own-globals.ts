// A test file may share its process with others (`--no-isolate`). A server of `@hono/node-server`
// replaces two globals of the process: the next file gets its own back.

import { afterAll } from 'vitest';

const names = ['Request', 'Response'] as const;
const own = names.map((name) => [name, globalThis[name]] as const);

afterAll(() => {
  for (const [name, value] of own) Object.defineProperty(globalThis, name, { value });
});
