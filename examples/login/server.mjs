/**
 * Runs the API over TLS, with two users whose passwords are new at each start. Prints its address
 * and the certificate to trust:
 *
 *     PORT=8443 COUNTERSIGN_PRINT_PASSWORDS=1 node server.mjs
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:https';
import { createApi } from './api.mjs';
import { makeCertificate } from './certificate.mjs';
import { hashPassword } from './passwords.mjs';

const passwords = {
  alice: randomBytes(18).toString('base64url'),
  bob: randomBytes(18).toString('base64url'),
};
const users = new Map();
for (const [user, password] of Object.entries(passwords))
  users.set(user, { password: await hashPassword(password), scopes: ['videos:parse'] });

const { key, cert } = await makeCertificate();
const server = createServer({ key, cert }, createApi(users));
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  const origin = `https://127.0.0.1:${server.address().port}`;
  const told = { origin, certificate: cert };
  const printed = process.env.COUNTERSIGN_PRINT_PASSWORDS === '1' ? { ...told, passwords } : told;
  console.log(JSON.stringify(printed));
});
