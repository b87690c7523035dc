import {
  ALGORITHMS,
  type Scheme,
  type SignableRequest,
  SignatureError,
  type SignatureParams,
  type TargetPart,
  WHOLE_TARGET,
} from '@countersign/shared';
import { openPlainBody, sealPlainBody } from './plain-chunks.ts';
import { plainResponses } from './plain-response.ts';

/** What signatures of the scheme say, as JSON in a header. */
interface PlainParams extends SignatureParams {
  /** As it stands on the wire. */
  readonly text: string;
}

export interface PlainOptions {
  readonly name?: string;
  readonly covers?: readonly TargetPart[];
  /** What its headers ask for beside their date. */
  readonly expiresIn?: number;
  readonly nonce?: 'none' | 'sent';
  readonly body?: 'declared' | 'undeclared' | 'unsigned' | 'sha512';
  readonly algorithm?: 'sent' | 'not sent';
  /** What it says of its form. */
  readonly inUrl?: boolean;
  readonly targets?: 'strict' | 'as-sent';
}

const FIELD = 'plain-signature';

/**
 * A scheme that is no file of the packages: one header with JSON and a signature, as RFC 9421 has
 * it in other words. The string to sign is no hash, an audience is not sent, and the secret is the
 * key.
 */
export function plainScheme(options: PlainOptions = {}): Scheme<PlainParams> {
  const { name = 'plain', covers = WHOLE_TARGET, expiresIn, inUrl = false } = options;
  const { nonce = 'none', body = 'declared', algorithm = 'not sent' } = options;

  function content({ method, path, query, headers }: SignableRequest, params: PlainParams): string {
    const parts = { method, authority: headers.get('host') ?? '', path, query };
    const lines = params.covers.map((part) => `"@${part}": ${parts[part]}`);
    for (const it of params.signedHeaders) lines.push(`"${it}": ${headers.get(it) ?? ''}`);
    return [...lines, `"@params": ${params.text}`].join('\n');
  }

  return {
    name,
    algorithms: ALGORITHMS,
    confidential: ['x-plain-token', 'token'],
    targets: options.targets,
    openBody: openPlainBody,
    sealBody: sealPlainBody,
    responses: plainResponses(),
    challenge: (audience) => `Plain realm="${audience}"`,

    prepare(request, intent) {
      const signedHeaders = request.headers.names.filter((it) => it !== 'host');
      const sha256 =
        typeof intent.body === 'object' && 'sha256' in intent.body ? intent.body.sha256 : '';
      const forms = {
        declared: { sha256 },
        undeclared: undefined,
        unsigned: 'unsigned',
        sha512: { sha512: '' },
      };
      const said = {
        accessKeyId: intent.accessKeyId,
        signedAt: intent.signedAt,
        expiresIn,
        inUrl,
        covers,
        signedHeaders,
        nonce: nonce === 'sent' ? intent.nonce : undefined,
        algorithm: algorithm === 'sent' ? intent.algorithm : undefined,
        body: intent.body === 'chunks' ? 'chunks' : forms[body],
      };
      const text = JSON.stringify(said);
      return { request, params: { ...said, text } as PlainParams };
    },

    canonicalRequest: content,

    stringToSign: (request, params, bodyHash = '') =>
      Buffer.from(
        params.body === undefined
          ? `${content(request, params)}\n${bodyHash}`
          : content(request, params),
      ),

    write(_, { text }, signature) {
      const hex = Buffer.from(signature).toString('hex');
      return { headers: [[FIELD, `${Buffer.from(text).toString('base64url')}.${hex}`]] };
    },

    read({ headers }) {
      const [json, hex = ''] = headers.get(FIELD)?.split('.') ?? [];
      if (json === undefined) return undefined;
      const text = Buffer.from(json, 'base64url').toString();
      try {
        return {
          params: { ...(JSON.parse(text) as PlainParams), text },
          signature: Buffer.from(hex, 'hex'),
        };
      } catch (cause) {
        throw new SignatureError('ERR_SIGNATURE_MALFORMED', 'It is no JSON', { cause });
      }
    },
  };
}
