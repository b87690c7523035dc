/**
 * The API: `POST /VideoParser/` with `{ videoUrl }` begins to parse, and whoever asked for it is called back when that is done. All
 * requests are signed with an access key; its subject has one endpoint for callbacks:
 *
 *     PUT  /callback-endpoint         { url }   registers it, and gives the secret that callbacks will be signed with
 *     POST /callback-endpoint/secret            gives a new one; for now the old one signs, too
 */
import { randomBytes } from 'node:crypto';
import { checkCallbackUrl, createCallbackSender } from '@countersign/server/callbacks';
import { identityOf, requireScope, requireSignature } from '@countersign/server/express';
import express from 'express';
import * as z from 'zod';

const endpointRequest = z.object({ url: z.string() });
const parseRequest = z.object({ videoUrl: z.url({ protocol: /^https?$/ }) });

/** What the API makes of a video's URL. A real one would fetch and look, for minutes. */
function parseVideo(videoUrl) {
  const file = new URL(videoUrl).pathname.split('/').at(-1) ?? '';
  return { videoUrl, title: decodeURIComponent(file).replace(/\.\w+$/, '') || 'untitled' };
}

const newSecret = () => `whsec_${randomBytes(32).toString('base64')}`;

/**
 * Builds the API.
 *
 * @param verifier what `requireSignature` takes
 * @param options of its sender of callbacks, but for the endpoints. The queue is in this process, if none is given
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
    // The sender checks it again before each call: by then the name may mean another address.
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
    // Once this resolves the event is queued: it will arrive, though perhaps not at once.
    const { id } = await sender.send(subject, { type: 'video.parsed', data });
    res.status(202).json({ deliveryId: id });
  });
  return { app, sender };
}
