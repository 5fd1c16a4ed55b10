"use strict";
/* The record viewer: twelve leads on ECG paper (25 mm/s and 10 mm/mV in proportion at any zoom),
   coloured by the relevance of one class. `given` is what report/record_data.py gives, or a list of
   such records to choose from.

   The frame scrolls over a sheet; the canvas stays in the frame and draws the part in sight. */
Leadlight.record = (element, given) => {
  if (element.leadlight?.adopt) {
    element.leadlight.adopt(given);
    return;
  }
  const { make, number } = Leadlight;
  const [MM_PER_S, MM_PER_MV, PULSE_MM, GAP_MM, LEVELS, MISSING] = [25, 10, 12, 6, 16, -32768];
  const [LEAST, MOST, READABLE] = [0.6, 40, 2.2]; // pixels per millimetre
  const records = Array.isArray(given) ? given : [given];
  const state = { scale: 0, fitted: true, layout: "12x1", shown: null, cursor: null };
  let record = null;
  let sheet = null;

  const chooser = select("Record", records.map((one, at) => [at, title(one)]),
    (value) => show(records[Number(value)]));
  const classes = select("Relevance for", [["", "off"]], (value) => showClass(value || null));
  const layout = select("Layout", [["12x1", "12 rows"], ["6x2", "6 rows, 2 columns"]],
    (value) => { state.layout = value; refit(); });
  const button = (text, name, act) =>
    make("button", { type: "button", "aria-label": name, title: name, onclick: act }, text);
  const facts = make("p", { class: "record-facts" });
  const bar = make("div", { class: "record-bar" },
    records.length > 1 ? chooser.label : null, classes.label, layout.label,
    make("div", { role: "group", "aria-label": "Zoom and pan" },
      button("+", "Zoom in", () => zoom(1.25)), button("−", "Zoom out", () => zoom(0.8)),
      button("Fit", "Fit to the width", () => refit()),
      button("←", "Earlier", () => pan(-0.8)), button("→", "Later", () => pan(0.8))));
  const bars = make("canvas", { role: "img" });
  const [lowEnd, highEnd] = [make("span"), make("span")];
  const scaleBar = make("div", { class: "record-scale" }, lowEnd, bars, highEnd);
  const told = make("p", { class: "record-told" });
  const byLead = make("tbody");
  const leadsPart = make("details", { class: "record-leads" },
    make("summary", {}, "Relevance by lead"),
    make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Relevance by lead" },
      make("table", {}, make("thead", {}, make("tr", {}, ["Lead", "Sum (logit)", "Share of all relevance, for and against"]
        .map((text) => make("th", { scope: "col" }, text)))), byLead)));
  const canvas = make("canvas", { role: "img" });
  const sizer = make("div", {}, canvas);
  const frame = make("div", { class: "record-frame", tabindex: "0", role: "group" }, sizer);
  const readout = make("output", { class: "record-readout", "aria-live": "polite" });
  const help = make("p", { class: "record-help absent" },
    "Point at the trace, or use the arrow keys in the frame, to read values: left and right by " +
    "sample (with Shift by a tenth of a second), up and down by lead; + and − zoom, 0 fits, page " +
    "up and down pan, Escape takes the mark away. Ctrl with the wheel, or two fingers, zoom too.");

  const parts = [facts, bar, frame, readout, scaleBar, told, leadsPart, help];
  element.classList.add("record-viewer");
  element.replaceChildren(...parts);
  load(records[0]);
  const soon = Leadlight.watch(element, draw);
  frame.addEventListener("scroll", () => soon());
  frame.addEventListener("keydown", onKey);
  frame.addEventListener("pointermove", onPoint);
  frame.addEventListener("pointerdown", onPoint);
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 250), ...inFrame(event));
  }, { passive: false });
  pinch();
  element.leadlight = {
    show, showClass, zoom, refit,
    /** Another record in the same viewer, also where the element was emptied in between. */
    adopt: (another) => { element.replaceChildren(...parts); show(another); },
    read: () => (state.cursor ? { ...values(state.cursor), text: readout.textContent } : null),
    moveTo: (lead, sample) => { place(record.leads.indexOf(lead), sample); },
    view: () => ({ scale: sheet.scale, left: frame.scrollLeft, top: frame.scrollTop, layout: state.layout }),
    redraw: () => { const began = performance.now(); draw(); return performance.now() - began; },
  };

  function select(text, options, changed) {
    const box = make("select", { onchange: () => changed(box.value) });
    const fill = (list) => box.replaceChildren(
      ...list.map(([value, name]) => make("option", { value: String(value) }, name)));
    fill(options);
    return { box, fill, label: make("label", {}, text, box) };
  }

  function title(one) {
    const best = one.classes.filter((c) => c.relevance).map((c) => c.name).join(", ");
    return one.title || `${one.record_id}${best ? `: ${best}` : ""}`;
  }

  function show(one) {
    load(one);
    refit();
  }

  /** Take a record in: traces in millivolt about their median, the classes that can be shown. */
  function load(one) {
    record = one;
    if (!one.traces) {
      const counts = Leadlight.int16(one.signal);
      one.traces = one.leads.map((_, lead) => Float32Array.from(
        counts.subarray(lead * one.n_samples, (lead + 1) * one.n_samples),
        (count) => (count === MISSING ? NaN : (count * one.unit_uv) / 1000)));
      one.medians = one.traces.map(median);
    }
    state.cursor = null;
    readout.textContent = "";
    const known = records.indexOf(one);
    if (known >= 0) chooser.box.value = String(known);
    const able = one.classes.filter((c) => c.relevance);
    classes.fill([["", "off"], ...able.map((c) => [c.name, nameWithProbability(c)])]);
    classes.box.disabled = !able.length;
    const person = [one.age === null ? null : `${number(one.age, 2)} years`, one.sex].filter(Boolean).join(", ");
    facts.replaceChildren(make("strong", {}, one.record_id), [
      one.simulated ? "simulated" : "real recording", person, `${number(one.duration_s, 3)} s`,
      one.labels === null ? "no label" : `label ${one.labels.join(", ") || "none of the model’s"}`,
      one.flags.length ? `flags ${one.flags.join(", ")}` : "",
      one.classes.length ? `${one.model} says ${one.classes.map(nameWithProbability).join(", ")}` : "",
    ].filter(Boolean).map((text) => ` · ${text}`).join(""));
    frame.setAttribute("aria-label", `ECG of ${one.record_id}. Arrow keys read values, plus and minus zoom.`);
    const first = able.find((c) => c.name === state.shown) || strongest(able);
    setClass(first ? first.name : null);
  }

  function strongest(able) {
    return [...able].sort((a, b) => (b.probability || 0) - (a.probability || 0))[0];
  }

  function nameWithProbability(one) {
    if (one.probability === null) return one.name;
    const called = one.threshold !== null && one.probability >= one.threshold ? " (called)" : "";
    return `${one.name} ${one.probability.toFixed(2)}${called}`;
  }

  function median(values) {
    const sorted = values.filter((one) => !Number.isNaN(one)).sort();
    return sorted.length ? sorted[Math.floor(sorted.length / 2)] : 0;
  }

  function showClass(name) {
    setClass(name);
    if (state.cursor) say();
    soon();
  }

  function setClass(name) {
    const found = record.classes.find((one) => one.name === name && one.relevance);
    state.shown = found ? name : null;
    classes.box.value = state.shown || "";
    scaleBar.hidden = leadsPart.hidden = !found;
    told.replaceChildren();
    if (!found) {
      told.textContent = record.classes.some((one) => one.relevance)
        ? "" : "No relevance is stored for this record.";
      return;
    }
    prepare(found.relevance);
    const limit = number(found.relevance.limit, 2);
    [lowEnd.textContent, highEnd.textContent] = [`−${limit} against`, `for ${name} +${limit} logit per sample`];
    bars.setAttribute("aria-label", `Colours from ${limit} logit per sample against ${name} to as much for it.`);
    told.textContent = tell(found);
    tabulate(found.relevance);
  }

  /** The same in numbers: what each lead adds to the logit, and how much is said in it. */
  function tabulate(one) {
    const sums = one.rows.map((row) => row.reduce((a, b) => a + b, 0) * one.scale);
    const sizes = one.rows.map((row) => row.reduce((a, b) => a + Math.abs(b), 0));
    const all = sizes.reduce((a, b) => a + b, 0) || 1;
    byLead.replaceChildren(...record.leads.map((name, lead) => make("tr", {},
      make("th", { scope: "row" }, name),
      make("td", {}, one.leads.includes(name) ? `${sums[lead] > 0 ? "+" : ""}${number(sums[lead])}` : "not seen"),
      make("td", {}, `${((100 * sizes[lead]) / all).toFixed(1)} %`))));
  }

  function tell(found) {
    const { relevance: one, name } = found;
    let text = `Red speaks for ${name}, blue against it; stronger is thicker. Colours end at the ` +
      `99th percentile of |relevance|, smoothed by ${record.smoothing_ms} ms for the eye; values ` +
      `read are not smoothed. Relevance sums to ${number(one.total)} logit`;
    if (found.completeness_error !== null) {
      text += `; completeness error ${number(100 * found.completeness_error, 2)} % of z(x) − z(baseline)`;
      if (found.logit !== null && found.baseline_logit !== null) {
        text += ` = ${number(found.logit)} − (${number(found.baseline_logit)})`;
      }
    }
    text += `. ${record.method ? `Method: ${record.method}. ` : ""}`;
    if (one.input_samples > 1) {
      text += `Each drawn sample has the sum of ${one.input_samples} samples of the model’s input. `;
    }
    if (one.first > 0 || one.end < record.n_samples) text += "Pale: not seen by the model. ";
    const [low, high] = record.model_band_hz;
    if (low || high) {
      text += `The trace is unfiltered; the model sees ${low ? `from ${low} ` : "up "}to ${high || record.rate_hz / 2} Hz of it.`;
    }
    return text.trim();
  }

  /** Levels of colour, from the relevance smoothed over some milliseconds. */
  function prepare(one) {
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

  /* The sheet in millimetres: rows of leads with room for what each of them does. */

  function measure() {
    const seconds = record.n_samples / record.rate_hz;
    const columns = state.layout === "6x2" ? [record.leads.filter((one) => !one.startsWith("V")),
      record.leads.filter((one) => one.startsWith("V"))].filter((one) => one.length) : [record.leads];
    const columnMm = PULSE_MM + seconds * MM_PER_S + GAP_MM;
    const cells = [];
    let y = 4;
    for (let row = 0; row < Math.max(...columns.map((one) => one.length)); row += 1) {
      const leads = columns.map((one) => one[row]).filter(Boolean).map((one) => record.leads.indexOf(one));
      const [up, down] = [Math.max(...leads.map((lead) => reach(lead, 1))), Math.max(...leads.map((lead) => reach(lead, -1)))];
      columns.forEach((one, column) => {
        if (one[row]) cells.push({ lead: record.leads.indexOf(one[row]), x: column * columnMm, y: y + up, top: y, bottom: y + up + down });
      });
      y += up + down;
    }
    const wide = columns.length * columnMm - GAP_MM + 2;
    const available = Math.max(100, element.clientWidth - 18);
    const fit = available / wide;
    if (state.fitted || !state.scale) state.scale = Math.max(fit, state.fitted === "whole" ? LEAST / 4 : READABLE);
    sheet = { cells, wide, high: y + 8, scale: state.scale, fit };
  }

  /** Millimetres that a lead needs above (1) or below (−1) its median, within bounds. */
  function reach(lead, side) {
    let most = 0;
    for (const value of record.traces[lead]) {
      const size = side * (value - record.medians[lead]);
      if (size > most) most = size;
    }
    return Math.min(Math.max(most * MM_PER_MV + 1.5, side > 0 ? 8 : 5), 24);
  }

  function draw() {
    measure();
    const { scale, wide, high } = sheet;
    sizer.style.width = `${Math.ceil(wide * scale)}px`;
    sizer.style.height = `${Math.ceil(high * scale)}px`;
    const width = Math.min(frame.clientWidth, Math.ceil(wide * scale));
    const height = Math.max(60, Math.min(
      Leadlight.isPrinting() ? Infinity : frame.clientHeight, Math.ceil(high * scale)));
    const pen = Leadlight.context(canvas, width, height);
    const colours = Leadlight.colours();
    pen.fillStyle = colours.card;
    pen.fillRect(0, 0, width, height);
    const [left, top] = [frame.scrollLeft / scale, frame.scrollTop / scale];
    const seen = { left, top, right: left + width / scale, bottom: top + height / scale };
    pen.save();
    pen.scale(scale, scale);
    pen.translate(-left, -top);
    paper(pen, colours, seen);
    const palette = state.shown ? levelsOfColour(colours) : null;
    for (const cell of sheet.cells) {
      if (cell.bottom + 15 > seen.top && cell.top - 15 < seen.bottom) trace(pen, colours, palette, cell, seen);
    }
    if (state.cursor) mark(pen, colours, seen);
    pen.restore();
    names(pen, colours, seen, width, height);
    if (palette) drawBar(colours, palette);
    const span = visible(seen);
    canvas.setAttribute("aria-label",
      `${record.leads.length} leads of ${record.record_id} from ${span[0].toFixed(1)} to ${span[1].toFixed(1)} s, ` +
      `25 mm per second and 10 mm per millivolt${state.shown ? `, coloured by relevance for ${state.shown}` : ""}.`);
  }

  function visible(seen) {
    const at = (x) => record.start_s + Math.min(Math.max((x - PULSE_MM) / MM_PER_S, 0), record.n_samples / record.rate_hz);
    return [at(seen.left), at(Math.min(seen.right, sheet.wide))];
  }

  function paper(pen, colours, seen) {
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
      pen.lineWidth = width / sheet.scale;
      pen.stroke();
    };
    if (sheet.scale >= 3.2) lines(1, colours.gridMinor, 0.8);
    lines(5, colours.gridMajor, 0.8);
  }

  function xOf(cell, sample) {
    return cell.x + PULSE_MM + (sample / record.rate_hz) * MM_PER_S;
  }

  function trace(pen, colours, palette, cell, seen) {
    const values = record.traces[cell.lead];
    const y = (at) => cell.y - (values[at] - record.medians[cell.lead]) * MM_PER_MV;
    const sampleAt = (x) => ((x - cell.x - PULSE_MM) / MM_PER_S) * record.rate_hz;
    const from = Math.max(0, Math.floor(sampleAt(seen.left)) - 1);
    const to = Math.min(record.n_samples - 1, Math.ceil(sampleAt(seen.right)) + 1);
    pen.lineJoin = pen.lineCap = "round";
    pulse(pen, colours, cell);
    if (from >= to) return;
    const one = palette ? record.classes.find((c) => c.name === state.shown).relevance : null;
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
        lastPath.moveTo(xOf(cell, at), y(at));
        last = level;
      }
      lastPath.lineTo(xOf(cell, at + 1), y(at + 1));
    }
    const strength = (level) => (typeof level === "number" ? Math.abs(level) : -1);
    for (const level of [...paths.keys()].sort((a, b) => strength(a) - strength(b))) {
      const share = Math.max(0, strength(level)) / LEVELS;
      pen.strokeStyle = typeof level === "number" ? palette[level + LEVELS]
        : level === "plain" ? colours.trace : colours.line;
      pen.lineWidth = ((typeof level === "number" ? 1 + 2 * share : 1.1) * Math.max(1, Math.sqrt(sheet.scale / 4))) / sheet.scale;
      pen.stroke(paths.get(level));
    }
  }

  /** One millivolt for 200 ms before each row. */
  function pulse(pen, colours, cell) {
    pen.beginPath();
    [[2.5, 0], [4, 0], [4, -10], [9, -10], [9, 0], [10.5, 0]].forEach(([x, y]) => pen.lineTo(cell.x + x, cell.y + y));
    pen.strokeStyle = colours.quiet;
    pen.lineWidth = 1 / sheet.scale;
    pen.stroke();
  }

  function mark(pen, colours, seen) {
    const cell = sheet.cells.find((one) => one.lead === state.cursor.lead);
    const x = xOf(cell, state.cursor.sample);
    pen.strokeStyle = colours.accent;
    pen.fillStyle = colours.accent;
    pen.lineWidth = 1 / sheet.scale;
    pen.beginPath();
    pen.moveTo(x, seen.top);
    pen.lineTo(x, seen.bottom);
    pen.stroke();
    const value = record.traces[cell.lead][state.cursor.sample];
    if (Number.isNaN(value)) return;
    pen.beginPath();
    pen.arc(x, cell.y - (value - record.medians[cell.lead]) * MM_PER_MV, 4 / sheet.scale, 0, 2 * Math.PI);
    pen.fill();
  }

  /** Lead names and seconds, in pixels, so that they stay readable and in sight. */
  function names(pen, colours, seen, width, height) {
    const { scale } = sheet;
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
      const end = (xOf(cell, record.n_samples) - seen.left) * scale;
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
        if (x > 24 && x < width - 12) write(`${number(t)} s`, x + 2, height - 5, colours.quiet, false);
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

  function drawBar(colours, palette) {
    const pen = Leadlight.context(bars, 165, 12);
    palette.forEach((colour, at) => {
      const high = 3 + (9 * Math.abs(at - LEVELS)) / LEVELS;
      pen.fillStyle = colour;
      pen.fillRect(at * 5, 6 - high / 2, 5.5, high);
    });
  }

  /* Zoom, pan, and the mark that reads values. */

  /** Zoom about a point of the frame: the mark where it is in sight, else the middle. */
  function zoom(factor, ...about) {
    const before = sheet.scale;
    const [x, y] = about.length ? about : middle();
    const scale = Math.min(MOST, Math.max(Math.min(LEAST, sheet.fit), before * factor));
    if (scale === before) return;
    const [left, top] = [(frame.scrollLeft + x) / before, (frame.scrollTop + y) / before];
    state.fitted = false;
    state.scale = scale;
    draw();
    frame.scrollLeft = left * scale - x;
    frame.scrollTop = top * scale - y;
    draw();
  }

  function middle() {
    if (state.cursor) {
      const cell = sheet.cells.find((one) => one.lead === state.cursor.lead);
      const x = xOf(cell, state.cursor.sample) * sheet.scale - frame.scrollLeft;
      const y = cell.y * sheet.scale - frame.scrollTop;
      if (x > 0 && x < frame.clientWidth && y > 0 && y < frame.clientHeight) return [x, y];
    }
    return [frame.clientWidth / 2, frame.clientHeight / 2];
  }

  function refit() {
    state.fitted = "whole";
    frame.scrollLeft = frame.scrollTop = 0;
    soon();
  }

  function pan(share) {
    frame.scrollLeft += share * frame.clientWidth;
    soon();
  }

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const far = event.shiftKey ? Math.max(1, Math.round(record.rate_hz / 10)) : 1;
    const at = state.cursor || { lead: 0, sample: Math.max(0, sampleInSight()) };
    const start = !state.cursor;
    const acts = {
      ArrowLeft: () => place(at.lead, at.sample - (start ? 0 : far)),
      ArrowRight: () => place(at.lead, at.sample + (start ? 0 : far)),
      ArrowUp: () => place(at.lead - (start ? 0 : 1), at.sample),
      ArrowDown: () => place(at.lead + (start ? 0 : 1), at.sample),
      Home: () => place(at.lead, 0),
      End: () => place(at.lead, record.n_samples - 1),
      PageUp: () => pan(-0.8), PageDown: () => pan(0.8),
      "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => refit(),
      Escape: () => { state.cursor = null; readout.textContent = ""; soon(); },
    };
    if (!Object.hasOwn(acts, event.key)) return;
    event.preventDefault();
    acts[event.key]();
  }

  function sampleInSight() {
    return Math.ceil(((frame.scrollLeft / sheet.scale - PULSE_MM) / MM_PER_S) * record.rate_hz);
  }

  function inFrame(event) {
    const box = frame.getBoundingClientRect();
    return [event.clientX - box.left - frame.clientLeft, event.clientY - box.top - frame.clientTop];
  }

  function onPoint(event) {
    const [px, py] = inFrame(event);
    const [x, y] = [(frame.scrollLeft + px) / sheet.scale, (frame.scrollTop + py) / sheet.scale];
    const columns = sheet.cells.filter((cell) => x >= cell.x && x <= xOf(cell, record.n_samples));
    if (!columns.length) return;
    const away = (cell) => Math.max(cell.top - y, y - cell.bottom, 0);
    const cell = columns.reduce((a, b) => (away(b) < away(a) ? b : a));
    place(cell.lead, Math.round(((x - cell.x - PULSE_MM) / MM_PER_S) * record.rate_hz), false);
  }

  /** Put the mark on a lead and sample, and into sight. */
  function place(lead, sample, follow = true) {
    state.cursor = {
      lead: Math.min(Math.max(lead, 0), record.leads.length - 1),
      sample: Math.min(Math.max(sample, 0), record.n_samples - 1),
    };
    say();
    if (follow) {
      const cell = sheet.cells.find((one) => one.lead === state.cursor.lead);
      const x = xOf(cell, state.cursor.sample) * sheet.scale - frame.scrollLeft;
      const [low, high] = [cell.top * sheet.scale - frame.scrollTop, cell.bottom * sheet.scale - frame.scrollTop];
      if (x < 40 || x > frame.clientWidth - 20) frame.scrollLeft += x - frame.clientWidth / 2;
      if (low < 0 || high > frame.clientHeight) frame.scrollTop += (low + high) / 2 - frame.clientHeight / 2;
    }
    soon();
  }

  function values({ lead, sample }) {
    const found = {
      lead: record.leads[lead], time_s: record.start_s + sample / record.rate_hz,
      mv: record.traces[lead][sample], relevance: null,
    };
    const one = state.shown ? record.classes.find((c) => c.name === state.shown).relevance : null;
    if (one && one.leads.includes(found.lead) && sample >= one.first && sample < one.end) {
      found.relevance = one.rows[lead][sample] * one.scale;
    }
    return found;
  }

  function say() {
    const found = values(state.cursor);
    let text = `${found.lead}, ${found.time_s.toFixed(3)} s: ` +
      (Number.isNaN(found.mv) ? "no value" : `${found.mv < 0 ? "−" : "+"}${Math.abs(found.mv).toFixed(3)} mV`);
    if (state.shown) {
      text += found.relevance === null ? `; not seen by the model`
        : `; relevance for ${state.shown} ${found.relevance > 0 ? "+" : ""}${number(found.relevance)} logit per sample`;
    }
    readout.textContent = text;
  }

  function pinch() {
    let before = 0;
    const spread = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    frame.addEventListener("touchstart", (event) => {
      if (event.touches.length === 2) before = spread(event.touches);
    }, { passive: true });
    frame.addEventListener("touchmove", (event) => {
      if (event.touches.length !== 2) return;
      event.preventDefault();
      const now = spread(event.touches);
      const [a, b] = event.touches;
      const between = inFrame({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
      if (before > 0) zoom(now / before, ...between);
      before = now;
    }, { passive: false });
  }
};
