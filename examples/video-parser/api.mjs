/** The API to protect: `POST /VideoParser/` with `{ videoUrl }`, only for signed requests. */
import { identityOf, requireScope, requireSignature } from '@countersign/server/express';
import express from 'express';
import * as z from 'zod';

const parseRequest = z.object({ videoUrl: z.url({ protocol: /^https?$/ }) });

/** Parses the video at a URL. A real API would fetch the video. */
function parseVideo(videoUrl) {
  const { hostname, pathname } = new URL(videoUrl);
  const file = pathname.split('/').at(-1) ?? '';
  const [, title = file, container = 'unknown'] = /^(.+)\.([a-z0-9]+)$/i.exec(file) ?? [];
  return { videoUrl, host: hostname, title: decodeURIComponent(title) || 'untitled', container };
}

/**
 * Builds the API. `verifier` is a verifier, or the options of one, as `requireSignature` takes it.
 */
export function createApi(verifier) {
  const app = express();
  app.disable('x-powered-by');
  app.use(requireSignature(verifier));
  app.use(express.json());

  app.post('/VideoParser/', requireScope('videos:parse'), (req, res) => {
    const body = parseRequest.safeParse(req.body);
    if (!body.success) return res.status(422).json({ error: z.prettifyError(body.error) });
    res.json({ ...parseVideo(body.data.videoUrl), parsedFor: identityOf(req).subject });
  });
  return app;
}
