import hawk from 'hawk';

/** What hawk looks a key up with. */
export const hawkCredentials = ({ accessKeyId, secretAccessKey }) => ({
  id: accessKeyId,
  key: secretAccessKey,
  algorithm: 'sha256',
  user: 'alice',
});

/** hawk, with the payload validated, and no memory of nonces: it has none of its own. */
export function createHawkCheck(key) {
  const credentials = hawkCredentials(key);
  const find = (id) => (id === credentials.id ? credentials : null);
  return (req, payload) => hawk.server.authenticate(req, find, { payload });
}

/** A secret as Standard Webhooks writes it. */
export const webhookSecret = ({ secretAccessKey }) =>
  `whsec_${Buffer.from(secretAccessKey).toString('base64')}`;
