import type { TestProject } from 'vitest/node';
import { startRedis } from './redis.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /**
     * `inject('redisUrl')`: one Redis for the project. Use keys of your own; to break one, start
     * your own.
     */
    redisUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['REDIS_URL'];
  const server = given ? undefined : await startRedis();
  project.provide('redisUrl', given || (server?.url ?? ''));
  return async () => server?.stop();
}
