/**
 * Signs requests, by the `signs` of a contender: each entry makes a function that returns the
 * headers of one more request.
 */

import { createSecretKey, randomBytes } from 'node:crypto';
import { createSigner } from '@countersign/client';
import hawk from 'hawk';
import { generate } from 'hmac-auth-express';
import { Webhook } from 'standardwebhooks';
import { signatureOf } from './hand-written.mjs';
import { hawkCredentials, webhookSecret } from './peers.mjs';
import { BODY, CONTENT_TYPE, METHOD, TARGET } from './request.mjs';

export const AUDIENCE = 'video-api';

export const signers = {
  ours(key, origin, epoch) {
    const { accessKeyId, secretAccessKey } = key;
    const credentials = { accessKeyId, secretAccessKey };
    const signer = createSigner({ credentials, audience: AUDIENCE });
    const request = {
      method: METHOD,
      url: origin + TARGET,
      headers: { 'content-type': CONTENT_TYPE },
      body: BODY,
      epoch,
    };
    return async () => {
      const { 'content-type': _sent, ...headers } = (await signer.sign(request)).headers;
      return headers;
    };
  },

  hawk(key, origin) {
    const options = {
      credentials: hawkCredentials(key),
      payload: BODY,
      contentType: CONTENT_TYPE,
    };
    return () => ({ authorization: hawk.client.header(origin + TARGET, METHOD, options).header });
  },

  hmacAuthExpress(key) {
    const body = JSON.parse(BODY.toString());
    // This scheme has no nonce, only a time in milliseconds. Each request of a round has another
    // millisecond, and none may lie ahead.
    let time = Date.now();
    return () => {
      time--;
      const secret = key.secretAccessKey;
      const digest = generate(secret, 'sha256', String(time), METHOD, TARGET, body).digest('hex');
      return { authorization: `HMAC ${time}:${digest}` };
    };
  },

  standardWebhooks(key) {
    const webhook = new Webhook(webhookSecret(key));
    const payload = BODY.toString();
    return () => {
      const id = `msg_${randomBytes(16).toString('base64url')}`;
      const now = new Date();
      return {
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
        'webhook-signature': webhook.sign(id, now, payload),
      };
    };
  },

  handWritten({ accessKeyId, secretAccessKey }) {
    const secret = createSecretKey(Buffer.from(secretAccessKey));
    return () => {
      const timestamp = String(Math.floor(Date.now() / 1000));
      const nonce = randomBytes(16).toString('base64url');
      const parts = { secret, method: METHOD, target: TARGET, timestamp, nonce, body: BODY };
      return {
        'x-key': accessKeyId,
        'x-timestamp': timestamp,
        'x-nonce': nonce,
        'x-signature': signatureOf(parts).toString('hex'),
      };
    };
  },
};

/** A server that checks nothing gets unsigned requests. */
export const unsigned = () => () => ({});
