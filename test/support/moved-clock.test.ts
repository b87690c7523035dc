import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';

const PRELOAD = new URL('moved-clock.mjs', import.meta.url).href;

const YEAR = 365 * 86_400_000;
const later = (years: number): string => new Date(Date.now() + years * YEAR).toISOString();

/** What an expression gives, in a process that starts with the preload. */
function evaluate(expression: string, clock?: string) {
  const { TEST_CLOCK: _, ...inherited } = process.env;
  const env = clock === undefined ? inherited : { ...inherited, TEST_CLOCK: clock };
  const program = `console.log(JSON.stringify(await (async () => ${expression})()))`;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', PRELOAD, '--input-type=module', '-e', program],
    { env, encoding: 'utf8' },
  );
  return { value: stdout === '' ? undefined : JSON.parse(stdout), stderr };
}

describe('moved-clock.mjs', () => {
  it('starts the clock at the time that it is given', () => {
    const { value } = evaluate('[Date.now(), +new Date(), Date()]', '2040-02-28T23:59:59Z');
    const start = Date.UTC(2040, 1, 28, 23, 59, 59);
    for (const time of [value[0], value[1], Date.parse(value[2]) + 999]) {
      expect(time).toBeGreaterThanOrEqual(start);
      expect(time).toBeLessThan(start + 60_000);
    }
  });

  it('runs on, across midnight', () => {
    const wait = 'while (Date.now() < start + 300) ;';
    const expression = `{ const start = Date.now(); const from = performance.now(); ${wait}
      return [performance.now() - from, new Date().toISOString()]; }`;
    const { value } = evaluate(expression, '2039-12-31T23:59:59.900Z');
    expect(value[0]).toBeGreaterThan(290);
    expect(value[1]).toMatch(/^2040-01-01T00:00:\d\d/);
  });

  it('moves nothing else: neither dates that are given, nor their class, nor other clocks', () => {
    const dates = '+new Date(5), new Date(2020, 1).getMonth(), Date.UTC(2020), Date.parse("2020")';
    const classes = 'new Date() instanceof Date, new Date().constructor === Date';
    const derived = 'new (class extends Date { two() { return 2; } })(7).two()';
    const { value } = evaluate(`[${dates}, ${classes}, ${derived}]`, later(20));
    expect(value).toEqual([5, 1, Date.UTC(2020), Date.parse('2020'), true, true, 2]);
    const machine = evaluate('performance.timeOrigin', later(20)).value;
    expect(Math.abs(machine - Date.now())).toBeLessThan(60_000);
  });

  it('leaves the clock alone if no time is given', () => {
    const { value } = evaluate('Date.now()');
    expect(Math.abs(value - Date.now())).toBeLessThan(60_000);
  });

  it('refuses what is no time', () => {
    expect(evaluate('0', 'tomorrow').stderr).toContain('Cannot read TEST_CLOCK "tomorrow"');
  });
});
