"use strict";
/* Numbers of a decoded beat: plain readings, and the error that an uncertain shift leaves in it. */
Leadlight.beatNumbers = {
  /** Readings in fixed windows around R, against the level 80 to 60 ms before it: the highest and
      lowest value from 60 ms before R to 100 ms after it, the largest deflection from 160 to 460 ms
      after it (all in the beat's unit), and the frontal axis of the first window's net area. */
  readings(leads, beat, { r_sample: r, rate_hz: rate }) {
    const at = (ms) => r + Math.round((ms * rate) / 1000);
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const area = {};
    const rows = leads.map((lead, place) => {
      const before = beat[place].subarray(at(-80), at(-60));
      const level = sum(before) / before.length;
      const off = (from, to) => beat[place].subarray(at(from), at(to)).map((one) => one - level);
      const qrs = off(-60, 100);
      area[lead] = sum(qrs);
      const t = off(160, 460).reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
      return { lead, highest: Math.max(...qrs), lowest: Math.min(...qrs), t };
    });
    const axis = (Math.atan2((2 * area.II - area.I) / Math.sqrt(3), area.I) * 180) / Math.PI;
    return { rows, axis };
  },

  /** Standard error of the beat decoded at `factors`, 12 arrays in mV, for one step of a shift: the
      decoder's slope along each direction of the shift's error (`error_root`, or the factors' own
      errors taken as independent). */
  error(decoder, shift, factors) {
    const STEP = 0.5; // of a standard error: small enough for a slope
    const here = decoder.twelve(factors);
    const squares = here.map((values) => new Float64Array(values.length));
    for (let direction = 0; direction < factors.length; direction += 1) {
      const along = (at) => (shift.error_root
        ? shift.error_root[at][direction]
        : at === direction ? shift.standard_error[at] : 0);
      decoder.twelve(factors.map((value, at) => value + STEP * along(at))).forEach((values, lead) => {
        for (let at = 0; at < values.length; at += 1) {
          squares[lead][at] += ((values[at] - here[lead][at]) / STEP) ** 2;
        }
      });
    }
    return squares.map((values) => values.map(Math.sqrt));
  },
};
