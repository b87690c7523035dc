import { generate } from 'selfsigned';

/**
 * Makes a certificate for this machine that is valid for a day, so that the example needs no files.
 * It cannot sign other certificates.
 */
export async function makeCertificate() {
  const tomorrow = new Date(Date.now() + 86_400_000);
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notAfterDate: tomorrow,
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] },
    ],
  });
  return { key, cert };
}
