"use strict";
/* What one copy of a variant does to the 12-lead beat: the difference with its band, or the mean beat
   with and without so many copies. data: `drawing` of serve/variant.py; null where there is none. */
Leadlight.variant = (element, data) => {
  const { make, number } = Leadlight;
  const rows = (text, unit) => {
    const flat = Leadlight.int16(text);
    return data.leads.map((_, lead) => Float64Array.from(
      { length: data.samples }, (_, at) => flat[lead * data.samples + at] * unit));
  };
  const reference = rows(data.reference, 1e-3);
  const [difference, low, high] = ["difference", "low", "high"].map((key) => rows(data[key], data.unit_uv));
  const canvas = make("canvas", { role: "img" });
  const stage = make("div", { class: "drawn" }, canvas);
  const said = make("p", { class: "pointed", role: "status" });
  const beats = make("input", { type: "checkbox", onchange: () => soon() });
  const copies = make("input", { type: "range", min: "1", max: "100", step: "1", value: "4", oninput: () => soon() });
  element.append(
    make("div", { class: "tools" },
      make("label", {}, beats, " Show it on the mean beat"),
      make("label", {}, "Copies, to make it visible ", copies)),
    stage, said);
  const draw = () => {
    const colours = Leadlight.colours();
    const width = Math.max(200, stage.clientWidth);
    const height = width < 560 ? 620 : Math.round(Math.min(560, width * 0.62));
    const shape = { leads: data.leads, rate: 1000 / data.step_ms, rSample: -data.start_ms / data.step_ms };
    copies.disabled = !beats.checked;
    if (beats.checked) {
      const k = Number(copies.value);
      const moved = reference.map((values, lead) => values.map((v, at) => v + (k * difference[lead][at]) / 1e3));
      Leadlight.beatPanels(canvas, width, height, { ...shape, unit: "mV", symmetric: false, curves: [
        { values: reference, colour: colours.neutral, width: 1.6 },
        { values: moved, colour: colours.case, width: 1.6 },
      ] });
      said.textContent = `Grey: the mean beat. Coloured: with ${k} copies, far more than anybody has where that is above 2.`;
    } else {
      Leadlight.beatPanels(canvas, width, height, { ...shape, unit: "µV", symmetric: true, curves: [
        { values: low, colour: colours.neutral, width: 1 },
        { values: high, colour: colours.neutral, width: 1 },
        { values: difference, colour: colours.case, width: 1.8 },
      ] });
      said.textContent = "Coloured: the difference that one copy makes, in µV. Grey: its 95 % band, sample by sample.";
    }
    canvas.setAttribute("aria-label", `Twelve leads. ${said.textContent} The largest difference is ` +
      `${number(data.largest.uv)} µV in ${data.largest.lead} at ${number(data.largest.time_ms)} ms from R.`);
  };
  const soon = Leadlight.watch(stage, draw);
};
