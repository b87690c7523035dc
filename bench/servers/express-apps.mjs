/**
 * Express applications by the `app` of a contender. `answer(res)` counts the request, and answers
 * with JSON.
 */

import { requireSignature } from '@countersign/server/express';
import express from 'express';
import { HMAC } from 'hmac-auth-express';
import { Webhook } from 'standardwebhooks';
import { createCheck } from './hand-written.mjs';
import { createHawkCheck, webhookSecret } from './peers.mjs';
import { CONTENT_TYPE } from './request.mjs';

const raw = () => express.raw({ type: CONTENT_TYPE });

const middleware = {
  bare: () => [],
  raw: () => [raw()],
  hawk: ({ key }) => [raw(), checking(createHawkCheck(key))],
  // This peer takes a parsed body.
  hmacAuthExpress: ({ key }) => [express.json(), HMAC(key.secretAccessKey)],
  standardWebhooks({ key }) {
    const webhook = new Webhook(webhookSecret(key));
    return [raw(), checking(async ({ headers }, body) => webhook.verify(body, headers))];
  },
  handWritten: ({ key, claim }) => [raw(), checking(createCheck(key, claim()))],
  ours: ({ verifierOptions }) => [requireSignature(verifierOptions())],
  oursRaw: ({ verifierOptions }) => [requireSignature(verifierOptions()), raw()],
  oursJson: ({ verifierOptions }) => [requireSignature(verifierOptions()), express.json()],
};

/** Makes middleware of a check that rejects. */
function checking(check) {
  return async function checked(req, _res, next) {
    await check(req, req.body);
    next();
  };
}

export function createApp(app, parts, answered) {
  const served = express();
  for (const each of middleware[app](parts)) served.use(each);
  served.post('/VideoParser/', (_req, res) => {
    answered();
    res.json({ ok: true });
  });
  // A peer refuses with an error, and without this handler Express would print it.
  served.use((error, _req, res, _next) => void res.status(401).json({ error: error.message }));
  return served;
}
