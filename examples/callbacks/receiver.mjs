/**
 * The receiver, in one file: what a customer of the API runs. A callback is verified, and handled once however often it comes.
 *
 *     PORT=4000 COUNTERSIGN_CALLBACK_SECRET=whsec_… node receiver.mjs
 */
import { pathToFileURL } from 'node:url';
import { createOnce, MemoryOnceStore } from '@countersign/server/callbacks';
import { handleOnce, requireCallback } from '@countersign/server/express';
import express from 'express';

/**
 * Builds the receiver.
 *
 * @param secrets what the API signs with: a list, or a function that gives one, so that secrets change without a restart
 * @param handle called with each event once; what it throws makes the API try again
 */
export function createReceiver({ secrets, handle, log = console.error }) {
  const once = createOnce({ store: new MemoryOnceStore() });
  const app = express();
  app.disable('x-powered-by');

  app.post(
    '/callbacks',
    requireCallback({ secrets, sender: 'video-api' }),
    handleOnce(once, (callback) => handle(JSON.parse(callback.text()), callback.id)),
  );

  // Anything but 2xx, and the API tries again.
  app.use((error, _req, res, _next) => {
    log(`Cannot handle callback: ${error.message}`);
    res.sendStatus(error.status ?? 500);
  });
  return app;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { PORT = '0', COUNTERSIGN_CALLBACK_SECRET = '' } = process.env;
  const receiver = createReceiver({
    // Two with a comma between, while the secret changes.
    secrets: COUNTERSIGN_CALLBACK_SECRET.split(','),
    handle: ({ type, data }, id) => console.log(JSON.stringify({ id, type, data })),
  });
  const server = receiver.listen(Number(PORT), '127.0.0.1', () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/callbacks` }));
  });
}
