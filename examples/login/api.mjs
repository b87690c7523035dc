/**
 * The API of a desktop program that ships without a secret. A user logs in with a password, and
 * gets short-lived credentials to sign with.
 */
import { generateMasterKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { identityOf, requireScope, requireSignature } from '@countersign/server/express';
import { createSessions } from '@countersign/server/sessions';
import express from 'express';
import * as z from 'zod';
import { createLoginLimits } from './limits.mjs';
import { checkPassword } from './passwords.mjs';

const audience = 'video-api';
// A name has one spelling only, because limits are counted by name.
const loginRequest = z.strictObject({
  user: z.string().regex(/^[a-z0-9._-]{1,64}$/),
  password: z.string().min(1).max(1_024),
});
const parseRequest = z.object({ videoUrl: z.url({ protocol: /^https?$/ }) });

/**
 * Builds the API. Its state is in memory, so sessions end when the process ends. To survive a
 * restart they need a stored master key, and a `FileKeyStore` or `RedisKeyStore` that stores
 * revocations.
 *
 * @param users by name: `{ password, scopes }`, with a password as `hashPassword()` gives it
 */
export function createApi(users) {
  const keys = new MemoryKeyStore();
  const nonces = new MemoryNonceStore();
  const sessions = createSessions({
    issuer: audience,
    masterKey: generateMasterKey(),
    revocations: keys,
  });
  const limits = createLoginLimits();

  const app = express();
  app.disable('x-powered-by');

  // Behind a proxy, `req.ip` is the address of the proxy, so all users would share its limits. If
  // you have one, set 'trust proxy' to its address.
  app.post('/login', express.json({ limit: '4kb' }), async (req, res) => {
    res.set('cache-control', 'no-store');
    const body = loginRequest.safeParse(req.body);
    if (!body.success) return res.status(422).json({ error: z.prettifyError(body.error) });
    const { user, password } = body.data;

    const attempt = await limits.begin(req.ip, user);
    if (attempt.retryAfter !== undefined) {
      res.set('retry-after', String(attempt.retryAfter));
      return res.status(429).json({ error: 'Too many failures to log in: wait' });
    }
    const known = users.get(user);
    // A wrong name and a wrong password get the same answer in the same time, so that an attacker
    // cannot find out which names exist.
    if (!(await checkPassword(password, known?.password)))
      return res.status(401).json({ error: 'The user name or the password is wrong' });
    await attempt.succeeded();
    res.json(await sessions.issue({ subject: user, scopes: known.scopes, audience }));
  });

  // All routes below require a signature.
  app.use(requireSignature({ audience, keys, sessions, nonces }));
  app.use(express.json());

  app.post('/VideoParser/', requireScope('videos:parse'), (req, res) => {
    const body = parseRequest.safeParse(req.body);
    if (!body.success) return res.status(422).json({ error: z.prettifyError(body.error) });
    const { videoUrl } = body.data;
    res.json({ host: new URL(videoUrl).hostname, parsedFor: identityOf(req).subject });
  });

  app.post('/logout', async (req, res) => {
    await keys.revoke({ accessKeyId: identityOf(req).accessKeyId });
    res.sendStatus(204);
  });

  app.post('/logout-everywhere', async (req, res) => {
    await keys.revoke({ subject: identityOf(req).subject });
    res.sendStatus(204);
  });

  // The default handler of Express may answer with a stack trace.
  app.use((error, _req, res, next) => {
    if (res.headersSent) return next(error);
    const status = error.expose === true ? error.status : 500;
    if (status === 500) console.error(error);
    res.status(status).json({ error: status === 500 ? 'The server failed' : error.message });
  });
  return app;
}
