import { isAccessKeyId, isAudience, quote } from '@countersign/shared';
import type { Command } from 'commander';
import { UsageError } from './errors.ts';

/** Adds the options of all commands that use a store. Call it last: help shows them at the end. */
export function addStoreOptions(command: Command): Command {
  return addJsonOption(command)
    .optionsGroup('Store:')
    .option(
      '--store <url>',
      'file:PATH, redis://HOST:PORT, redis-cluster://HOST:PORT,… or redis-sentinel://HOST:PORT,…/MASTER-NAME; rediss… for TLS; default COUNTERSIGN_STORE, then file:./countersign-keys.json',
    )
    .option(
      '--prefix <name>',
      'prefix of keys in Redis; default COUNTERSIGN_PREFIX, then countersign:keys',
      parsePrefix,
    )
    .option(
      '--ca-file <path>',
      'the authority of the certificate of Redis, in PEM; default COUNTERSIGN_REDIS_CA, then what Node trusts',
    )
    .option(
      '--master-key-file <path>',
      'file of master keys, one per line; default COUNTERSIGN_MASTER_KEY_FILE or COUNTERSIGN_MASTER_KEY, then PATH.master-key beside file:PATH',
    );
}

/** Adds the options of all commands that use the queue of callbacks. */
export function addQueueOptions(command: Command): Command {
  return addJsonOption(command)
    .optionsGroup('Queue:')
    .option(
      '--store <url>',
      'redis://HOST:PORT, redis-cluster://HOST:PORT,… or redis-sentinel://HOST:PORT,…/MASTER-NAME; rediss… for TLS; default COUNTERSIGN_STORE',
    )
    .option('--queue <name>', 'name of the queue; default callbacks')
    .option('--prefix <name>', 'prefix of keys in Redis; default {countersign}', parsePrefix)
    .option(
      '--ca-file <path>',
      'the authority of the certificate of Redis, in PEM; default COUNTERSIGN_REDIS_CA, then what Node trusts',
    );
}

export function addJsonOption(command: Command): Command {
  return command
    .optionsGroup('Output:')
    .option('--json', 'print one JSON document; times are Unix seconds');
}

/** Collects the values of an option that may be repeated. */
export function several(
  check: (text: string) => string,
): (text: string, before?: readonly string[]) => string[] {
  return (text, before = []) => [...before, check(text)];
}

/** @throws UsageError, like all functions below */
export function parseAccessKeyId(text: string): string {
  if (isAccessKeyId(text)) return text;
  throw wrong('access key id', text, '1 to 128 of A-Z a-z 0-9 . _ -');
}

/** The server does not export its check of the same shape. */
export function parseSessionId(text: string): string {
  if (/^CSSK[0-9A-HJKMNP-TV-Z]{20}$/.test(text)) return text;
  throw wrong('session id', text, 'CSSK and 20 letters and digits, as sessions issue prints it');
}

export function parseSubject(text: string): string {
  if (text.length >= 1 && text.length <= 1_024) return text;
  throw wrong('subject', text, '1 to 1024 characters');
}

export function parseScope(text: string): string {
  if (/^\S+$/.test(text)) return text;
  throw wrong('scope', text, 'a name without spaces; repeat --scope for more');
}

export function parseAudience(text: string): string {
  if (isAudience(text)) return text;
  throw wrong('audience', text, 'a service name: 1 to 128 of A-Z a-z 0-9 . _ : -');
}

export function parseLabel(text: string): string {
  if (text.length <= 1_024) return text;
  throw wrong('label', text, 'at most 1024 characters');
}

export function parseIssuer(text: string): string {
  if (text.length >= 1 && text.length <= 256) return text;
  throw wrong('issuer', text, '1 to 256 characters');
}

export function parseDeliveryId(text: string): string {
  if (/^dlv_[\w-]{32}$/.test(text)) return text;
  throw wrong('delivery id', text, 'dlv_ and 32 characters, as callbacks list prints it');
}

/** @throws UsageError if the text is no whole number, or out of range */
export function parseWhole(what: string, lowest: number, highest: number) {
  return (text: string): number => {
    const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (number >= lowest && number <= highest) return number;
    throw wrong(what, text, `a whole number from ${lowest} to ${highest}`);
  };
}

function parsePrefix(text: string): string {
  if (text !== '') return text;
  throw wrong('prefix', text, 'a name');
}

function wrong(what: string, text: string, expected: string): UsageError {
  return new UsageError(`Cannot use ${what} ${quote(text)}: expected ${expected}`);
}
