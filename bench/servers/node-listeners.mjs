/** Listeners of `node:http` by the `app` of a contender. Each reads the body before it answers. */

import { withSignature } from '@countersign/server/node';
import { createCheck } from './hand-written.mjs';
import { createHawkCheck } from './peers.mjs';

const ANSWER = JSON.stringify({ ok: true });

const listeners = {
  bare: (_parts, answer) => (req, res) => readBody(req, () => answer(res)),
  hawk: ({ key }, answer) => checking(createHawkCheck(key), answer),
  handWritten: ({ key, claim }, answer) => checking(createCheck(key, claim()), answer),
  ours: ({ verifierOptions }, answer) =>
    withSignature((req, res) => readBody(req, () => answer(res)), verifierOptions()),
};

function readBody(req, whenRead) {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('end', () => whenRead(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)));
}

/** Answers if a check does not reject. */
function checking(check, answer) {
  return function checked(req, res) {
    readBody(req, (body) => {
      check(req, body).then(
        () => answer(res),
        (error) => void res.writeHead(401).end(error.message),
      );
    });
  };
}

export function createListener(app, parts, answered) {
  return listeners[app](parts, function answer(res) {
    answered();
    res.setHeader('content-type', 'application/json; charset=utf-8');
    res.setHeader('content-length', ANSWER.length);
    res.end(ANSWER);
  });
}
