import { expect, it } from 'vitest';
import { parseReply } from '../../../src/nonces/redis/script-reply.ts';

it.each([
  ['apart', 1500, '1.5 s ahead of the clock of this server'],
  ['apart', -1500, '1.5 s behind the clock of this server'],
  ['set-back', -2500, '2.5 s behind the time that Redis gave before'],
])('a reply %s of %i ms says which clocks differ, and by how much', (outcome, wait, message) => {
  expect(() => parseReply([outcome, '', wait, 0])).toThrow(message);
});
