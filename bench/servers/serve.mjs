/**
 * One server in a process of its own: `node serve.mjs <JSON>`. It sends its port to the parent.
 * After `begin` it counts. At `end` it sends the number of requests that it answered with 200, and
 * its processor time since the first of them.
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

/** The parent may have ended already. Then the event `disconnect` follows. */
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
// A normal exit, so that Node writes a profile if it was told to.
process.on('disconnect', () => process.exit());
