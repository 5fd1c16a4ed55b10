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
  const draft = Leadlight.recordSheet;
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
    view: () => ({ scale: state.scale, left: frame.scrollLeft, top: frame.scrollTop, layout: state.layout }),
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
    refit(true);
  }

  /** Take a record in: traces in millivolt about their median, the classes that can be shown. */
  function load(one) {
    record = one;
    draft.takeIn(one);
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
    draft.colourIn(record, found.relevance);
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

  /** The sheet of this layout, and how large it is drawn. */
  function measure() {
    record.sheets ??= {};
    sheet = record.sheets[state.layout] ??= draft.lay(record, state.layout);
    sheet.fit = Math.max(100, element.clientWidth - 18) / sheet.wide;
    if (state.fitted || !state.scale) {
      state.scale = Math.max(sheet.fit, state.fitted === "whole" ? LEAST / 4 : READABLE);
    }
  }

  function draw() {
    measure();
    const { scale } = state;
    const [wide, high] = [Math.ceil(sheet.wide * scale), Math.ceil(sheet.high * scale)];
    sizer.style.width = `${wide}px`;
    sizer.style.height = `${high}px`;
    const width = Math.min(frame.clientWidth, wide);
    const height = Math.max(60, Math.min(Leadlight.isPrinting() ? Infinity : frame.clientHeight, high));
    const [left, top] = [frame.scrollLeft, frame.scrollTop];
    draft.draw(Leadlight.context(canvas, width, height), {
      record, sheet, scale, left, top, width, height, shown: shownClass(), cursor: state.cursor,
    });
    if (state.shown) draft.drawBar(bars);
    const span = draft.seconds(record, sheet, scale, left, left + width);
    canvas.setAttribute("aria-label",
      `${record.leads.length} leads of ${record.record_id} from ${span[0].toFixed(1)} to ${span[1].toFixed(1)} s, ` +
      `25 mm per second and 10 mm per millivolt${state.shown ? `, coloured by relevance for ${state.shown}` : ""}.`);
  }

  function shownClass() {
    return record.classes.find((one) => one.name === state.shown && one.relevance) || null;
  }

  /* Zoom, pan, and the mark that reads values. */

  /** Zoom about a point of the frame: the mark where it is in sight, else the middle. */
  function zoom(factor, ...about) {
    const before = state.scale;
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
      const x = draft.xOf(record, cell, state.cursor.sample) * state.scale - frame.scrollLeft;
      const y = cell.y * state.scale - frame.scrollTop;
      if (x > 0 && x < frame.clientWidth && y > 0 && y < frame.clientHeight) return [x, y];
    }
    return [frame.clientWidth / 2, frame.clientHeight / 2];
  }

  /** Fit the sheet to the width: all of it, or as much as stays readable. */
  function refit(how = "whole") {
    state.fitted = how;
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
    return Math.ceil(draft.sampleAt(record, sheet.cells[0], frame.scrollLeft / state.scale));
  }

  function inFrame(event) {
    const box = frame.getBoundingClientRect();
    return [event.clientX - box.left - frame.clientLeft, event.clientY - box.top - frame.clientTop];
  }

  function onPoint(event) {
    const [px, py] = inFrame(event);
    const [x, y] = [(frame.scrollLeft + px) / state.scale, (frame.scrollTop + py) / state.scale];
    const columns = sheet.cells.filter((cell) => x >= cell.x && x <= draft.xOf(record, cell, record.n_samples));
    if (!columns.length) return;
    const away = (cell) => Math.max(cell.top - y, y - cell.bottom, 0);
    const cell = columns.reduce((a, b) => (away(b) < away(a) ? b : a));
    place(cell.lead, Math.round(draft.sampleAt(record, cell, x)), false);
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
      const x = draft.xOf(record, cell, state.cursor.sample) * state.scale - frame.scrollLeft;
      const [low, high] = [cell.top * state.scale - frame.scrollTop, cell.bottom * state.scale - frame.scrollTop];
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
    const one = shownClass()?.relevance;
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
