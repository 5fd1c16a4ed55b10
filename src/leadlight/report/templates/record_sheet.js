"use strict";
/* Twelve leads on ECG paper: where each stands on the sheet, in millimetres, and how it is drawn, with
   the relevance of one class as the trace's colour and width. No controls: see record.js. */
Leadlight.recordSheet = (() => {
  const [MM_PER_S, MM_PER_MV, PULSE_MM, GAP_MM, LEVELS, MISSING] = [25, 10, 12, 6, 16, -32768];

  /** Give a record its `traces` in millivolt and the median of each. */
  function takeIn(record) {
    if (record.traces) return;
    const counts = Leadlight.int16(record.signal);
    record.traces = record.leads.map((_, lead) => Float32Array.from(
      counts.subarray(lead * record.n_samples, (lead + 1) * record.n_samples),
      (count) => (count === MISSING ? NaN : (count * record.unit_uv) / 1000)));
    record.medians = record.traces.map(median);
  }

  function median(values) {
    const sorted = values.filter((one) => !Number.isNaN(one)).sort();
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : 0;
  }

  /** Give a class' relevance its `rows` in counts, the `limit` of its colours, and the level of
      colour of each stretch, from the relevance smoothed over some milliseconds. */
  function colourIn(record, one) {
    if (one.levels) return;
    const counts = Leadlight.int16(one.values);
    const n = record.n_samples;
    one.rows = record.leads.map((_, lead) => counts.subarray(lead * n, (lead + 1) * n));
    const smooth = one.rows.map((row) => smoothed(row, (record.smoothing_ms / 1000) * record.rate_hz));
    const sizes = [];
    smooth.forEach((row, lead) => {
      if (!one.leads.includes(record.leads[lead])) return;
      for (let at = one.first; at < one.end; at += 1) sizes.push(Math.abs(row[at]));
    });
    const ordered = Float64Array.from(sizes).sort();
    const limit = ordered[Math.floor(0.99 * (ordered.length - 1))] || ordered[ordered.length - 1] || 1;
    one.limit = limit * one.scale;
    one.levels = smooth.map((row) => Int8Array.from({ length: n }, (_, at) => {
      const next = row[Math.min(at + 1, n - 1)];
      return Math.round(Math.max(-1, Math.min(1, (row[at] + next) / 2 / limit)) * LEVELS);
    }));
  }

  /** A Gaussian of this many samples; zeros outside. */
  function smoothed(row, sigma) {
    const reach = Math.ceil(4 * sigma);
    const weights = Array.from({ length: 2 * reach + 1 }, (_, at) => Math.exp(-0.5 * ((at - reach) / sigma) ** 2));
    const total = weights.reduce((a, b) => a + b, 0);
    return Float64Array.from(row, (_, at) => {
      let sum = 0;
      for (let d = -reach; d <= reach; d += 1) sum += (row[at + d] || 0) * weights[d + reach];
      return sum / total;
    });
  }

  /** Where the leads stand on the sheet: rows with room for what each of them does. */
  function lay(record, layout) {
    const seconds = record.n_samples / record.rate_hz;
    const columns = layout === "6x2" ? [record.leads.filter((one) => !one.startsWith("V")),
      record.leads.filter((one) => one.startsWith("V"))].filter((one) => one.length) : [record.leads];
    const columnMm = PULSE_MM + seconds * MM_PER_S + GAP_MM;
    const cells = [];
    let y = 4;
    for (let row = 0; row < Math.max(...columns.map((one) => one.length)); row += 1) {
      const leads = columns.map((one) => one[row]).filter(Boolean).map((one) => record.leads.indexOf(one));
      const [up, down] = [Math.max(...leads.map((lead) => reach(record, lead, 1))), Math.max(...leads.map((lead) => reach(record, lead, -1)))];
      columns.forEach((one, column) => {
        if (one[row]) cells.push({ lead: record.leads.indexOf(one[row]), x: column * columnMm, y: y + up, top: y, bottom: y + up + down });
      });
      y += up + down;
    }
    return { cells, wide: columns.length * columnMm - GAP_MM + 2, high: y + 8 };
  }

  /** Millimetres that a lead needs above (1) or below (−1) its median, within bounds. */
  function reach(record, lead, side) {
    let most = 0;
    for (const value of record.traces[lead]) {
      const size = side * (value - record.medians[lead]);
      if (size > most) most = size;
    }
    return Math.min(Math.max(most * MM_PER_MV + 1.5, side > 0 ? 8 : 5), 24);
  }

  /** The millimetre of a sample on the sheet, and the sample of a millimetre (not rounded). */
  function xOf(record, cell, sample) {
    return cell.x + PULSE_MM + (sample / record.rate_hz) * MM_PER_S;
  }
  function sampleAt(record, cell, x) {
    return ((x - cell.x - PULSE_MM) / MM_PER_S) * record.rate_hz;
  }

  /** Draw the part of the sheet that is in sight.
      view: {record, sheet, scale (pixels per millimetre), left and top (of the part, in pixels),
      width and height (pixels), shown (a class with relevance, or null), cursor ({lead, sample} or
      null)}. */
  function draw(pen, view) {
    const { sheet, scale, left, top, width, height } = view;
    const colours = Leadlight.colours();
    const seen = {
      left: left / scale, top: top / scale, right: (left + width) / scale, bottom: (top + height) / scale,
    };
    const tools = { ...view, colours, seen, palette: view.shown ? levelsOfColour(colours) : null };
    pen.fillStyle = colours.card;
    pen.fillRect(0, 0, width, height);
    pen.save();
    pen.scale(scale, scale);
    pen.translate(-seen.left, -seen.top);
    paper(pen, tools);
    for (const cell of sheet.cells) {
      if (cell.bottom + 15 > seen.top && cell.top - 15 < seen.bottom) trace(pen, tools, cell);
    }
    if (view.cursor) mark(pen, tools);
    pen.restore();
    names(pen, tools);
  }

  function paper(pen, { sheet, scale, colours, seen }) {
    const lines = (step, colour, width) => {
      pen.beginPath();
      const right = Math.min(seen.right, sheet.wide);
      const bottom = Math.min(seen.bottom, sheet.high);
      for (let x = Math.ceil(seen.left / step) * step; x <= right; x += step) {
        pen.moveTo(x, seen.top);
        pen.lineTo(x, bottom);
      }
      for (let y = Math.ceil(seen.top / step) * step; y <= bottom; y += step) {
        pen.moveTo(seen.left, y);
        pen.lineTo(right, y);
      }
      pen.strokeStyle = colour;
      pen.lineWidth = width / scale;
      pen.stroke();
    };
    if (scale >= 3.2) lines(1, colours.gridMinor, 0.8);
    lines(5, colours.gridMajor, 0.8);
  }

  function trace(pen, { record, scale, colours, seen, shown, palette }, cell) {
    const values = record.traces[cell.lead];
    const y = (at) => cell.y - (values[at] - record.medians[cell.lead]) * MM_PER_MV;
    const from = Math.max(0, Math.floor(sampleAt(record, cell, seen.left)) - 1);
    const to = Math.min(record.n_samples - 1, Math.ceil(sampleAt(record, cell, seen.right)) + 1);
    pen.lineJoin = pen.lineCap = "round";
    pulse(pen, colours, cell, scale);
    if (from >= to) return;
    const one = shown ? shown.relevance : null;
    const coloured = one && one.leads.includes(record.leads[cell.lead]);
    const paths = new Map();
    let [last, lastPath] = [NaN, null];
    for (let at = from; at < to; at += 1) {
      if (Number.isNaN(values[at]) || Number.isNaN(values[at + 1])) { last = NaN; continue; }
      const inside = coloured && at >= one.first && at + 1 < one.end;
      const level = inside ? one.levels[cell.lead][at] : one ? "unseen" : "plain";
      if (level !== last) {
        if (!paths.has(level)) paths.set(level, new Path2D());
        lastPath = paths.get(level);
        lastPath.moveTo(xOf(record, cell, at), y(at));
        last = level;
      }
      lastPath.lineTo(xOf(record, cell, at + 1), y(at + 1));
    }
    const strength = (level) => (typeof level === "number" ? Math.abs(level) : -1);
    for (const level of [...paths.keys()].sort((a, b) => strength(a) - strength(b))) {
      const share = Math.max(0, strength(level)) / LEVELS;
      pen.strokeStyle = typeof level === "number" ? palette[level + LEVELS]
        : level === "plain" ? colours.trace : colours.line;
      pen.lineWidth = ((typeof level === "number" ? 1 + 2 * share : 1.1) * Math.max(1, Math.sqrt(scale / 4))) / scale;
      pen.stroke(paths.get(level));
    }
  }

  /** One millivolt for 200 ms before each row. */
  function pulse(pen, colours, cell, scale) {
    pen.beginPath();
    [[2.5, 0], [4, 0], [4, -10], [9, -10], [9, 0], [10.5, 0]].forEach(([x, y]) => pen.lineTo(cell.x + x, cell.y + y));
    pen.strokeStyle = colours.quiet;
    pen.lineWidth = 1 / scale;
    pen.stroke();
  }

  function mark(pen, { record, sheet, scale, colours, seen, cursor }) {
    const cell = sheet.cells.find((one) => one.lead === cursor.lead);
    const x = xOf(record, cell, cursor.sample);
    pen.strokeStyle = colours.accent;
    pen.fillStyle = colours.accent;
    pen.lineWidth = 1 / scale;
    pen.beginPath();
    pen.moveTo(x, seen.top);
    pen.lineTo(x, seen.bottom);
    pen.stroke();
    const value = record.traces[cell.lead][cursor.sample];
    if (Number.isNaN(value)) return;
    pen.beginPath();
    pen.arc(x, cell.y - (value - record.medians[cell.lead]) * MM_PER_MV, 4 / scale, 0, 2 * Math.PI);
    pen.fill();
  }

  /** Lead names and seconds, in pixels, so that they stay readable and in sight. */
  function names(pen, { record, sheet, scale, colours, seen, width, height }) {
    const write = (text, x, y, colour, strong) => {
      pen.font = pen.font.replace(/^(bold )?\d+px/, strong ? "bold 13px" : "11px");
      pen.strokeStyle = colours.card;
      pen.lineWidth = 4;
      pen.lineJoin = "round";
      pen.strokeText(text, x, y);
      pen.fillStyle = colour;
      pen.fillText(text, x, y);
    };
    for (const cell of sheet.cells) {
      const x = Math.max((cell.x - seen.left) * scale, 0) + 3;
      const end = (xOf(record, cell, record.n_samples) - seen.left) * scale;
      const y = Math.max((cell.y - seen.top) * scale - 0.35 * PULSE_MM * scale, 14);
      const inSight = y < (cell.bottom - seen.top) * scale + 4 && y < height - 14;
      if (inSight && end > 30 && x < width) write(record.leads[cell.lead], x, y, colours.ink, true);
    }
    const step = [0.2, 0.5, 1, 2, 5, 10, 30].find((s) => s * MM_PER_S * scale >= 42) || 60;
    const columns = [...new Set(sheet.cells.map((cell) => cell.x))];
    const seconds = record.n_samples / record.rate_hz;
    for (const offset of columns) {
      for (let t = Math.ceil((record.start_s - 1e-9) / step) * step; t <= record.start_s + seconds + 1e-9; t += step) {
        const x = (offset + PULSE_MM + (t - record.start_s) * MM_PER_S - seen.left) * scale;
        if (x > 24 && x < width - 12) write(`${Leadlight.number(t)} s`, x + 2, height - 5, colours.quiet, false);
      }
    }
  }

  /** 33 colours from against over neutral to for. */
  function levelsOfColour(colours) {
    const parse = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
    const [against, neutral, speaksFor] = [colours.against, colours.neutral, colours.for].map(parse);
    return Array.from({ length: 2 * LEVELS + 1 }, (_, at) => {
      const share = Math.abs(at - LEVELS) / LEVELS;
      const end = at < LEVELS ? against : speaksFor;
      return `rgb(${neutral.map((c, i) => Math.round(c + (end[i] - c) * share ** 0.7)).join(",")})`;
    });
  }

  /** The scale of the colours, with the widths of the trace. */
  function drawBar(bars) {
    const palette = levelsOfColour(Leadlight.colours());
    const pen = Leadlight.context(bars, 165, 12);
    palette.forEach((colour, at) => {
      const high = 3 + (9 * Math.abs(at - LEVELS)) / LEVELS;
      pen.fillStyle = colour;
      pen.fillRect(at * 5, 6 - high / 2, 5.5, high);
    });
  }

  /** The first and last second of a part of the sheet between two pixels. */
  function seconds(record, sheet, scale, from, to) {
    const length = record.n_samples / record.rate_hz;
    const at = (x) => record.start_s + Math.min(Math.max((x - PULSE_MM) / MM_PER_S, 0), length);
    return [at(from / scale), at(Math.min(to / scale, sheet.wide))];
  }

  return { takeIn, colourIn, lay, xOf, sampleAt, draw, drawBar, seconds };
})();
