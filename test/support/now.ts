/**
 * Unix seconds by the clock of this machine, whole, when the test file was loaded.
 *
 * A test takes its times from here if they meet a clock that it does not set: that of Redis, of
 * files, of certificates, of another process, or a `Date.now()` in the code under test. A fixed
 * date is right until such a clock passes it. Where all clocks are injected, a fixed date is the
 * better choice: each run then does the same.
 */
export const NOW = Math.floor(Date.now() / 1000);
