/**
 * The API: `POST /VideoParser/` with `{ videoUrl }` starts to parse a video, and calls the customer
 * back when that is done. All requests are signed with an access key; its subject has one endpoint
 * for callbacks:
 *
 *     PUT  /callback-endpoint         { url }   registers it, and returns the secret for callbacks
 *     POST /callback-endpoint/secret            returns a new secret; the old one still signs, too
 */
import { randomBytes } from 'node:crypto';
import { checkCallbackUrl, createCallbackSender } from '@countersign/server/callbacks';
import { identityOf, requireScope, requireSignature } from '@countersign/server/express';
import express from 'express';
import * as z from 'zod';

const endpointRequest = z.object({ url: z.string() });
const parseRequest = z.object({ videoUrl: z.url({ protocol: /^https?$/ }) });

/** Parses the video at a URL. A real API would fetch the video, and take minutes. */
function parseVideo(videoUrl) {
  const file = new URL(videoUrl).pathname.split('/').at(-1) ?? '';
  return { videoUrl, title: decodeURIComponent(file).replace(/\.\w+$/, '') || 'untitled' };
}

const newSecret = () => `whsec_${randomBytes(32).toString('base64')}`;

/**
 * Builds the API.
 *
 * @param verifier a verifier, or the options of one
 * @param options options of the sender, except `endpoints`. The queue is in this process if none is
 *   given
 */
export function createApi(verifier, options = {}) {
  const endpoints = new Map();
  const sender = createCallbackSender({ ...options, endpoints: (id) => endpoints.get(id) });
  const { http, privateAddresses } = options;

  const app = express();
  app.disable('x-powered-by');
  app.use(requireSignature(verifier), requireScope('videos:parse'), express.json());

  app.put('/callback-endpoint', async (req, res) => {
    const body = endpointRequest.safeParse(req.body);
    if (!body.success) return res.status(422).json({ error: z.prettifyError(body.error) });
    const { url } = body.data;
    const { subject: id } = identityOf(req);
    // The sender checks the URL again before each call, because its host may have another address
    // then.
    const error = await checkCallbackUrl(url, { http, privateAddresses }).catch((it) => it);
    if (error instanceof Error) return res.status(422).json({ error: error.message });
    const secret = newSecret();
    endpoints.set(id, { id, url, secrets: [secret] });
    res.status(201).json({ secret });
  });

  app.post('/callback-endpoint/secret', (req, res) => {
    const endpoint = endpoints.get(identityOf(req).subject);
    if (endpoint === undefined) return res.status(404).json({ error: 'There is no endpoint' });
    const secret = newSecret();
    endpoints.set(endpoint.id, { ...endpoint, secrets: [secret, endpoint.secrets[0]] });
    res.json({ secret });
  });

  app.post('/VideoParser/', async (req, res) => {
    const body = parseRequest.safeParse(req.body);
    if (!body.success) return res.status(422).json({ error: z.prettifyError(body.error) });
    const { subject } = identityOf(req);
    if (!endpoints.has(subject)) return res.status(409).json({ error: 'There is no endpoint' });
    const data = parseVideo(body.data.videoUrl);
    // When this resolves, the event is queued. It will arrive, perhaps later.
    const { id } = await sender.send(subject, { type: 'video.parsed', data });
    res.status(202).json({ deliveryId: id });
  });
  return { app, sender };
}
