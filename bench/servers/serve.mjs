/**
 * One server, a process of its own: `node serve.mjs <JSON>`. It tells its port. After `begin` it
 * counts, and at `end` tells how many requests it has answered with 200, and what it has taken of a
 * processor since the first of them.
 */

import { createServer } from 'node:http';
import { createApp } from './express-apps.mjs';
import { createListener } from './node-listeners.mjs';
import { createStores } from './stores.mjs';

const { id, framework, app, key, redisPort } = JSON.parse(process.argv[2]);
let [handled, before] = [0, process.cpuUsage()];

function answered() {
  if (handled === 0) before = process.cpuUsage();
  handled++;
}

/** Nobody may be there any more: `disconnect` is on its way then. */
function report(message) {
  process.send(message, () => undefined);
}

const parts = { key, ...createStores({ id, key, redisPort }) };
const create = framework === 'node:http' ? createListener : createApp;
const server = createServer(create(app, parts, answered));
server.listen(0, '127.0.0.1', () => report({ port: server.address().port }));

process.on('message', (message) => {
  if (message === 'begin') handled = 0;
  else {
    const { user, system } = process.cpuUsage(before);
    report({ handled, microseconds: user + system });
  }
});
// So a profile is written, if Node was told to make one.
process.on('disconnect', () => process.exit());
