// Lets a process live at another time: `TEST_CLOCK=2029-12-31T23:59:58Z node --import
// ./moved-clock.mjs …`. The clock says that time when the process starts, and runs on from there.
// Only `Date.now()` and `Date` without arguments are moved: timers, files, TLS and other processes
// keep the time of the machine.

const start = process.env.TEST_CLOCK;

if (start !== undefined) {
  const SystemDate = Date;
  const ahead = SystemDate.parse(start) - SystemDate.now();
  if (Number.isNaN(ahead))
    throw new TypeError(`Cannot read TEST_CLOCK "${start}": expected a time`);

  const { now } = SystemDate;
  SystemDate.now = () => now() + ahead;

  // The same class for `instanceof` and for fake timers, but for the one form that reads the clock.
  globalThis.Date = new Proxy(SystemDate, {
    apply: () => new Date().toString(),
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [target.now()] : args, newTarget),
  });
  SystemDate.prototype.constructor = Date;
}
