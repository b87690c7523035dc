import hawk from 'hawk';

/** Writes a key as credentials of hawk. */
export const hawkCredentials = ({ accessKeyId, secretAccessKey }) => ({
  id: accessKeyId,
  key: secretAccessKey,
  algorithm: 'sha256',
  user: 'alice',
});

/** hawk with a validated payload. It has no nonce store of its own, so it remembers no nonces. */
export function createHawkCheck(key) {
  const credentials = hawkCredentials(key);
  const find = (id) => (id === credentials.id ? credentials : null);
  return (req, payload) => hawk.server.authenticate(req, find, { payload });
}

/** A secret in the format of Standard Webhooks. */
export const webhookSecret = ({ secretAccessKey }) =>
  `whsec_${Buffer.from(secretAccessKey).toString('base64')}`;
