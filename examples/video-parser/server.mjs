/**
 * Runs the API with one access key. Keys and nonces are in memory.
 *
 *     PORT=8080 COUNTERSIGN_PRINT_KEY=1 node server.mjs
 */
import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { createApi } from './api.mjs';

/** Writes a line of JSON to stderr for each refusal and each warning to the operator. */
const log = (what) => console.error(JSON.stringify(what));

const key = generateAccessKey({ subject: 'alice', scopes: ['videos:parse'] });
const api = createApi({
  audience: 'video-api',
  keys: new MemoryKeyStore([key]),
  nonces: new MemoryNonceStore({ onWarning: log }),
  onRefused: log,
});

const server = api.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  const { accessKeyId, secretAccessKey } = key;
  const url = `http://127.0.0.1:${server.address().port}`;
  console.log(
    JSON.stringify(
      process.env.COUNTERSIGN_PRINT_KEY === '1'
        ? { url, accessKeyId, secretAccessKey }
        : { url, accessKeyId },
    ),
  );
});
