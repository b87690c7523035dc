/**
 * The servers that are compared. `signs` names how requests are signed (`sign.mjs`), `app` names
 * the server (`express-apps.mjs`, `node-listeners.mjs`), `once` says whether it refuses a replay.
 */

const express = [
  { name: 'bare', app: 'bare' },
  { name: 'bare, express.raw()', app: 'raw' },
  { name: 'hawk', app: 'hawk', signs: 'hawk' },
  { name: 'hmac-auth-express', app: 'hmacAuthExpress', signs: 'hmacAuthExpress' },
  { name: 'standardwebhooks', app: 'standardWebhooks', signs: 'standardWebhooks' },
  { name: 'hand-written, memory', app: 'handWritten', signs: 'handWritten', once: true },
  { name: 'hand-written, Redis', app: 'handWritten', signs: 'handWritten', once: true },
  { name: 'ours, memory, no parser', app: 'ours', signs: 'ours', once: true },
  { name: 'ours, memory, express.raw()', app: 'oursRaw', signs: 'ours', once: true, goal: 0.75 },
  { name: 'ours, memory, express.json()', app: 'oursJson', signs: 'ours', once: true },
  { name: 'ours, Redis, express.raw()', app: 'oursRaw', signs: 'ours', once: true, goal: 0.7 },
];

const node = [
  { name: 'body read', app: 'bare' },
  { name: 'hawk', app: 'hawk', signs: 'hawk' },
  { name: 'hand-written, memory', app: 'handWritten', signs: 'handWritten', once: true },
  { name: 'hand-written, Redis', app: 'handWritten', signs: 'handWritten', once: true },
  { name: 'ours, memory', app: 'ours', signs: 'ours', once: true, goal: 0.58 },
  { name: 'ours, Redis', app: 'ours', signs: 'ours', once: true, goal: 0.48 },
];

const of = (framework) => (contender) => ({
  ...contender,
  id: `${framework}: ${contender.name}`,
  framework,
  redis: contender.name.includes('Redis'),
});

export const contenders = [...express.map(of('Express 5')), ...node.map(of('node:http'))];

/** The server that a share of throughput refers to. */
export const baseOf = { 'Express 5': 'Express 5: bare', 'node:http': 'node:http: body read' };

/**
 * In each pair, the first must take less processor time than the second. Both give the application
 * a body of the same kind.
 */
export const bars = [
  ['Express 5: ours, memory, express.raw()', 'Express 5: hawk'],
  // Both give the application the parsed JSON.
  ['Express 5: ours, memory, express.json()', 'Express 5: hmac-auth-express'],
  ['Express 5: ours, memory, express.json()', 'Express 5: standardwebhooks'],
  ['node:http: ours, memory', 'node:http: hawk'],
];
