"use strict";
/* The factor explorer: sliders for all factors, the 12-lead beat that they draw, real records to
   start from, and what a locus adds. `data` is what report/explorer_data.py gives.

   The beat is decoded at `sliders + copies × shift of the locus`. In grey behind it stands the mean
   beat, the record's real beat, or the beat without the locus. */
Leadlight.explorer = (element, data) => {
  const { make, number } = Leadlight;
  const model = data.model;
  const decoder = Leadlight.decoder(data.decoder, model);
  const n = data.factors.length;
  const REACH = 4;
  const nothing = new Float64Array(n);
  const meanBeat = decoder.twelve(nothing);
  const state = {
    sliders: new Float64Array(n), record: null, locus: null, copies: 1, behind: "mean",
    difference: false, touched: 0,
  };
  const id = `explorer-${(Leadlight.explorer.made = (Leadlight.explorer.made || 0) + 1)}`;
  let swinging = 0;
  let lastMs = 0;
  let band = null; // of the locus' difference: {key, error: 12 arrays in µV}
  let bandAsked = 0;

  const total = () => state.sliders.map(
    (value, at) => value + (state.locus ? state.copies * state.locus.beta[at] : 0));
  const signed = (value, digits = 2) =>
    (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

  /* What stands on the page, top down. */
  const canvas = make("canvas", { role: "img" });
  const legend = make("div", { class: "explorer-legend" });
  const said = make("p", { class: "explorer-said", role: "status" });
  const measured = make("tbody");
  const axis = make("p");
  const measuredPart = make("details", { class: "explorer-measured", ontoggle: () => soon() },
    make("summary", {}, "Read off the drawn beat (approximate)"),
    axis,
    make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Amplitudes" },
      make("table", {},
        make("caption", {}, "Millivolt against the level 80 to 60 ms before R"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Lead"),
          ...["highest of QRS", "lowest of QRS", "T"].map((t) => make("th", { scope: "col" }, t)))),
        measured)),
    make("p", { class: "absent" }, "QRS is taken as 60 ms before R to 100 ms after it, T as the " +
      "largest deflection from 160 to 460 ms. These fixed windows are not the limits of the " +
      "waves: use them to compare settings, not to diagnose."));
  const stage = make("div", { class: "explorer-stage" }, canvas, legend);

  const startFrom = select("Start from", [
    ["", "the mean beat"], ...data.records.map((one, at) => [at, `${one.record_id}: ${one.why || "a record"}`]),
  ], (value) => startAt(value === "" ? null : data.records[Number(value)]));
  const behind = select("In grey behind it", [
    ["mean", "the mean beat"], ["record", "the real beat of the record"],
    ["without", "the same beat without the locus"], ["none", "nothing"],
  ], (value) => { state.behind = value; soon(); });
  const difference = make("input", {
    type: "checkbox", onchange: () => { state.difference = difference.checked; soon(); },
  });
  const reset = make("button", { type: "button", onclick: () => startAt(null, true) }, "Reset");
  const swing = make("button", { type: "button", "aria-pressed": "false", onclick: toggleSwing });
  const locus = select("Add a locus", [
    ["", "none"], ...data.loci.map((one, at) => [at, one.gene ? `${one.name} (${one.gene})` : one.name]),
  ], (value) => addLocus(value === "" ? null : data.loci[Number(value)]));
  const copies = make("input", {
    type: "number", min: "-100", max: "100", step: "1", value: "1",
    oninput: () => { state.copies = Number(copies.value) || 0; show(); soon(); },
  });
  const copiesText = make("span", {}, "Times its step");
  const ofLocus = make("div", { class: "explorer-loci" });
  const order = select("Order", [
    ["information", "most informative first"], ["size", "farthest from the mean first"],
  ], sortRows);

  const rows = data.factors.map(makeRow);
  const list = make("ol", { class: "explorer-factors" }, rows.map((row) => row.item));
  const controls = make("div", { class: "explorer-controls" },
    make("div", { class: "explorer-bar" }, startFrom.label, reset),
    data.loci.length
      ? make("div", { class: "explorer-bar" }, locus.label, make("label", {}, copiesText, copies))
      : null,
    ofLocus,
    make("div", { class: "explorer-bar" }, behind.label,
      make("label", { class: "check" }, difference, "draw the difference"), swing),
    make("fieldset", {}, make("legend", {}, "Factors, in standard deviations from the mean"),
      make("div", { class: "explorer-bar" }, order.label), list),
    measuredPart, about());
  element.classList.add("explorer");
  element.append(make("div", { class: "explorer-left" }, stage, said), controls);
  const soon = Leadlight.watch(stage, draw);
  startAt(null, true);
  element.leadlight = {
    decode: (factors) => decoder.twelve(Float64Array.from(factors)).map((one) => [...one]),
    sliders: () => [...state.sliders],
    total: () => [...total()],
    set: (at, value) => { state.sliders[at] = value; show(); soon(); },
    /** Draws now; returns how long decoding and drawing took, in ms. */
    redraw: () => { draw(); return lastMs; },
    band: () => (band ? band.error.map((one) => [...one]) : null),
    showRecord: (record) => startAt(record),
    showLocus: (shift, times) => { addLocus(shift); setCopies(times); },
  };

  /** What is drawn here, how exactly, and what it cannot say. */
  function about() {
    const wrong = model.error_uv;
    return make("details", {}, make("summary", {}, "What this drawing is"),
      make("p", {}, `${model.model} ${model.version}. ${model.description} The decoder runs in this ` +
        `page; its beats differ from the model’s own by ${number(wrong.typical_mean, 2)} µV on ` +
        `average and ${number(wrong.typical_max, 2)} µV at most in typical beats (${number(wrong.corners_max, 2)} ` +
        "µV with all factors far out). Grey bars over each slider: the study’s records. " +
        "r: correlation with the quantity that gives the factor its name, in the people that the " +
        "model was made from; a factor is not that quantity."),
      make("ul", {}, model.limits.map((text) => make("li", {}, text))));
  }

  function select(text, options, changed) {
    const box = make("select", { onchange: () => changed(box.value) },
      options.map(([value, name]) => make("option", { value: String(value) }, name)));
    return { box, label: make("label", {}, text, box) };
  }

  function makeRow(factor, at) {
    const name = `${at + 1}. ${factor.label}`;
    const output = make("output", { for: `${id}-${at}` });
    const input = make("input", {
      type: "range", id: `${id}-${at}`, min: String(-REACH), max: String(REACH), step: "0.1",
      oninput: () => {
        stopSwing();
        state.sliders[at] = Number(input.value);
        touch(at);
        show();
        soon();
      },
      onfocus: () => touch(at),
    });
    const also = factor.also.length ? `; also ${factor.also.slice(0, 2).join(", ")}` : "";
    return {
      output, input, factor, at,
      item: make("li", {},
        make("label", { for: `${id}-${at}` }, name), output,
        make("div", { class: "track" }, distribution(factor.counts), input),
        make("small", {}, `r ${signed(factor.correlation)}${also}`)),
    };
  }

  /** Where the study's records lie on this factor. */
  function distribution(counts) {
    const most = Math.max(...counts, 1);
    const bars = counts.map((count, at) => `M${at} 1v${-count / most}h1v${count / most}z`).join("");
    return make("svg:svg", { viewBox: `0 0 ${counts.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
      make("svg:path", { d: bars, fill: "currentColor" }));
  }

  function startAt(record, everything = false) {
    stopSwing();
    state.record = record;
    state.sliders = record ? Float64Array.from(record.factors) : new Float64Array(n);
    if (record && !record.beats) record.beats = realBeat(record);
    if (everything) {
      state.locus = null;
      setCopies(1);
      locus.box.value = "";
      state.difference = false;
      difference.checked = false;
    }
    const known = record ? data.records.indexOf(record) : -1;
    startFrom.box.value = known >= 0 ? String(known) : "";
    lookBehind(record ? "record" : state.locus ? "without" : "mean");
  }

  function addLocus(shift) {
    state.locus = shift;
    const known = data.loci.indexOf(shift);
    locus.box.value = known >= 0 ? String(known) : "";
    copiesText.textContent = shift ? `Times one ${shift.step}` : "Times its step";
    ofLocus.replaceChildren(...(shift ? tellLocus(shift) : []));
    state.difference = Boolean(shift);
    difference.checked = state.difference;
    lookBehind(shift ? "without" : state.record ? "record" : "mean");
  }

  function setCopies(times) {
    state.copies = times;
    copies.value = String(times);
    show();
    soon();
  }

  function lookBehind(what) {
    state.behind = what;
    behind.box.value = what;
    for (const option of behind.box.options) {
      option.disabled = (option.value === "record" && !state.record) ||
        (option.value === "without" && !state.locus);
    }
    show();
    soon();
  }

  /** What the locus is, which factors it moves most, and what it does to the classifier. */
  function tellLocus(shift) {
    const moved = data.factors
      .map((factor, at) => ({ factor, at, z: shift.beta[at] / shift.standard_error[at] }))
      .sort((a, b) => Math.abs(b.z) - Math.abs(a.z)).slice(0, 3)
      .map(({ factor, at }) => `${at + 1} (${factor.label}) ${signed(shift.beta[at], 3)} ± ${shift.standard_error[at].toFixed(3)}`);
    const logits = shift.logits.filter((one) => one.low * one.high > 0)
      .map((one) => `${one.class} ${signed(one.change)} [${signed(one.low)}, ${signed(one.high)}]`);
    const people = shift.people ? ` in ${shift.people.toLocaleString("en")} people` : "";
    const strength = shift.neg_log_10_p === null || shift.neg_log_10_p === undefined
      ? "" : ` (−log10 p over all factors ${number(shift.neg_log_10_p)})`;
    return [
      make("p", {}, `One ${shift.step} shifts the factors${people}${strength}, most surely: ${moved.join("; ")} SD.`),
      make("p", {}, shift.logits.length
        ? logits.length
          ? `The explained network’s logits move in people: ${logits.join("; ")}.`
          : "The explained network’s logits do not move beyond chance."
        : "What it does to the explained network is not known."),
      make("p", { class: "absent" }, "The difference is drawn on its own scale, at this setting of " +
        "the factors; the band is what the shift’s error leaves open at each moment by itself" +
        `${shift.error_root ? "" : ", the factors’ errors taken as independent"}.${shift.kind === "variant" ? " More than two copies exaggerate: no person has them." : ""}`,
        shift.card ? [" ", make("a", { href: shift.card }, `Card of ${shift.name}`), "."] : null),
    ];
  }

  function realBeat(record) {
    const values = Leadlight.int16(record.beat);
    const found = {};
    model.leads.forEach((name, at) => {
      found[name] = Float64Array.from(
        values.subarray(at * model.samples, (at + 1) * model.samples), (microvolt) => microvolt / 1000);
    });
    return Leadlight.withDerivedLeads(found, decoder.leads);
  }

  /** Sliders, numbers and words; no drawing. */
  function show() {
    rows.forEach(({ input, output, factor, at }) => {
      const value = state.sliders[at];
      input.value = String(value);
      const shift = state.locus ? state.copies * state.locus.beta[at] : 0;
      output.replaceChildren(signed(value), shift ? make("b", {}, ` ${signed(shift)}`) : "");
      const share = shareBelow(factor.quantiles, value + shift);
      input.setAttribute("aria-valuetext", `${signed(value, 1)} SD` +
        (shift ? `, shifted by ${signed(shift)}` : "") +
        (share === null ? "" : `, above ${Math.round(100 * share)} % of the records`));
    });
  }

  function shareBelow(quantiles, value) {
    if (!quantiles.length) return null;
    return quantiles.filter((one) => one < value).length / quantiles.length;
  }

  function draw() {
    const began = performance.now();
    const factors = total();
    const front = decoder.twelve(factors);
    const [back, backName, own] = backdrop();
    const colours = Leadlight.colours();
    // What stays at the top of the page must not cover the beat that stays below it.
    const above = document.querySelector("nav");
    const covered = above && getComputedStyle(above).position === "sticky" ? above.offsetHeight : 0;
    element.style.setProperty("--above", `${covered}px`);
    const width = stage.clientWidth;
    const height = Math.round(width >= 560
      ? Math.min(0.68 * width, Math.max(300, 0.66 * innerHeight))
      : Math.min(1.1 * width, Math.max(230, 0.42 * innerHeight)));
    const both = state.difference && back;
    const shown = { leads: decoder.leads, rate: model.rate_hz, rSample: model.r_sample };
    if (both) {
      const apart = front.map((values, lead) => values.map((one, at) => 1000 * (one - back[lead][at])));
      const size = Math.max(...apart.map((values) => values.reduce((a, b) => Math.max(a, Math.abs(b)), 0)));
      const error = ofLocusAlone() ? bandAround(factors) : null;
      Leadlight.beatPanels(canvas, width, height, {
        ...shown, unit: "µV", symmetric: true,
        curves: [{ values: apart, colour: colours.case, width: 1.7, own, error }],
      });
      tell(factors, `the difference, at most ${number(size, 2)} µV`,
        [["change", `the beat minus ${backName}${error ? ", with the 95 % band of the shift" : ""}`]]);
    } else {
      const curves = back ? [{ values: back, colour: colours.neutral, width: 1.5, own }] : [];
      curves.push({ values: front, colour: colours.accent, width: 1.8, own: null });
      Leadlight.beatPanels(canvas, width, height, { ...shown, unit: "mV", symmetric: false, curves });
      tell(factors, "the decoded beat",
        [["front", "the beat at these factors"], ...(back ? [["behind", backName]] : [])]);
    }
    if (measuredPart.open) measure(front);
    lastMs = performance.now() - began;
  }

  function backdrop() {
    if (state.behind === "record" && state.record) {
      return [state.record.beats, `the real beat of ${state.record.record_id}`, state.record.own];
    }
    if (state.behind === "without" && state.locus) {
      return [decoder.twelve(state.sliders), `the beat without ${state.locus.name}`, null];
    }
    return state.behind === "none" ? [null, "", null] : [meanBeat, "the mean beat", null];
  }

  function ofLocusAlone() {
    return state.behind === "without" && state.locus !== null && state.copies !== 0;
  }

  /** Half the height of the pointwise 95 % band of the difference in µV, or null until it is worked
      out: the decoder's slope along each direction of the shift's error, at these factors. That
      takes some dozen decodings, so it waits until the sliders rest. */
  function bandAround(factors) {
    const key = [state.locus.name, state.copies, ...factors].join();
    if (band && band.key === key) return band.error;
    clearTimeout(bandAsked);
    if (swinging) return null;
    bandAsked = setTimeout(() => {
      band = { key, error: Leadlight.beatNumbers.error(decoder, state.locus, factors).map((one) =>
        one.map((value) => 1.96 * 1000 * Math.abs(state.copies) * value)) };
      soon();
    }, 150);
    return null;
  }

  function tell(factors, what, lines) {
    const swatch = () => make("svg:svg", { width: "22", height: "6", "aria-hidden": "true" },
      make("svg:path", { d: "M0 3h22", stroke: "currentColor", "stroke-width": "2.5" }));
    legend.replaceChildren(...lines.map(([kind, text]) =>
      make("div", { class: kind }, swatch(), make("span", {}, text))));
    const away = Math.hypot(...factors);
    const share = shareBelow(data.distance, away);
    const parts = [`${number(away, 2)} SD from the mean`];
    if (share !== null) parts.push(`farther out than ${Math.round(100 * share)} % of ${data.n_records} records`);
    let text = away < 0.005
      ? "All factors are at their mean." : `These factors lie ${parts.join(", ")}.`;
    if (away > model.typical.distance) {
      text += " Beyond the 99th percentile of the records that the model was tested on: a drawing, not a heart.";
    }
    const record = state.record;
    if (record) {
      text += ` ${record.record_id} is ${record.simulated ? "simulated" : "a real recording"}; the ` +
        `model draws its beat with an error of ${number(record.error_uv, 2)} µV (root mean square).`;
    }
    if (said.textContent !== text && !swinging) said.textContent = text;
    const moved = data.factors.map((factor, at) => ({ factor, at, value: factors[at] }))
      .filter((one) => Math.abs(one.value) >= 0.05)
      .sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    const words = moved.slice(0, 4).map(({ factor, at, value }) => `factor ${at + 1} (${factor.label}) ${signed(value, 1)}`);
    canvas.setAttribute("aria-label", `Twelve leads of ${what}, ` +
      (words.length ? `${words.join(", ")}${moved.length > 4 ? " and more" : ""}.` : "all factors at their mean."));
  }

  function measure(front) {
    const { rows: read, axis: degrees } = Leadlight.beatNumbers.readings(decoder.leads, front, model);
    measured.replaceChildren(...read.map(({ lead, highest, lowest, t }) => make("tr", {},
      make("th", { scope: "row" }, lead),
      ...[highest, lowest, t].map((one) => make("td", {}, signed(one))))));
    axis.textContent = `QRS axis by net area: ${number(Math.round(degrees))}°.`;
  }

  function sortRows(by) {
    const sorted = [...rows];
    if (by === "size") {
      const now = total();
      sorted.sort((a, b) => Math.abs(now[b.at]) - Math.abs(now[a.at]));
    }
    list.append(...sorted.map((row) => row.item));
  }

  function touch(at) {
    state.touched = at;
    swing.textContent = `Swing factor ${at + 1} through ±3 SD`;
    swing.disabled = Leadlight.still();
    swing.title = swing.disabled ? "Your system asks for no movement." : "";
  }

  /* One way there and back in four seconds, then everything is as before. */
  function toggleSwing() {
    if (swinging) { stopSwing(); return; }
    if (Leadlight.still()) return;
    const [at, before, began] = [state.touched, state.sliders[state.touched], performance.now()];
    swing.setAttribute("aria-pressed", "true");
    const frame = (now) => {
      if (!swinging) return;
      const turn = (now - began) / 4000;
      state.sliders[at] = turn < 1 ? 3 * Math.sin(2 * Math.PI * turn) : before;
      show();
      draw();
      if (turn < 1) swinging = requestAnimationFrame(frame);
      else stopSwing();
    };
    stopSwing.restore = () => { state.sliders[at] = before; };
    swinging = requestAnimationFrame(frame);
  }

  function stopSwing() {
    if (!swinging) { touch(state.touched); return; }
    cancelAnimationFrame(swinging);
    swinging = 0;
    stopSwing.restore();
    swing.setAttribute("aria-pressed", "false");
    show();
    soon();
  }
};
