import { quote, SignatureError } from './errors.ts';

const NAME_OR_ADDRESS = /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?$/i;
const LONGEST = 261;

/**
 * Checks a host, with its port if it has one. Node hands out whatever stands in `Host`, and a name that different
 * readers take for different hosts (`a.example.`, `a.example:080`, `a/b?c@d`) must not be signed.
 *
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`
 */
export function checkHost(host: string): void {
  if (!(host.length <= LONGEST && NAME_OR_ADDRESS.test(host))) {
    throw new SignatureError(
      'ERR_TARGET_AMBIGUOUS',
      `Cannot sign host ${quote(host)}: expected a name or address, and a port if any`,
    );
  }
}
