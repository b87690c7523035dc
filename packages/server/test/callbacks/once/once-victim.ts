import { createOnce } from '@countersign/server/callbacks';
import { RedisOnceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { callback } from './once-callback.ts';

/** A process that is killed while its handler runs, or in the moment after. */
const { url, prefix, id, lease } = JSON.parse(process.argv[2] ?? '') as {
  url: string;
  prefix: string;
  id: string;
  lease: number;
};
const store = new RedisOnceStore({ redis: new Redis(url), prefix });
const once = createOnce({ store, lease });
void once(callback({ id }), () => {
  process.send?.('running');
  return new Promise(() => undefined);
});
