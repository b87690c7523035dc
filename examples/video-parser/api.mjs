/** The API to protect: `POST /VideoParser/` with `{ videoUrl }`, for requests signed with an access key only. */
import { identityOf, requireScope, requireSignature } from '@countersign/server/express';
import express from 'express';
import * as z from 'zod';

const parseRequest = z.object({ videoUrl: z.url({ protocol: /^https?$/ }) });

/** What the API makes of a video's URL. A real one would fetch and look. */
function parseVideo(videoUrl) {
  const { hostname, pathname } = new URL(videoUrl);
  const file = pathname.split('/').at(-1) ?? '';
  const [, title = file, container = 'unknown'] = /^(.+)\.([a-z0-9]+)$/i.exec(file) ?? [];
  return { videoUrl, host: hostname, title: decodeURIComponent(title) || 'untitled', container };
}

/** Builds the API. `verifier` is what `requireSignature` takes: a verifier, or the options of one. */
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
