/**
 * The receiver, in one file: a customer of the API runs it. It verifies each callback, and handles
 * it once, even if it arrives several times.
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
 * @param secrets the secrets that the API signs with: a list, or a function that gives one, so that
 *   secrets can change without a restart
 * @param handle called with each event once; if it throws, the API tries again
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

  // The API tries again after every answer that is not 2xx.
  app.use((error, _req, res, _next) => {
    log(`Cannot handle callback: ${error.message}`);
    res.sendStatus(error.status ?? 500);
  });
  return app;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { PORT = '0', COUNTERSIGN_CALLBACK_SECRET = '' } = process.env;
  const receiver = createReceiver({
    // While the secret changes there are two, separated by a comma.
    secrets: COUNTERSIGN_CALLBACK_SECRET.split(','),
    handle: ({ type, data }, id) => console.log(JSON.stringify({ id, type, data })),
  });
  const server = receiver.listen(Number(PORT), '127.0.0.1', () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/callbacks` }));
  });
}
