/** The API of a desktop program that ships without a secret: who logs in with a password is lent credentials to sign with. */
import { generateMasterKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { identityOf, requireScope, requireSignature } from '@countersign/server/express';
import { createSessions } from '@countersign/server/sessions';
import express from 'express';
import * as z from 'zod';
import { createLoginLimits } from './limits.mjs';
import { checkPassword } from './passwords.mjs';

const audience = 'video-api';
// One way only to write a name: limits are counted by it.
const loginRequest = z.strictObject({
  user: z.string().regex(/^[a-z0-9._-]{1,64}$/),
  password: z.string().min(1).max(1_024),
});
const parseRequest = z.object({ videoUrl: z.url({ protocol: /^https?$/ }) });

/**
 * Builds the API. All that it remembers lies in memory, and sessions end with it: to survive a restart they need a master key
 * that is kept, and a `FileKeyStore` or `RedisKeyStore` to remember what was revoked.
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

  // Behind a proxy `req.ip` is the proxy's, and all share its limits: then set 'trust proxy' to that proxy's address.
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
    // Whether it is the name or the password that is wrong is nobody's business, and both take as long.
    if (!(await checkPassword(password, known?.password)))
      return res.status(401).json({ error: 'The user name or the password is wrong' });
    await attempt.succeeded();
    res.json(await sessions.issue({ subject: user, scopes: known.scopes, audience }));
  });

  // From here on, nothing without a signature.
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

  // Express's own would show strangers a stack trace.
  app.use((error, _req, res, next) => {
    if (res.headersSent) return next(error);
    const status = error.expose === true ? error.status : 500;
    if (status === 500) console.error(error);
    res.status(status).json({ error: status === 500 ? 'The server failed' : error.message });
  });
  return app;
}
