import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterAll, expect, it } from 'vitest';

// Beside packages that resolve `@countersign/*` and Express as a user's program would.
const folder = mkdtempSync('examples/video-parser/.readme-');
let server: ChildProcess | undefined;
afterAll(() => {
  server?.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

const readme = readFileSync('README.md', 'utf8');
const block = (heading: string): string =>
  readme.split(`## ${heading}\n`)[1]?.match(/```js no-run\n(.*?)```/s)?.[1] ?? '';

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  return port;
}

it('the README’s server and client are 15 lines each at most, and work together as they stand', async () => {
  const port = String(await freePort());
  for (const [name, code] of [
    ['server', block('A server')],
    ['client', block('A client')],
  ] as const) {
    const lines = code.split('\n').filter((line) => line.trim() !== '');
    expect(lines.length, name).toBeGreaterThan(5);
    expect(lines.length, name).toBeLessThanOrEqual(15);
    writeFileSync(`${folder}/${name}.mjs`, code.replaceAll('3000', port));
  }
  server = spawn(process.execPath, [`${folder}/server.mjs`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [printed] = (await once(server.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const env = {
    ...process.env,
    ...Object.fromEntries(
      String(printed)
        .trim()
        .split(' ')
        .map((pair) => pair.split('=')),
    ),
  };
  const { stdout, stderr } = spawnSync(process.execPath, [`${folder}/client.mjs`], {
    env,
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(stdout).toBe("200 { parsing: 'https://videos.example.net/cats.mp4', for: 'alice' }\n");
});
