import { type ResponseForm, type ResponseParams, SignatureError } from '@countersign/shared';

const FIELD = 'plain-response';

/** What signatures of responses say, as JSON in a header. */
interface PlainResponseParams extends ResponseParams {
  /** As it stands on the wire. */
  readonly text: string;
}

/** Signs responses in a header, beside what they say of themselves. */
export function plainResponses(): ResponseForm {
  return {
    prepare({ headers }, { signedAt, algorithm, signedHeaders: further }) {
      const signedHeaders = headers.names.filter(
        (name) => name === 'content-type' || further?.has(name),
      );
      const covers = ['status', 'request'];
      const said = { algorithm, signedAt, covers, signedHeaders };
      return { headers, params: { ...said, text: JSON.stringify(said) } as PlainResponseParams };
    },

    stringToSign({ status, headers, signed }, params, bodyHash) {
      const { text, signedHeaders } = params as PlainResponseParams;
      const lines = signedHeaders.map((name) => `${name}: ${headers.get(name) ?? ''}`);
      const request = Buffer.from(signed.signature).toString('hex');
      const all = ['plain-response', String(status), request, ...lines, text, bodyHash];
      return Buffer.from(all.join('\n'));
    },

    write(_, params, signature) {
      const text = Buffer.from((params as PlainResponseParams).text).toString('base64url');
      return [[FIELD, `${text}.${Buffer.from(signature).toString('hex')}`]];
    },

    read({ headers }) {
      const [json, hex = ''] = headers.get(FIELD)?.split('.') ?? [];
      if (json === undefined) return undefined;
      const text = Buffer.from(json, 'base64url').toString();
      try {
        const params = { ...JSON.parse(text), text } as PlainResponseParams;
        return { params, signature: Buffer.from(hex, 'hex') };
      } catch (cause) {
        throw new SignatureError('ERR_SIGNATURE_MALFORMED', 'It is no JSON', { cause });
      }
    },
  };
}
