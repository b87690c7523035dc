import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { OTHER_CPU, startPinned } from './processes.mjs';
import { BODY, CONTENT_TYPE, METHOD, TARGET } from './request.mjs';

const script = fileURLToPath(new URL('signed-requests.lua', import.meta.url));

/** Signs a number of requests for `runWrk()`. */
export async function writeRequests(folder, { count, port, sign }) {
  const lines = [
    [
      `${METHOD} ${TARGET} HTTP/1.1`,
      `host: 127.0.0.1:${port}`,
      `content-type: ${CONTENT_TYPE}`,
      `content-length: ${BODY.length}`,
      '',
    ].join('\t'),
    BODY.toString(),
  ];
  for (let index = 0; index < count; index++) {
    const headers = Object.entries(await sign());
    lines.push(headers.map(([name, value]) => `${name}: ${value}\t`).join(''));
  }
  const file = join(folder, 'requests');
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** @returns the counts of wrk, or `{ ranOut: true }` if there were too few requests */
export async function runWrk(file, { port, connections, seconds }) {
  const url = `http://127.0.0.1:${port}${TARGET}`;
  const options = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '-s', script];
  const wrk = startPinned(OTHER_CPU, ['wrk', ...options, url, '--', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [output] = await Promise.all([text(wrk.stdout), once(wrk, 'exit')]);
  const told = /^\{.*\}$/m.exec(output);
  if (told === null) throw new Error(`wrk ended early:\n${output}`);
  return JSON.parse(told[0]);
}
