// Sends one callback over TLS, with the certificates that Node trusts, and prints the outcome. Run
// it with NODE_EXTRA_CA_CERTS, which Node reads when it starts. Arguments: the host, the port, the
// secret.

import { createCallbackSender } from '../../packages/server/dist/callbacks.js';

const [host, port, secret] = process.argv.slice(2);

const outcome = await new Promise((resolve) => {
  const sender = createCallbackSender({
    endpoints: (id) => ({ id, url: `https://${host}:${port}/hooks`, secrets: [secret] }),
    privateAddresses: 'allow-private-addresses',
    resolve: async () => ['127.0.0.1'],
    schedule: [],
    onDelivered: ({ attempt }) => end(`delivered ${attempt.status}`),
    onDead: ({ attempt }) => end(attempt.error),
  });
  const end = async (what) => {
    // Not awaited: close() waits for this hook.
    void sender.close();
    resolve(what);
  };
  void sender.send('alice', { type: 'video.parsed', data: { title: 'Cats' } });
});
console.log(outcome);
