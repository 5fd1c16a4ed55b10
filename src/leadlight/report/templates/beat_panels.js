"use strict";
/* Twelve leads of one beat as small panels on a canvas, with one scale for all of them. */
Leadlight.beatPanels = (() => {
  const ORDERS = {
    4: ["I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6"],
    3: ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"],
    2: ["I", "V1", "II", "V2", "III", "V3", "aVR", "V4", "aVL", "V5", "aVF", "V6"],
  };
  const GAP = 6;

  /** Draw; returns the limits of the vertical axis.
      curves: [{values: 12 arrays (lead in `leads`), colour, width, own: [first, end] or null, error:
      12 arrays of half a band's height or null}], drawn in their order; unit: "mV" or "µV"; symmetric: the axis reaches as far down as up. */
  const draw = (canvas, width, height, { curves, leads, rate, rSample, unit, symmetric }) => {
    const colours = Leadlight.colours();
    const pen = Leadlight.context(canvas, width, height);
    const columns = width >= 560 ? 4 : width >= 250 ? 3 : 2;
    const order = ORDERS[columns];
    const rows = order.length / columns;
    const [left, bottom] = [width >= 430 ? 40 : 32, 20];
    const wide = (width - left - (columns - 1) * GAP) / columns;
    const high = (height - bottom - (rows - 1) * GAP) / rows;
    const samples = curves[0].values[0].length;
    const [low, top, step] = limits(curves, symmetric);
    const first = (-rSample * 1000) / rate;
    const last = ((samples - 1 - rSample) * 1000) / rate;

    order.forEach((name, place) => {
      const [column, row] = [place % columns, Math.floor(place / columns)];
      const [x0, y0] = [left + column * (wide + GAP), row * (high + GAP)];
      const x = (ms) => x0 + ((ms - first) / (last - first)) * wide;
      const y = (value) => y0 + ((top - value) / (top - low)) * high;
      grid(pen, colours, { x, y, x0, y0, wide, high, low, top, step, first, last });
      pen.save();
      pen.beginPath();
      pen.rect(x0, y0, wide, high);
      pen.clip();
      const lead = leads.indexOf(name);
      for (const curve of curves) {
        const values = curve.values[lead];
        const [from, to] = curve.own || [0, samples];
        const across = (at) => x(first + (at * 1000) / rate);
        if (curve.error) {
          const error = curve.error[lead];
          pen.beginPath();
          for (let at = from; at < to; at += 1) pen.lineTo(across(at), y(values[at] + error[at]));
          for (let at = to - 1; at >= from; at -= 1) pen.lineTo(across(at), y(values[at] - error[at]));
          pen.globalAlpha = 0.25;
          pen.fillStyle = curve.colour;
          pen.fill();
          pen.globalAlpha = 1;
        }
        pen.beginPath();
        for (let at = from; at < to; at += 1) pen.lineTo(across(at), y(values[at]));
        pen.strokeStyle = curve.colour;
        pen.lineWidth = curve.width;
        pen.lineJoin = "round";
        pen.stroke();
      }
      pen.restore();
      label(pen, colours, name, x0 + 4, y0 + 13, true);
      if (column === 0) {
        for (const tick of [low, 0, top]) {
          const at = Math.min(Math.max(y(tick), y0 + 5), y0 + high - 5);
          label(pen, colours, Leadlight.number(tick), left - 4, at + 4, false, "right");
        }
      }
      if (row === rows - 1) {
        for (const tick of wide > 230 ? [-400, -200, 0, 200, 400] : wide > 100 ? [-400, 0, 400] : [0, 400]) {
          const unitToo = tick === 400 && column === columns - 1 ? " ms" : "";
          label(pen, colours, `${Leadlight.number(tick)}${unitToo}`, x(tick), height - 6, false, "center");
        }
      }
    });
    label(pen, colours, unit, 0, height - 6, false);
    return { low, top };
  };

  /** A round axis that holds all curves: half millivolts, or round numbers either side of zero. */
  const limits = (curves, symmetric) => {
    let [low, top] = [Infinity, -Infinity];
    for (const curve of curves) {
      const [from, to] = curve.own || [0, curve.values[0].length];
      curve.values.forEach((values, lead) => {
        for (let at = from; at < to; at += 1) {
          const reach = curve.error ? curve.error[lead][at] : 0;
          if (values[at] - reach < low) low = values[at] - reach;
          if (values[at] + reach > top) top = values[at] + reach;
        }
      });
    }
    if (!symmetric) {
      [low, top] = [Math.min(-1, Math.floor(low * 2) / 2), Math.max(1, Math.ceil(top * 2) / 2)];
      return [low, top, 0.5];
    }
    const size = Math.max(top, -low, 1e-3);
    const power = 10 ** Math.floor(Math.log10(size));
    const round = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((one) => one * power >= size * 0.999) * power;
    return [-round, round, round / 2];
  };

  /** The large squares of ECG paper: 200 ms, and a step of the vertical axis. */
  const grid = (pen, colours, at) => {
    pen.fillStyle = colours.card;
    pen.fillRect(at.x0, at.y0, at.wide, at.high);
    pen.lineWidth = 1;
    pen.strokeStyle = colours.gridMinor;
    pen.beginPath();
    for (let ms = Math.ceil(at.first / 200) * 200; ms <= at.last; ms += 200) {
      pen.moveTo(at.x(ms), at.y0);
      pen.lineTo(at.x(ms), at.y0 + at.high);
    }
    for (let value = at.low; value <= at.top + 1e-9; value += at.step) {
      pen.moveTo(at.x0, at.y(value));
      pen.lineTo(at.x0 + at.wide, at.y(value));
    }
    pen.stroke();
    pen.strokeStyle = colours.gridMajor;
    pen.beginPath();
    pen.moveTo(at.x0, at.y(0));
    pen.lineTo(at.x0 + at.wide, at.y(0));
    pen.moveTo(at.x(0), at.y0);
    pen.lineTo(at.x(0), at.y0 + at.high);
    pen.rect(at.x0 + 0.5, at.y0 + 0.5, at.wide - 1, at.high - 1);
    pen.stroke();
  };

  const label = (pen, colours, text, x, y, strong, align = "left") => {
    pen.fillStyle = strong ? colours.ink : colours.quiet;
    pen.font = pen.font.replace(/^(bold )?\d+px/, strong ? "bold 12px" : "11px");
    pen.textAlign = align;
    pen.fillText(text, x, y);
  };

  return draw;
})();
